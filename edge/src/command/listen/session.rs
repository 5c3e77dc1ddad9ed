//! One connection of `bond listen`: its frames, or how it ended.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::Ended;

/// How long a server may take to open a connection, and to take a frame of ours.
const OPENING: Duration = Duration::from_secs(10);
/// How long nothing may come before the server is asked whether it is there; as long again, and the connection is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// The largest message that is taken; a larger one ends the connection.
const MESSAGE_BYTES: usize = 1 << 20;

/// An open connection.
pub(super) struct Session {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    silence: Duration,
    /// Whether the server has been asked and has not answered yet.
    asked: bool,
    /// The wait that the server asked for before its close.
    after: Duration,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// How the attempt ended.
    pub(super) async fn open(url: &str) -> Result<Self, Ended> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let opened = timeout(OPENING, connect_async_with_config(url, Some(config), true)).await;
        let (socket, _) = opened.map_err(|_| Ended::lost("the server did not answer within 10 s"))??;
        Ok(Self { socket, silence: SILENCE, asked: false, after: Duration::ZERO })
    }

    /// The next text frame.
    ///
    /// # Errors
    /// How the connection ended.
    pub(super) async fn frame(&mut self) -> Result<String, Ended> {
        loop {
            match self.next().await? {
                Message::Text(frame) => {
                    self.after = announced(&frame).unwrap_or(self.after);
                    return Ok(frame.as_str().to_owned());
                }
                Message::Close(Some(close)) => {
                    return Err(Ended::closed(close.code.into(), &close.reason, self.after));
                }
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Result<Message, Ended> {
        loop {
            match timeout(self.silence, self.socket.next()).await {
                Ok(Some(message)) => {
                    self.asked = false;
                    return Ok(message?);
                }
                Ok(None) => return Err(Ended::lost("closed without a word")),
                Err(_) if self.asked => return Err(Ended::lost("the server fell silent")),
                Err(_) => self.ask().await?,
            }
        }
    }

    async fn ask(&mut self) -> Result<(), Ended> {
        self.asked = true;
        let sent = timeout(OPENING, self.socket.send(Message::Ping(Vec::new().into()))).await;
        Ok(sent.map_err(|_| Ended::lost("the server takes nothing"))??)
    }

    /// Says goodbye, without waiting for the answer.
    pub(super) async fn close(&mut self) {
        let _ = timeout(OPENING, self.socket.close(None)).await;
    }

    #[cfg(test)]
    pub(super) const fn with_silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }
}

/// How long a server that is about to close wants its clients to wait.
fn announced(frame: &str) -> Option<Duration> {
    if !frame.contains("\"reconnect\"") {
        return None;
    }
    let message: Value = serde_json::from_str(frame).ok()?;
    let after = (message["type"] == "reconnect").then(|| message["after_ms"].as_u64())??;
    Some(Duration::from_millis(after))
}
