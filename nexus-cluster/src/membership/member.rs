//! A member as the cluster knows it, and the identity it has in SWIM.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

use crate::{NodeId, NodeName};

/// Bytes of an address at most.
pub const ADDRESS_BYTES_MAX: usize = 255;

/// Bytes of a zone's name at most.
pub const ZONE_BYTES_MAX: usize = 64;

/// What a node tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawMetadata")]
pub struct Metadata {
    /// Where it can be reached, `host:port`, at most [`ADDRESS_BYTES_MAX`] bytes. Empty: nobody dials it.
    pub address: String,
    /// Where it stands: nodes of one zone fail together and are near to each other. At most [`ZONE_BYTES_MAX`] bytes.
    pub zone: String,
    /// The lowest and the highest protocol version that it speaks.
    pub versions: (u16, u16),
    /// Its share of what is spread over the cluster, in hundredths of the usual share.
    pub weight: u32,
    /// Agents that it has room for.
    pub capacity: u64,
}

/// The metadata cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetadataError {
    /// A text is too long.
    #[error("`{field}` has {bytes} bytes, {limit} are allowed")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The range of versions is empty.
    #[error("the lowest version {0} is above the highest {1}")]
    Versions(u16, u16),
}

impl Metadata {
    /// Whether every member would take it.
    ///
    /// # Errors
    /// Which field is out of range.
    pub fn validate(&self) -> Result<(), MetadataError> {
        for (field, bytes, limit) in
            [("address", self.address.len(), ADDRESS_BYTES_MAX), ("zone", self.zone.len(), ZONE_BYTES_MAX)]
        {
            if bytes > limit {
                return Err(MetadataError::TooLong { field, bytes, limit });
            }
        }
        let (low, high) = self.versions;
        if low > high { Err(MetadataError::Versions(low, high)) } else { Ok(()) }
    }
}

/// As it comes over the wire, before anyone has looked at it.
#[derive(Deserialize)]
struct RawMetadata {
    address: String,
    zone: String,
    versions: (u16, u16),
    weight: u32,
    capacity: u64,
}

impl TryFrom<RawMetadata> for Metadata {
    type Error = MetadataError;

    fn try_from(raw: RawMetadata) -> Result<Self, MetadataError> {
        let RawMetadata { address, zone, versions, weight, capacity } = raw;
        let metadata = Self { address, zone, versions, weight, capacity };
        metadata.validate().map(|()| metadata)
    }
}

/// One member: a life of a node with what it tells of itself. Cheap to clone.
///
/// It is the identity of SWIM: two are the same if name, incarnation and renewal are; of two with one name the higher (incarnation,
/// renewal) holds. A node renews itself when its metadata changes and when it finds that it was declared down.
#[derive(Clone)]
pub struct Member {
    /// The name's hash: members are compared often, and this needs no look at the rest.
    key: u128,
    told: Arc<Told>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Told {
    id: NodeId,
    renewal: u32,
    left: bool,
    metadata: Metadata,
}

impl Member {
    /// A node's first identity in this life.
    #[must_use]
    pub fn new(id: NodeId, metadata: Metadata) -> Self {
        Self::of(Told { id, renewal: 0, left: false, metadata })
    }

    fn of(told: Told) -> Self {
        Self { key: xxh3_128(told.id.name.as_str().as_bytes()), told: Arc::new(told) }
    }

    /// Which life of which node.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.told.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.told.id.name
    }

    /// What it tells of itself.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.told.metadata
    }

    /// How often it has renewed itself in this life.
    #[must_use]
    pub fn renewal(&self) -> u32 {
        self.told.renewal
    }

    /// Whether it went on purpose.
    #[must_use]
    pub fn left(&self) -> bool {
        self.told.left
    }

    /// The next identity of the same life; `None` if there is none left.
    pub(super) fn renewed(&self, metadata: Metadata, left: bool) -> Option<Self> {
        let renewal = self.told.renewal.checked_add(1)?;
        Some(Self {
            key: self.key,
            told: Arc::new(Told { id: self.told.id.clone(), renewal, left, metadata }),
        })
    }

    fn rank(&self) -> (u64, u32) {
        (self.told.id.incarnation, self.told.renewal)
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.rank() == other.rank()
    }
}

impl Eq for Member {}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.told.id, self.told.renewal)
    }
}

impl Serialize for Member {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.told.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Told::deserialize(deserializer).map(Self::of)
    }
}

impl foca::Identity for Member {
    type Addr = u128;

    fn renew(&self) -> Option<Self> {
        // Who has left does not come back in this life.
        if self.told.left { None } else { self.renewed(self.told.metadata.clone(), false) }
    }

    fn addr(&self) -> u128 {
        self.key
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.rank() > adversary.rank()
    }
}
