//! The system's limit of open files: every connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that the rest of the node needs: its other endpoints, feeds, the store.
const RESERVE: u64 = 512;

/// Raises the process's soft limit of open files as far as `connections` need and the system allows. Says how many connections
/// there may be, at least 1, and at most `connections`.
pub(super) fn make_room(connections: u64) -> u64 {
    let wanted = connections.saturating_add(RESERVE);
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let mut soft = limit.current.unwrap_or(u64::MAX);
    if soft < wanted {
        let raised = wanted.min(hard);
        match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
            Ok(()) => soft = raised,
            Err(error) => tracing::warn!(%error, soft, raised, "the limit of open files was not raised"),
        }
    }
    let room = soft.saturating_sub(RESERVE).clamp(1, connections);
    if room < connections {
        tracing::warn!(
            wanted = connections,
            room,
            limit = hard,
            "fewer client connections than clients.connections: raise the hard limit of open files (ulimit -Hn, LimitNOFILE=)"
        );
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what is possible is granted, and what is not is cut to what is.
    #[test]
    fn room_is_made_as_far_as_possible() {
        assert_eq!(make_room(1), 1);
        let room = make_room(u64::MAX - RESERVE);
        assert!(room >= 1, "{room}");
        if let Some(hard) = getrlimit(Resource::Nofile).maximum {
            assert!(room <= hard, "{room} of {hard}");
        }
    }
}
