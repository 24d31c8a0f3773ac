//! `GET /` and its assets: the page, without a token. It asks for the token, or takes it from its address's fragment.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Access, Route};

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page, compiled into the binary, under its path.
macro_rules! file {
    ($path:literal, $media_type:expr, $file:literal) => {{
        let handler = || async { asset($media_type, include_str!(concat!("../../web/", $file))) };
        Route::get($path, Access::Public, &[], get(handler))
    }};
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        file!("/", HTML, "index.html"),
        file!("/app.css", "text/css; charset=utf-8", "app.css"),
        file!("/icon.svg", "image/svg+xml", "icon.svg"),
        file!("/activity.js", SCRIPT, "activity.js"),
        file!("/api.js", SCRIPT, "api.js"),
        file!("/app.js", SCRIPT, "app.js"),
        file!("/details.js", SCRIPT, "details.js"),
        file!("/dom.js", SCRIPT, "dom.js"),
        file!("/model.js", SCRIPT, "model.js"),
        file!("/overview.js", SCRIPT, "overview.js"),
        file!("/row.js", SCRIPT, "row.js"),
        file!("/tree.js", SCRIPT, "tree.js"),
        file!("/value.js", SCRIPT, "value.js"),
    ]
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
