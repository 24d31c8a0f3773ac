//! Feeds: streams of records that become requests for agents.

mod config;

pub use config::{
    ColumnConfig, ColumnType, Compression, EmitConfig, FeedConfig, FieldConfig, Format, Replay, TimeConfig,
};
