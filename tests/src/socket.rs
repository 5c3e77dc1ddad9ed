//! A WebSocket client that knows the wire contract and nothing of the server.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::numbers::Head;

/// How long a message may take to come, unless a test says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What came.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// A text frame, as it came.
    Frame(String),
    /// The server closed with this code and reason.
    Closed(u16, String),
}

impl Socket {
    /// Connects.
    ///
    /// # Errors
    /// Where the handshake fails.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, &[]).await
    }

    /// Connects with further headers.
    ///
    /// # Errors
    /// Where the handshake fails.
    pub async fn open_with(url: &str, headers: &[(&'static str, &str)]) -> Result<Self> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        // Buffers that a thousand clients in one process can afford.
        let config = WebSocketConfig::default().read_buffer_size(8 * 1024);
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(config), false);
        let (socket, _) = timeout(PATIENCE, connecting).await??;
        Ok(Self(socket))
    }

    /// Sends a JSON message.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn send(&mut self, message: &Value) -> Result<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    /// Sends a text frame as it is.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        Ok(self.0.send(Message::text(text.to_owned())).await?)
    }

    /// What comes next, within [`PATIENCE`].
    ///
    /// # Errors
    /// Where nothing comes, or the connection breaks without a close frame.
    pub async fn next(&mut self) -> Result<Came> {
        self.next_within(PATIENCE).await
    }

    /// What comes next.
    ///
    /// # Errors
    /// As [`Socket::next`].
    pub async fn next_within(&mut self, patience: Duration) -> Result<Came> {
        loop {
            let message = timeout(patience, self.0.next()).await.context("nothing came")?;
            match message.context("the connection ended without a close frame")?? {
                Message::Text(text) => return Ok(Came::Frame(text.to_string())),
                Message::Close(Some(close)) => {
                    return Ok(Came::Closed(close.code.into(), close.reason.to_string()));
                }
                Message::Close(None) => return Ok(Came::Closed(1005, String::new())),
                _ => {}
            }
        }
    }

    /// The next text frame, to the letter.
    ///
    /// # Errors
    /// As [`Socket::next`], or where the server closes instead.
    pub async fn text(&mut self) -> Result<String> {
        match self.next().await? {
            Came::Frame(text) => Ok(text),
            Came::Closed(code, reason) => bail!("closed with {code} {reason}"),
        }
    }

    /// The next text frame, as JSON. Its numbers are binary floating point.
    ///
    /// # Errors
    /// As [`Socket::text`], or where it is no JSON.
    pub async fn event(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.text().await?)?)
    }

    /// The next text frame of this `type`; others are passed over, for as long as [`PATIENCE`].
    ///
    /// # Errors
    /// As [`Socket::event`].
    pub async fn event_of(&mut self, kind: &str) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let event = self.event().await?;
            if event["type"] == kind {
                return Ok(event);
            }
        }
        bail!("no {kind} came, but much else")
    }

    /// The next numbered event's head; words about the connection are passed over.
    ///
    /// # Errors
    /// As [`Socket::text`].
    pub async fn head(&mut self) -> Result<Head> {
        loop {
            let head = Head::read(&self.text().await?)?;
            if head.is_event() {
                return Ok(head);
            }
        }
    }

    /// The code and reason that the server closes with, within [`PATIENCE`]; frames before it are passed over.
    ///
    /// # Errors
    /// As [`Socket::next`].
    pub async fn closed(&mut self) -> Result<(u16, String)> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Came::Closed(code, reason) = self.next().await? {
                return Ok((code, reason));
            }
        }
        bail!("not closed, but goes on")
    }

    /// Closes from our side.
    ///
    /// # Errors
    /// Where the connection is gone already.
    pub async fn close(mut self) -> Result<()> {
        Ok(self.0.close(None).await?)
    }
}
