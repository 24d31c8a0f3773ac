//! `GET /openapi.json`.

use axum::Json;
use axum::routing::get;

use super::{Access, Route};
use crate::debug::problem::{Problem, ProblemDetails};
use crate::debug::query::Params;

pub(super) fn route() -> Route {
    Route::get("/openapi.json", Access::Token, &["/openapi.json"], get(openapi))
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "health", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object),
    (status = 401, description = "No or a wrong token", body = ProblemDetails, content_type = "application/problem+json")))]
pub(crate) async fn openapi(params: Params) -> Result<Json<utoipa::openapi::OpenApi>, Problem> {
    params.finish()?;
    Ok(Json(crate::debug::openapi()))
}
