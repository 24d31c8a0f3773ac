//! The routes, one file each.

pub(crate) mod agent;
mod agent_action;
pub(crate) mod agents;
pub(crate) mod ask;
pub(crate) mod clients;
pub(crate) mod cluster;
pub(crate) mod dead_letters;
pub(crate) mod events;
pub(crate) mod feeds;
pub(crate) mod groups;
pub(crate) mod health;
pub(crate) mod kill;
pub(crate) mod level;
pub(crate) mod metrics;
pub(crate) mod openapi;
mod page;
pub(crate) mod performance;
pub(crate) mod publish;
pub(crate) mod restart;
pub(crate) mod schedulers;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod supervisor_action;
pub(crate) mod tell;
pub(crate) mod tree;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;
use axum::{Extension, Router};
use tokio_util::sync::CancellationToken;

use super::auth::{refuse_foreign, require_control, require_token};
use super::guard::guard;
use super::problem::Problem;
use super::state::DebugState;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody who can connect.
    Public,
    /// Whoever has the token.
    Token,
    /// Whoever has the token, if the topology allows control.
    Control,
}

/// A route.
#[cfg_attr(not(test), expect(dead_code, reason = "method and operations are compared with the description"))]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// The path as axum matches it.
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    /// The operations it stands for, as `/openapi.json` has them. Empty only for the page and its assets.
    pub(crate) operations: &'static [&'static str],
    handler: MethodRouter<DebugState>,
}

impl Route {
    fn get(
        path: &'static str,
        access: Access,
        operations: &'static [&'static str],
        handler: MethodRouter<DebugState>,
    ) -> Self {
        Self { method: Method::GET, path, access, operations, handler }
    }

    fn post(
        path: &'static str,
        operations: &'static [&'static str],
        handler: MethodRouter<DebugState>,
    ) -> Self {
        Self { method: Method::POST, path, access: Access::Control, operations, handler }
    }

    /// A route that decides itself what of it is control.
    const fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }
}

/// Every route there is.
pub(crate) fn all() -> Vec<Route> {
    [
        page::routes(),
        health::routes(),
        vec![
            metrics::route(),
            openapi::route(),
            tree::route(),
            agents::route(),
            agent::route(),
            agent_action::route(),
            supervisor_action::route(),
            dead_letters::route(),
            events::route(),
            feeds::route(),
            schedulers::route(),
            performance::route(),
            store::route(),
            clients::route(),
        ],
        groups::routes(),
        cluster::routes(),
        vec![agent_action::api_route(), publish::route()],
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The service behind a connection. Streams end when `shutdown` is cancelled.
pub(crate) fn router(state: &DebugState, shutdown: CancellationToken) -> Router {
    let mut router = Router::new();
    for route in all() {
        let mut handler = route.handler;
        // The last layer is asked first.
        if route.access == Access::Control {
            handler = handler.route_layer(from_fn_with_state(state.clone(), require_control));
        }
        if route.access != Access::Public {
            handler = handler.route_layer(from_fn_with_state(state.clone(), require_token));
        }
        router = router.route(route.path, handler);
    }
    router
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), refuse_foreign))
        .layer(from_fn_with_state(state.clone(), guard))
        .layer(from_fn(no_sniffing))
        .layer(Extension(shutdown))
        .with_state(state.clone())
}

/// What connections past the limit get: `/livez`, and for everything else word that there are too many.
pub(crate) fn overflow_router(state: &DebugState) -> Router {
    let mut router = Router::new();
    for route in health::routes().into_iter().filter(|route| route.path == health::LIVEZ) {
        router = router.route(route.path, route.handler);
    }
    router.fallback(too_many_connections).with_state(state.clone())
}

async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(300).collect();
    Problem::new(StatusCode::NOT_FOUND, "unknown_route", format!("there is no route `{path}`"))
        .remedy("GET /openapi.json lists the routes")
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(300).collect();
    let method: String = method.as_str().chars().take(30).collect();
    let detail = format!("`{path}` does not take {method}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", detail)
        .remedy("see the `Allow` header, or GET /openapi.json")
}

async fn too_many_connections(State(state): State<DebugState>) -> Problem {
    let limit = state.config().max_connections;
    let detail = format!("all {limit} connections are in use");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail)
        .remedy("close others, try again, or raise `debug.max_connections`")
        .header(header::RETRY_AFTER, "1")
}

/// No answer is to be taken for another type than it says, cached, or framed by another site.
async fn no_sniffing(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
