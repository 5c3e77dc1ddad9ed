//! Commands from edges to ingest. Each only hastens what reconciliation would find by itself.

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
    /// A feed connection wants these topics to run until its lease ends; sent again to renew or change it.
    Feed {
        /// The connection, unique among all edges.
        connection: SmolStr,
        /// Whose feed it is, where keys say so.
        owner: Option<SmolStr>,
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
    /// A connection behind API Gateway was opened, or is something else than before.
    Connected(Box<Connection>),
    /// A connection behind API Gateway is gone, as far as is known.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
        /// When that was noticed; a connection that was opened later is another one.
        at: UnixNanos,
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
///
/// An edge asks for what a feed wants for half a minute, and asks again before that is over:
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
    /// [`ControlError`] where ingest is gone or its queue stays full.
    async fn send(&self, command: Command) -> Result<(), ControlError>;
}

/// The other end of [`Control`] where it is another process: what edges have sent since the reader was opened.
#[async_trait]
pub trait Commands: Send {
    /// Waits for commands. Cancel-safe: none is lost when the future is dropped.
    ///
    /// # Errors
    /// [`ControlError`]; the reader stays usable and goes on from where it stands.
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
    /// It as JSON.
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
        // Fails for maps without text keys and for values that refuse to be written; there are none.
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
