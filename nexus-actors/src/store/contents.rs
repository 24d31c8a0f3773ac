//! What is in a store, for people who look at one that no node uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Store;
use super::checkpoint::FeedMark;
use super::error::StoreError;
use super::format::decode;

/// What is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Agents whose record is sound.
    pub agents: u64,
    /// Bytes of all agents' records, as they are packed.
    pub record_bytes: u64,
    /// Agents whose record is sound, by behavior.
    pub behaviors: BTreeMap<Arc<str>, u64>,
    /// Agents whose record is damaged, and what is wrong with it.
    pub damaged: Vec<(Arc<str>, String)>,
    /// Damaged records that a node has put aside.
    pub put_aside: u64,
    /// The feeds' places, by name.
    pub feeds: Vec<FeedMark>,
}

impl Store {
    /// Reads every record, and changes none. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Io`]: the file cannot be read.
    pub fn contents(&self) -> Result<Contents, StoreError> {
        let mut contents = Contents { feeds: self.marks(), ..Contents::default() };
        let (damaged, put_aside) = self.engine().lock().read(|name, record| {
            contents.record_bytes += record.len() as u64;
            let stored = decode(name, record)?;
            contents.agents += 1;
            *contents.behaviors.entry(stored.behavior).or_default() += 1;
            Ok(())
        })?;
        Ok(Contents { damaged, put_aside, ..contents })
    }
}
