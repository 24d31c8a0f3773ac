//! Who may ask what.

use super::site::TOKEN;
use super::{Site, request};
use crate::debug::route;
use crate::topology::Auth;

/// A path that the route matches.
fn example(path: &str) -> String {
    path.replace("{*id}", "tower").replace("{*name}", "all").replace("{*path}", "nexus/agents.sup/kill")
}

/// Goal: every route that is not public needs the token and says so. Method: all routes without and with a wrong token.
#[tokio::test]
async fn all_but_public_routes_need_the_token() {
    let site = Site::start().await;
    for route in route::all() {
        let path = example(route.path);
        let bare = site.send(request(route.method.as_str(), &path, &[], b"")).await;
        let wrong = [("authorization", "Bearer 00000000000000000000000000000000")];
        let wrong = site.send(request(route.method.as_str(), &path, &wrong, b"")).await;
        if route.access == route::Access::Public {
            assert_eq!((bare.status, wrong.status), (200, 200), "{path}");
            continue;
        }
        for refused in [bare, wrong] {
            assert_eq!((refused.status, refused.problem().as_str()), (401, "unauthorized"), "{path}");
            assert!(refused.headers["www-authenticate"].starts_with("Bearer"), "{path}");
        }
    }
    assert_eq!(site.get("/debug/tree").await.status, 200);
}

/// Goal: `auth = "off"` lets everybody in; nothing else does.
#[tokio::test]
async fn auth_can_be_off() {
    let site = Site::configured(|config| config.auth = Auth::Off).await;
    assert!(site.state.token().is_none());
    assert_eq!(site.send(request("GET", "/debug/tree", &[], b"")).await.status, 200);
}

/// Goal: without a token in the topology there is a generated one, and it works.
#[tokio::test]
async fn a_token_is_generated() {
    let site = Site::configured(|config| config.token = None).await;
    assert!(site.state.token_generated());
    let token = site.state.token().unwrap().expose().to_owned();
    assert_eq!(token.len(), 32);
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(site.send(request("GET", "/debug/tree", &headers, b"")).await.status, 200);
}

/// Goal: what changes anything is refused, with the remedy, unless control is allowed; reading goes on.
#[tokio::test]
async fn control_is_off_by_default() {
    let site = Site::configured(|config| config.allow_control = false).await;
    for route in route::all().iter().filter(|route| route.access == route::Access::Control) {
        let answer = site.post(&example(route.path), &serde_json::json!({})).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "control_disabled"), "{}", route.path);
        assert!(answer.json()["remedy"].as_str().unwrap().contains("debug.allow_control"));
    }
    assert_eq!(site.get("/debug/agents/tower").await.status, 200);

    let ask = |operation: &str| serde_json::json!({ "operation": operation, "key": "x", "default": 7 });
    let asked = site.post("/api/agents/tower/ask", &ask("query")).await;
    assert_eq!(
        asked.problem(),
        "unsupported",
        "a query only looks, so it reaches the agent: {}",
        asked.json()
    );
    for (path, body) in [
        ("/api/agents/tower/ask", ask("action")),
        ("/api/agents/tower/ask", ask("update")),
        ("/api/agents/tower/tell", ask("query")),
    ] {
        let answer = site.post(path, &body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "control_disabled"), "{path} {body}");
    }
}

/// Goal: a loopback endpoint answers only as itself (DNS rebinding), also on public routes.
#[tokio::test]
async fn foreign_hosts_are_refused() {
    let site = Site::start().await;
    let port = site.address().port();
    for (host, status) in [
        ("localhost", 200),
        (&*format!("127.0.0.1:{port}"), 200),
        ("[::1]:7070", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("10.0.0.1", 421),
        ("", 400),
        ("a b", 400),
    ] {
        let answer = site.send(request("GET", "/livez", &[("host", host)], b"")).await;
        assert_eq!(answer.status, status, "{host:?}");
    }
    let answer = site.send("GET /livez HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(answer.status, 400, "HTTP/1.1 has a host");
}

/// Goal: another site's page cannot make a browser change anything.
#[tokio::test]
async fn foreign_origins_cannot_post() {
    let site = Site::start().await;
    let token = format!("Bearer {TOKEN}");
    for (extra, status) in [
        (("origin", "http://localhost"), 202),
        (("origin", "https://evil.example"), 403),
        (("origin", "http://localhost:1"), 403),
        (("origin", "null"), 403),
        (("sec-fetch-site", "same-origin"), 202),
        (("sec-fetch-site", "none"), 202),
        (("sec-fetch-site", "cross-site"), 403),
        (("sec-fetch-site", "same-site"), 403),
    ] {
        let headers = [("authorization", token.as_str()), ("content-type", "application/json"), extra];
        let body = br#"{"operation": "action", "key": "set"}"#;
        let answer = site.send(request("POST", "/api/agents/tower/tell", &headers, body)).await;
        assert_eq!(answer.status, status, "{extra:?}: {}", answer.text());
    }
}

/// Goal: the page comes with a policy that allows nothing from elsewhere and nothing inline.
#[tokio::test]
async fn the_page_is_locked_down() {
    let site = Site::start().await;
    for (path, media_type) in [("/", "text/html"), ("/app.js", "text/javascript"), ("/app.css", "text/css")] {
        let answer = site.send(request("GET", path, &[], b"")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers["content-type"].starts_with(media_type));
        assert!(answer.headers["content-security-policy"].starts_with("default-src 'self';"));
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let page = site.send(request("GET", "/", &[], b"")).await.text();
    assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("onclick="));
    assert!(!page.contains("http://") && !page.contains("https://"), "the page needs only its node");
}
