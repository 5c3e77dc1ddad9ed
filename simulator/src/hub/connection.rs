//! The hub's end of a connection.

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use crate::venue::Client;

/// What a session has to write.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(Utf8Bytes),
    /// One message in several WebSocket frames.
    Split(Utf8Bytes),
    /// Neither reading nor writing from here on.
    Freeze,
    Close {
        code: u16,
        reason: String,
    },
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) queue: mpsc::Sender<Outgoing>,
    pub(super) kill: CancellationToken,
    /// Acknowledgements that wait for data of one of these streams.
    pub(super) withheld_acks: Vec<(Vec<String>, String)>,
}

impl Connection {
    pub(super) fn new(client: Client, queue: mpsc::Sender<Outgoing>, kill: CancellationToken) -> Self {
        Self { client, queue, kill, withheld_acks: Vec::new() }
    }

    pub(super) fn take_ack(&mut self, stream: &str) -> Option<String> {
        let index =
            self.withheld_acks.iter().position(|(streams, _)| streams.iter().any(|name| name == stream))?;
        Some(self.withheld_acks.remove(index).1)
    }
}
