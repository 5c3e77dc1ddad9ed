//! Commands from edges to ingest. Each only hastens what reconciliation would find by itself.

use async_trait::async_trait;
use smol_str::SmolStr;

use crate::feed::FeedFilter;
use crate::time::UnixNanos;

/// A hint or a lease from an edge.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The registry has changed: reconcile now.
    StreamsChanged,
    /// A feed connection wants these topics to run until its lease ends; sent again to renew or change it.
    Feed {
        /// The connection, unique among all edges.
        connection: SmolStr,
        /// What it wants.
        filter: FeedFilter,
        /// When the wish lapses unless renewed.
        until: UnixNanos,
    },
    /// A feed connection is gone.
    FeedGone {
        /// The connection.
        connection: SmolStr,
    },
}

/// Why a command was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ingest cannot be reached: {0}")]
pub struct ControlError(pub String);

/// The way of commands from an edge to ingest.
///
/// A returned `Ok` says that the command was taken, not that it was carried out. Commands may be lost with the process that holds
/// them; leases are renewed and the registry is read again by itself, so nothing is lost for long.
#[async_trait]
pub trait Control: Send + Sync {
    /// Hands over a command.
    ///
    /// # Errors
    /// [`ControlError`] where ingest is gone or its queue stays full.
    async fn send(&self, command: Command) -> Result<(), ControlError>;
}
