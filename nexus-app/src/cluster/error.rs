//! Why a node cannot be one of a cluster.

use nexus_cluster::NodeNameError;
use nexus_cluster::system::ClusterError;
use nexus_cluster::transport::cluster::{CarrierError, ClusterConfigError};
use thiserror::Error;

/// Nothing of the cluster was started.
#[derive(Debug, Error)]
pub enum ClusterStartError {
    /// The secret is not there.
    #[error(
        "the cluster's cookie is missing: the environment variable {variable} (cluster.cookie_env) is not set; give all its nodes the same, \
         such as `export {variable}=$(openssl rand -hex 32)`"
    )]
    NoCookie {
        /// Where it was looked for.
        variable: String,
    },
    /// The secret is too easy to guess.
    #[error("{variable} (cluster.cookie_env): {error}")]
    Cookie {
        /// Where it comes from.
        variable: String,
        /// What is wrong with it.
        error: ClusterConfigError,
    },
    /// The node's name cannot be told to others.
    #[error("cluster: node.name: {0}")]
    Name(NodeNameError),
    /// The parts do not go together, or the carrier cannot be made.
    #[error(transparent)]
    Parts(ClusterError<CarrierError>),
}
