//! A transport in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;
use url::Url;

use super::PATIENCE;
use crate::rest::RestError;
use crate::session::{Received, Socket, SocketError, Transport};

/// The venue's end of a connection.
pub(in crate::session) struct Peer {
    pub(in crate::session) url: Url,
    pub(in crate::session) mouth: Mouth,
    from_client: mpsc::Receiver<String>,
}

/// What the venue speaks with.
#[derive(Clone)]
pub(in crate::session) struct Mouth(mpsc::Sender<Result<Received, SocketError>>);

impl Mouth {
    pub(in crate::session) async fn say(&self, frame: &str) {
        self.0.send(Ok(Received::Text(frame.into()))).await.unwrap();
    }

    /// Says the same every five seconds, for ever, heard or not.
    pub(in crate::session) async fn repeat(&self, frame: &str) {
        loop {
            drop(self.0.send(Ok(Received::Text(frame.into()))).await);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

impl Peer {
    pub(in crate::session) async fn say(&self, frame: &str) {
        self.mouth.say(frame).await;
    }

    pub(in crate::session) async fn close(&self, code: &str) {
        self.mouth.0.send(Err(SocketError::Closed(code.to_owned()))).await.unwrap();
    }

    /// The next message that is no ping; `None` once the client has hung up.
    pub(in crate::session) async fn heard(&mut self) -> Option<String> {
        loop {
            match self.heard_any().await {
                Some(text) if text.contains("ping") => {}
                other => return other,
            }
        }
    }

    /// The next message, pings too.
    pub(in crate::session) async fn heard_any(&mut self) -> Option<String> {
        timeout(PATIENCE, self.from_client.recv()).await.expect("a message, or the end")
    }
}

/// The client's end.
pub(in crate::session) struct MemorySocket {
    received: mpsc::Receiver<Result<Received, SocketError>>,
    sent: mpsc::Sender<String>,
}

impl Socket for MemorySocket {
    async fn recv(&mut self) -> Result<Received, SocketError> {
        self.received.recv().await.unwrap_or_else(|| Err(SocketError::Closed("reset".to_owned())))
    }

    async fn send_text(&mut self, text: String) -> Result<(), SocketError> {
        self.sent.send(text).await.map_err(|_| SocketError::Closed("reset".to_owned()))
    }

    async fn ping(&mut self) -> Result<(), SocketError> {
        self.send_text("ping frame".to_owned()).await
    }

    async fn close(self) {}
}

pub(super) type Answer = Result<Bytes, RestError>;
pub(super) type Answers = Box<dyn FnMut(&Url) -> Answer + Send>;

/// A transport in memory.
#[derive(Clone)]
pub(in crate::session) struct Memory {
    pub(super) peers: mpsc::Sender<Peer>,
    pub(super) refusals: Arc<AtomicUsize>,
    pub(super) attempts: Arc<AtomicUsize>,
    pub(super) answers: Arc<Mutex<Answers>>,
}

impl Transport for Memory {
    type Socket = MemorySocket;

    async fn connect(&self, url: &Url) -> Result<MemorySocket, SocketError> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let refuse =
            self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refuse.is_ok() {
            return Err(SocketError::Transport("refused".to_owned()));
        }
        let (to_client, heard) = mpsc::channel(64);
        // Room for the pings of a day.
        let (said, from_client) = mpsc::channel(16_384);
        self.peers.send(Peer { url: url.clone(), mouth: Mouth(to_client), from_client }).await.unwrap();
        Ok(MemorySocket { received: heard, sent: said })
    }

    async fn get(&self, url: Url, _: Duration) -> Answer {
        (self.answers.lock())(&url)
    }
}
