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
        file!("/cluster.js", SCRIPT, "cluster.js"),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Goal: the page has all its files and nothing else, and what a node says never becomes markup or script there. Method: look
    /// at the sources.
    #[test]
    fn the_page_is_whole_and_safe() {
        let served: BTreeSet<_> =
            routes().iter().map(|route| route.path.trim_start_matches('/').to_owned()).collect();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web");
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            assert!(name == "index.html" || served.contains(&name), "{name} is not served");
            let text = std::fs::read_to_string(file.path()).unwrap();
            for (start, end) in [("from \"./", '"'), ("src=\"/", '"'), ("href=\"/", '"')] {
                for reference in text.split(start).skip(1) {
                    let wanted = reference.split(end).next().unwrap();
                    assert!(served.contains(wanted), "{name} refers to {wanted}");
                }
            }
            for unsafe_way in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=\"",
                " onclick=\"",
            ] {
                assert!(!text.contains(unsafe_way), "{name} has {unsafe_way}");
            }
        }
    }
}
