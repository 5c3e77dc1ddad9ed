//! `$disconnect`: a hint that a connection has closed. API Gateway sends it at best effort; the relay finds connections that were missed.

use std::sync::Arc;

use bond_core::connection::ConnectionStore;
use bond_core::control::{Command, Control};
use tracing::Instrument;

use crate::event::{Answer, EventError, Origin, WebSocketEvent};

/// The handler of `$disconnect`.
pub struct Disconnect {
    /// The store of connections.
    pub connections: Arc<dyn ConnectionStore>,
    /// The port by which commands reach the relay.
    pub control: Arc<dyn Control>,
}

impl Disconnect {
    /// Handles one event. The answer does not depend on failures, since reconciliation makes up for them.
    ///
    /// # Errors
    /// [`EventError`].
    pub async fn handle(&self, event: WebSocketEvent) -> Result<Answer, EventError> {
        let origin = Origin::of(&event)?;
        let span = origin.span("$disconnect");
        self.forget(origin).instrument(span).await;
        Ok(Answer::done())
    }

    async fn forget(&self, origin: Origin) {
        let Origin { connection, at, .. } = origin;
        if let Err(error) = self.connections.remove(&connection).await {
            tracing::warn!(%error, "connection not removed");
        }
        if let Err(error) = self.control.send(Command::Disconnected { connection, at }).await {
            tracing::warn!(%error, "relay not told of the end");
        }
    }
}
