//! The built-in behaviors, and the one list that names them.
//!
//! A new one is a file here and a line in [`all`].

pub mod airspace;
mod echo;
mod kv;

use nexus_actors::agent::Behaviors;

pub use echo::{Echo, EchoState};
pub use kv::{Kv, KvArgs, KvState, Rule, ValueKind};

use airspace::{Aircraft, Airport, Carrier};

/// A behavior that every binary made with this crate knows.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// What a topology writes as `behavior = "…"`.
    pub name: &'static str,
    /// What its agents do, in one line.
    pub about: &'static str,
    register: fn(&mut Behaviors, &str),
}

impl BuiltIn {
    /// Registers it under its name.
    pub fn register(&self, behaviors: &mut Behaviors) {
        (self.register)(behaviors, self.name);
    }
}

/// All built-in behaviors, sorted by name.
#[must_use]
pub const fn all() -> &'static [BuiltIn] {
    &[
        BuiltIn {
            name: "aircraft",
            about: "follows one aircraft: legs, last position, hours in the air, distance",
            register: Behaviors::durable::<Aircraft>,
        },
        BuiltIn {
            name: "airport",
            about: "one airport's movements by hour, its worst hour, delays by origin",
            register: Behaviors::durable::<Airport>,
        },
        BuiltIn {
            name: "carrier",
            about: "one carrier's flights, cancellations and delays with percentiles",
            register: Behaviors::durable::<Carrier>,
        },
        BuiltIn {
            name: "echo",
            about: "answers what it is sent; fails, panics or sleeps on request, for trying out supervision",
            register: Behaviors::durable::<Echo>,
        },
        BuiltIn {
            name: "kv",
            about: "a bounded map of keys to values, with rules for what each key may hold",
            register: Behaviors::durable::<Kv>,
        },
    ]
}

/// Registers all built-in behaviors.
pub fn register_all(behaviors: &mut Behaviors) {
    for built_in in all() {
        built_in.register(behaviors);
    }
}

#[cfg(test)]
mod tests {
    use nexus_actors::agent::check_name;

    use super::*;

    /// Goal: the list keeps its promises. Method: walk it; names are unique, sorted, usable and registered, each with its line.
    #[test]
    fn every_built_in_is_named_documented_and_registered() {
        let mut behaviors = Behaviors::new();
        register_all(&mut behaviors);
        let registered: Vec<_> = behaviors.names().map(|name| &**name).collect();
        let listed: Vec<_> = all().iter().map(|built_in| built_in.name).collect();
        assert_eq!(registered, listed, "sorted, unique, and each registered under its own name");
        for built_in in all() {
            assert_eq!(check_name(built_in.name), Ok(()), "{}", built_in.name);
            assert!(behaviors.is_durable(built_in.name), "{}", built_in.name);
            assert!(built_in.about.len() >= 20 && !built_in.about.contains('\n'), "{}", built_in.name);
        }
    }
}
