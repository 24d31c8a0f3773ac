//! A small client for a Nexus node's agents, and the [`protocol`] that it speaks.

#![deny(unsafe_code)]

pub mod protocol;
