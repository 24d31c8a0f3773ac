//! The endpoint over real connections: a small tree with the debug actor in it, and a client that writes its requests byte by
//! byte where it matters.

mod access;
mod control;
mod export;
mod limits;
mod messages;
mod shows;
mod site;
mod stream;

use site::{Answer, Site, request};
