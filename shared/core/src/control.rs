//! Commands from edges to ingest. A command only speeds things up: reconciliation would find the same change by itself, later.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::connection::{Connection, ConnectionId, WireFilter};
use crate::feed::FeedFilter;
use crate::time::UnixNanos;

/// A hint or a lease from an edge.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The registry has changed: reconcile now.
    StreamsChanged,
    /// A feed connection wants these topics to run until its lease ends. The edge sends the command again to renew or change the lease.
    Feed {
        /// The connection, unique among all edges.
        connection: SmolStr,
        /// The owner of the API key that opened the feed; `None` where no keys are used.
        owner: Option<SmolStr>,
        /// Which topics the connection wants.
        filter: FeedFilter,
        /// When the lease ends unless it is renewed.
        until: UnixNanos,
    },
    /// A feed connection has closed.
    FeedGone {
        /// The connection.
        connection: SmolStr,
    },
    /// A connection behind API Gateway was opened, or its client has changed what it asks for.
    Connected(Box<Connection>),
    /// A connection behind API Gateway seems to have closed.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
        /// When this was noticed. A connection with the same id that was opened later is a different one and stays.
        at: UnixNanos,
    },
}

/// Why a command was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ingest cannot be reached: {0}")]
pub struct ControlError(pub String);

/// The port by which an edge sends commands to ingest.
///
/// `Ok` means that the command was accepted, not that it was carried out. A command may be lost if the process that holds it ends.
/// That does no lasting harm: edges renew their leases, and ingest reads the registry again at intervals.
///
/// A lease of a feed lasts for half a minute. The edge sends it again before it ends:
///
/// ```
/// # use std::time::Duration;
/// # use bond_core::control::{Command, Control, ControlError};
/// # use bond_core::feed::FeedFilter;
/// # use bond_core::time::UnixNanos;
/// # async fn want(control: &dyn Control, filter: FeedFilter, now: UnixNanos) -> Result<(), ControlError> {
/// let until = now.plus(Duration::from_secs(30));
/// control.send(Command::Feed { connection: "edge-1".into(), owner: None, filter, until }).await
/// # }
/// ```
#[async_trait]
pub trait Control: Send + Sync {
    /// Hands over a command.
    ///
    /// # Errors
    /// [`ControlError`] if ingest does not run or its queue stays full.
    async fn send(&self, command: Command) -> Result<(), ControlError>;
}

/// The receiving end of [`Control`] where ingest is another process: it yields what edges have sent since the reader was opened.
#[async_trait]
pub trait Commands: Send {
    /// Waits for commands. Cancel-safe: none is lost when the future is dropped.
    ///
    /// # Errors
    /// [`ControlError`]. The reader stays usable; the next call goes on from the same place.
    async fn next(&mut self) -> Result<Vec<Command>, ControlError>;
}

/// A command as text, for adapters that carry it to another process.
#[derive(Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
enum Wire {
    StreamsChanged,
    Feed {
        connection: SmolStr,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<SmolStr>,
        filter: WireFilter,
        until_ns: i64,
    },
    FeedGone {
        connection: SmolStr,
    },
    Connected {
        connection: String,
    },
    Disconnected {
        connection: SmolStr,
        at_ns: i64,
    },
}

impl Command {
    /// The command as JSON.
    pub fn to_json(&self) -> String {
        let wire = match self {
            Self::StreamsChanged => Wire::StreamsChanged,
            Self::Feed { connection, owner, filter, until } => Wire::Feed {
                connection: connection.clone(),
                owner: owner.clone(),
                filter: WireFilter::of(filter),
                until_ns: until.as_nanos(),
            },
            Self::FeedGone { connection } => Wire::FeedGone { connection: connection.clone() },
            Self::Connected(connection) => Wire::Connected { connection: connection.to_json() },
            Self::Disconnected { connection, at } => {
                Wire::Disconnected { connection: connection.as_str().into(), at_ns: at.as_nanos() }
            }
        };
        // Cannot fail: serialization fails only for maps without text keys and for values that refuse to be written.
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Reads what [`Command::to_json`] wrote.
    ///
    /// # Errors
    /// [`ControlError`], which names what cannot be read.
    pub fn from_json(text: &str) -> Result<Self, ControlError> {
        let unreadable = |error: &dyn std::fmt::Display| ControlError(format!("unreadable command: {error}"));
        Ok(match serde_json::from_str(text).map_err(|error| unreadable(&error))? {
            Wire::StreamsChanged => Self::StreamsChanged,
            Wire::Feed { connection, owner, filter, until_ns } => Self::Feed {
                connection,
                owner,
                filter: filter.read().map_err(|error| unreadable(&error))?,
                until: UnixNanos::from_nanos(until_ns),
            },
            Wire::FeedGone { connection } => Self::FeedGone { connection },
            Wire::Connected { connection } => Self::Connected(Box::new(
                Connection::from_json(&connection).map_err(|error| unreadable(&error))?,
            )),
            Wire::Disconnected { connection, at_ns } => Self::Disconnected {
                connection: ConnectionId::new(connection),
                at: UnixNanos::from_nanos(at_ns),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Carries;

    #[test]
    fn what_is_written_is_read_back_the_same() {
        let at = UnixNanos::from_nanos(5);
        let connection = Connection::opened(ConnectionId::new("c"), at, Carries::Feed(Box::default()));
        for command in [
            Command::StreamsChanged,
            Command::Feed {
                connection: "a".into(),
                owner: Some("ann".into()),
                filter: FeedFilter::default(),
                until: at,
            },
            Command::Feed { connection: "b".into(), owner: None, filter: FeedFilter::default(), until: at },
            Command::FeedGone { connection: "a".into() },
            Command::Connected(Box::new(connection)),
            Command::Disconnected { connection: ConnectionId::new("c"), at },
        ] {
            assert_eq!(Command::from_json(&command.to_json()), Ok(command));
        }
        assert!(Command::from_json("{}").is_err());
    }
}
