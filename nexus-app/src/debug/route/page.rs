//! `GET /` and its assets: the page, without a token. It asks for the token, or takes it from its address's fragment.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Access, Route};

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/", Access::Public, &[], get(page)),
        Route::get("/app.js", Access::Public, &[], get(script)),
        Route::get("/app.css", Access::Public, &[], get(style)),
    ]
}

async fn page() -> Response {
    asset("text/html; charset=utf-8", include_str!("../../web/index.html"))
}

async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("../../web/app.js"))
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("../../web/app.css"))
}

fn asset(media_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        // Another build may have another page at the same address.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}
