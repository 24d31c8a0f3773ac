//! Paths that end in what to do: `/debug/agents/aircraft/N14228/restart`. Agents' names have slashes, written as they are or
//! as `%2F`.

use axum::http::StatusCode;
use nexus_actors::agent::{check_name, check_target};

use super::problem::Problem;

/// Divides a path's decoded rest into what it is about and the last segment.
pub(crate) fn split_action(rest: &str) -> Option<(&str, &str)> {
    rest.rsplit_once('/').filter(|(target, action)| !target.is_empty() && !action.is_empty())
}

/// No route ends like this.
pub(crate) fn unknown_action(rest: &str, known: &[&str]) -> Problem {
    let last = rest.rsplit('/').next().unwrap_or(rest);
    Problem::new(StatusCode::NOT_FOUND, "unknown_route", format!("no route ends with `{}`", cut(last)))
        .remedy(format!("end the path with one of: {}", known.join(", ")))
}

/// A name that an agent can have.
pub(crate) fn agent_name(name: &str) -> Result<&str, Problem> {
    check_name(name).map(|()| name).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_name", format!("the agent's name `{}` {error}", cut(name)))
    })
}

/// A name that an agent can have, or `group:` and one that a group can have.
pub(crate) fn message_target(name: &str) -> Result<&str, Problem> {
    check_target(name).map(|()| name).map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad_name",
            format!("the target's name `{}` {error}", cut(name)),
        )
    })
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the last segment is the action, however many the name has.
    #[test]
    fn the_last_segment_is_the_action() {
        assert_eq!(split_action("aircraft/N14228/ask"), Some(("aircraft/N14228", "ask")));
        assert_eq!(split_action("tower/tell"), Some(("tower", "tell")));
        for none in ["ask", "/ask", "tower/", ""] {
            assert_eq!(split_action(none), None, "{none}");
        }
        assert!(agent_name("a b").is_err() && agent_name("a//b").is_err() && agent_name("a/b").is_ok());
    }
}
