//! A network of this process's own, for real processes: network namespaces, and a switch between them that delays, loses and cuts.
//!
//! Each namespace has one TUN device. All packets that leave it come to the switch, a thread of this process, which decides by a
//! seeded generator what becomes of each one and hands it to the device of the namespace that it is for. The kernel's `netem` would do
//! the same, but many kernels are built without it.
//!
//! Nothing has to be cleaned up: a namespace lives as long as a process of ours whose input is a pipe from here, and whatever runs in
//! it is killed by the kernel with that process. So it is gone when this process has ended, in whatever way.

mod core;
mod namespace;
mod switch;

use std::io;
use std::net::Ipv4Addr;

use nexus_actors::rng::Seed;

pub use self::core::{Counts, Way};
pub use self::namespace::Namespace;
pub use self::switch::Switch;

/// The most namespaces of one network.
pub const SIZE_MAX: usize = 16;

/// Namespaces and the switch between them.
#[derive(Debug)]
pub struct Network {
    namespaces: Vec<Namespace>,
    switch: Switch,
}

impl Network {
    /// `size` namespaces, at most [`SIZE_MAX`], which reach each other at once and without loss. `seed` decides later which packets are lost and how
    /// long each one takes.
    ///
    /// # Errors
    /// What this machine lacks or does not permit.
    ///
    /// # Panics
    /// If there are to be more.
    pub fn new(size: usize, seed: Seed) -> io::Result<Self> {
        assert!(size <= SIZE_MAX, "at most {SIZE_MAX} namespaces, not {size}");
        let (mut namespaces, mut devices) = (Vec::new(), Vec::new());
        for at in 0..size {
            let (namespace, device) = Namespace::new(address(at))?;
            namespaces.push(namespace);
            devices.push(device);
        }
        Ok(Self { namespaces, switch: Switch::new(devices, seed)? })
    }

    /// The same, or `None` and a line on the standard output that says that `test` was skipped and what is missing.
    #[must_use]
    pub fn permitted(test: &str, size: usize, seed: Seed) -> Option<Self> {
        Self::new(size, seed)
            .inspect_err(|error| println!("SKIPPED {test}: no network namespaces on this machine: {error}"))
            .ok()
    }

    /// Namespace `at`, counted from 0.
    #[must_use]
    pub fn namespace(&self, at: usize) -> &Namespace {
        &self.namespaces[at]
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.namespaces.len()
    }

    /// The switch.
    #[must_use]
    pub fn switch(&self) -> &Switch {
        &self.switch
    }
}

/// The address of namespace `at`.
#[must_use]
pub fn address(at: usize) -> Ipv4Addr {
    let last = u8::try_from(at + 1).expect("there are fewer");
    Ipv4Addr::new(10, 99, 0, last)
}

/// Which namespace has `address`.
fn place(address: Ipv4Addr) -> Option<usize> {
    let [10, 99, 0, last] = address.octets() else { return None };
    usize::from(last).checked_sub(1)
}
