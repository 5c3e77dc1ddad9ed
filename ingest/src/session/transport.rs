//! The ways to reach a venue: WebSocket frames and REST answers, over the network or in memory.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use url::Url;

use crate::net::guard::{ConnectError, Guard, GuardError};
use crate::rest::{RestClient, RestError};

/// The most bytes of a venue's message. A book of 400 levels per side has some 40 KB.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// What a socket receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(Utf8Bytes),
    /// A sign of life without content: a ping, which the socket answers by itself, or a pong.
    Control,
}

/// Why a connection could not be made, or was lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// The address may not be connected to.
    #[error(transparent)]
    Forbidden(#[from] GuardError),
    /// The other side closed.
    #[error("closed by the other side: {0}")]
    Closed(String),
    /// A message whose kind or size is not accepted.
    #[error("unacceptable message: {0}")]
    Unacceptable(String),
    /// A failure below: TCP, TLS, or the WebSocket handshake.
    #[error("{0}")]
    Transport(String),
}

impl From<ConnectError> for SocketError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Forbidden(error) => Self::Forbidden(error),
            ConnectError::Unreachable(why) => Self::Transport(why),
        }
    }
}

/// The ways to reach a venue.
pub trait Transport: Clone + Send + Sync + 'static {
    /// An open connection.
    type Socket: Socket;

    /// Opens a WebSocket connection.
    fn connect(&self, url: &Url) -> impl Future<Output = Result<Self::Socket, SocketError>> + Send;

    /// The whole body of the answer to `GET url`, read within `timeout`.
    fn get(&self, url: Url, timeout: Duration) -> impl Future<Output = Result<Bytes, RestError>> + Send;
}

/// An open WebSocket connection.
pub trait Socket: Send + 'static {
    /// Waits for the next message. Cancel-safe: nothing is lost when the future is dropped.
    fn recv(&mut self) -> impl Future<Output = Result<Received, SocketError>> + Send;

    /// Sends a text.
    fn send_text(&mut self, text: String) -> impl Future<Output = Result<(), SocketError>> + Send;

    /// Sends a ping frame.
    fn ping(&mut self) -> impl Future<Output = Result<(), SocketError>> + Send;

    /// Closes the connection with a close frame. Errors are ignored.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The network.
#[derive(Debug, Clone)]
pub struct Network {
    rest: RestClient,
    guard: Guard,
    max_message_bytes: usize,
}

impl Network {
    /// The network for venues. Any address is allowed, since the operator chose the URLs.
    ///
    /// # Errors
    /// [`RestError`] if TLS cannot be set up.
    pub fn new() -> Result<Self, RestError> {
        Ok(Self { rest: RestClient::new()?, guard: Guard::AllowAll, max_message_bytes: MAX_MESSAGE_BYTES })
    }

    /// The same network for URLs that users give. `guard` checks every address before it is connected to.
    #[must_use]
    pub fn guarded(&self, guard: Guard, max_message_bytes: usize) -> Self {
        Self { guard, max_message_bytes, ..self.clone() }
    }
}

impl Transport for Network {
    type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

    async fn connect(&self, url: &Url) -> Result<Self::Socket, SocketError> {
        let stream = self.guard.connect(url).await?;
        stream.set_nodelay(true).map_err(|error| SocketError::Transport(error.to_string()))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(self.max_message_bytes))
            .max_frame_size(Some(self.max_message_bytes));
        let (socket, _) = client_async_tls_with_config(url.as_str(), stream, Some(config), None).await?;
        Ok(socket)
    }

    async fn get(&self, url: Url, timeout: Duration) -> Result<Bytes, RestError> {
        self.rest.get(url, timeout).await
    }
}

impl Socket for WebSocketStream<MaybeTlsStream<TcpStream>> {
    async fn recv(&mut self) -> Result<Received, SocketError> {
        match self.next().await {
            Some(Ok(Message::Text(text))) => Ok(Received::Text(text)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Received::Control),
            Some(Ok(Message::Binary(_))) => Err(SocketError::Unacceptable("binary".to_owned())),
            Some(Ok(Message::Close(Some(frame)))) => {
                Err(SocketError::Closed(format!("{} {}", u16::from(frame.code), frame.reason)))
            }
            Some(Ok(Message::Close(None))) | None => Err(SocketError::Closed("without a code".to_owned())),
            Some(Err(error)) => Err(error.into()),
        }
    }

    async fn send_text(&mut self, text: String) -> Result<(), SocketError> {
        Ok(self.send(Message::text(text)).await?)
    }

    async fn ping(&mut self) -> Result<(), SocketError> {
        Ok(self.send(Message::Ping(Bytes::new())).await?)
    }

    async fn close(mut self) {
        drop(WebSocketStream::close(&mut self, None).await);
    }
}

impl From<tungstenite::Error> for SocketError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Capacity(error) => Self::Unacceptable(error.to_string()),
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::Closed("without a code".to_owned())
            }
            tungstenite::Error::Http(response) => {
                Self::Transport(format!("handshake refused with http status {}", response.status()))
            }
            error => Self::Transport(error.to_string()),
        }
    }
}
