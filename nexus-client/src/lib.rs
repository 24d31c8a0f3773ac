//! A small client for a Nexus node's agents, and the [`protocol`] that it speaks.
//!
//! ```no_run
//! use nexus_client::{Client, Heard, Options, Request};
//!
//! # async fn example() -> Result<(), nexus_client::ClientError> {
//! let client = Client::connect(Options::new("ws://127.0.0.1:7071/v1").token("0123456789abcdef")).await?;
//!
//! // Ask an agent, and tell one.
//! let delay: f64 = client.ask("carrier/UA", Request::query("mean_delay")).await?.to_value()?;
//! client.tell("tower", Request::update("runway", &"22R")?).await?;
//!
//! // Hear what is published to a group.
//! let mut fleet = client.subscribe("fleet").await?;
//! while let Some(heard) = fleet.next().await {
//!     match heard {
//!         Heard::Published(published) => println!("{}: {:?}, {delay}", published.key, published.payload),
//!         Heard::Missed(count) => println!("{count} were missed"),
//!         Heard::Reconnected => println!("connected again; some may have been missed"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A lost connection is opened again by itself, after a pause that doubles with each try and is jittered, so that the clients of
//! a node that was restarted do not come back all at once. What was in flight fails with [`ClientError::Disconnected`]:
//! whether it was handled is not known, so nothing is sent twice. Subscriptions go on.

#![deny(unsafe_code)]

mod client;
mod driver;
mod error;
mod options;
pub mod protocol;
mod subscription;

pub use client::{Client, Request};
pub use error::ClientError;
pub use options::Options;
pub use subscription::{Heard, Published, Subscription};
