//! A plain client for the tests: it knows nothing of the simulator's insides.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::PathBuf;
use std::time::Duration;

use bond_sim::{Config, Simulator, serve};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Nothing that these tests wait for takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

pub(crate) async fn start(config: Config) -> Simulator {
    serve(config).await.expect("the simulator starts")
}

impl Client {
    pub(crate) async fn connect(simulator: &Simulator, path: &str) -> Self {
        Self::try_connect(simulator, path).await.expect("the socket opens")
    }

    pub(crate) async fn try_connect(simulator: &Simulator, path: &str) -> Result<Self, Error> {
        let (socket, _) = connect_async(format!("ws://{}{path}", simulator.addr())).await?;
        Ok(Self { socket })
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("the message is sent");
    }

    /// The next text as it came; `None` when the connection has ended.
    pub(crate) async fn text(&mut self) -> Option<String> {
        loop {
            match timeout(LIMIT, self.socket.next()).await.expect("a message in time")? {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next message as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        let text = self.text().await.expect("the connection is open");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The next message for which `wanted` holds.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let value = self.json().await;
            if wanted(&value) {
                return value;
            }
        }
    }

    /// How the server ended the connection: the close code, or `None` for an end without one.
    pub(crate) async fn ended(&mut self) -> Option<u16> {
        loop {
            match timeout(LIMIT, self.socket.next()).await.expect("an end in time")? {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// A raw message, for pings.
    pub(crate) async fn message(&mut self, message: Message) {
        self.socket.send(message).await.expect("the message is sent");
    }

    pub(crate) async fn next_message(&mut self) -> Message {
        timeout(LIMIT, self.socket.next()).await.expect("in time").expect("open").expect("a message")
    }
}

pub(crate) async fn get(simulator: &Simulator, path: &str) -> (u16, Value) {
    let response = reqwest::get(format!("{}{path}", simulator.base_url())).await.expect("an answer");
    let status = response.status().as_u16();
    assert_eq!(response.headers()["server"], "bond-sim");
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).expect("JSON"))
}

/// A capture's path, or `None` after saying so where it is absent.
#[allow(clippy::disallowed_methods, reason = "tests read one setting")]
pub(crate) fn capture(name: &str) -> Option<PathBuf> {
    let workspace = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let folder = std::env::var("BOND_CAPTURES")
        .map_or_else(|_| PathBuf::from(workspace).join("../shared/captures"), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        println!("SKIPPED: no capture at {}", path.display());
        return None;
    }
    Some(path)
}
