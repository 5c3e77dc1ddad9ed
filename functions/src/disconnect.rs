//! `$disconnect`: a hint that a client is gone. API Gateway sends it at best effort; whoever it does not name is found by the relay.

use std::sync::Arc;

use bond_core::connection::ConnectionStore;
use bond_core::control::{Command, Control};
use tracing::Instrument;

use crate::event::{Answer, EventError, Origin, WebSocketEvent};

/// Forgets connections.
pub struct Disconnect {
    /// Where they are kept.
    pub connections: Arc<dyn ConnectionStore>,
    /// The way to the relay.
    pub control: Arc<dyn Control>,
}

impl Disconnect {
    /// Takes one event. Whatever fails is found by reconciliation, so that the answer is always the same.
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
