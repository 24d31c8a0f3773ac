//! The description of the endpoint: OpenAPI at `/openapi.json`.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::problem::ProblemDetails;
use super::route::{
    agent, agents, ask, clients, cluster, dead_letters, events, feeds, groups, health, kill, level, metrics,
    openapi as description, performance, publish, restart, schedulers, stop, store, supervisor_action, tell,
    tree,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Nexus debug endpoint",
        description = "Shows a Nexus node and, where `debug.allow_control` is set, steers it. Errors are problem details \
                       (RFC 9457); `code` is for programs."
    ),
    paths(
        health::livez,
        health::readyz,
        health::healthz,
        metrics::metrics,
        description::openapi,
        tree::tree,
        agents::agents,
        agent::agent,
        stop::stop,
        restart::restart,
        kill::kill,
        level::level,
        supervisor_action::kill,
        supervisor_action::restart,
        dead_letters::dead_letters,
        events::events,
        feeds::feeds,
        schedulers::schedulers,
        performance::performance,
        store::store,
        clients::clients,
        cluster::members::members,
        cluster::ring::ring,
        cluster::links::links,
        cluster::whereabouts::whereabouts,
        cluster::join::join,
        cluster::leave::leave,
        groups::groups,
        groups::group,
        ask::ask,
        tell::tell,
        publish::publish,
    ),
    components(schemas(ProblemDetails)),
    security(("token" = [])),
    modifiers(&TokenScheme)
)]
struct Description;

/// The bearer token.
struct TokenScheme;

impl Modify for TokenScheme {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token shown when the node started"))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// What the endpoint offers: every route with its parameters, answers and errors.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::route;
    use super::*;

    fn described() -> BTreeSet<(String, String)> {
        let value = serde_json::to_value(openapi()).unwrap();
        let mut found = BTreeSet::new();
        for (path, item) in value["paths"].as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                found.insert((method.to_uppercase(), path.clone()));
            }
        }
        found
    }

    /// Goal: what is described is what is registered, no less and no more.
    #[test]
    fn every_route_is_described() {
        let registered: BTreeSet<_> = route::all()
            .iter()
            .flat_map(|route| {
                route.operations.iter().map(|path| (route.method.to_string(), (*path).to_owned()))
            })
            .collect();
        assert_eq!(described(), registered);
        for route in route::all().iter().filter(|route| route.operations.is_empty()) {
            assert_eq!(route.access, route::Access::Public, "{}: only the page is not described", route.path);
        }
    }

    /// Goal: no reference leads nowhere, and every parameter of a path is described.
    #[test]
    fn the_description_is_complete() {
        let value = serde_json::to_value(openapi()).unwrap();
        let schemas = value["components"]["schemas"].as_object().unwrap();
        let text = value.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name} is referred to and not described");
        }
        for (path, item) in value["paths"].as_object().unwrap() {
            for operation in item.as_object().unwrap().values() {
                for name in path.split(['{', '}']).skip(1).step_by(2) {
                    let parameters = operation["parameters"].as_array().unwrap();
                    assert!(
                        parameters.iter().any(|one| one["name"] == name && one["in"] == "path"),
                        "{path}"
                    );
                }
                assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()));
            }
        }
    }

    /// Goal: a change of the paths is seen in review.
    #[test]
    fn paths() {
        let list: Vec<_> =
            described().into_iter().map(|(method, path)| format!("{method:4} {path}")).collect();
        insta::assert_snapshot!(list.join("\n"));
    }
}
