//! Peer: axum's own WebSocket over one `tokio::sync::broadcast` channel. A connection sends all that is waiting for it,
//! then flushes once.

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use clap::Parser;
use futures_util::SinkExt;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError, error::TryRecvError};

/// Events a slow connection may lag before it loses some.
const CAPACITY: usize = 8192;

/// Events between two flushes at most.
const RUN: usize = 256;

#[derive(Parser)]
struct Arguments {
    /// Size of an event in bytes.
    #[arg(long, default_value_t = 150)]
    payload: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    let arguments = Arguments::parse();
    let (events, _) = broadcast::channel(CAPACITY);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new().route("/ws", get(upgrade)).with_state(events.clone());
    tokio::spawn(axum::serve(listener, router).into_future());
    let orders = move || {
        bond_bench::fanout::host::serve_orders(address, "/ws", arguments.payload, |event| {
            // An error only says that nobody listens yet.
            let _ = events.send(event.into());
        })
    };
    tokio::task::spawn_blocking(orders).await?
}

async fn upgrade(State(events): State<Sender<Utf8Bytes>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |socket| forward(socket, events.subscribe()))
}

async fn forward(mut socket: WebSocket, mut events: Receiver<Utf8Bytes>) {
    while let Some(event) = next(&mut events).await {
        if send_run(&mut socket, event, &mut events).await.is_err() {
            return;
        }
    }
}

/// The next event; what was lost to lagging is skipped, and seen by the client as a hole.
async fn next(events: &mut Receiver<Utf8Bytes>) -> Option<Utf8Bytes> {
    loop {
        match events.recv().await {
            Ok(event) => return Some(event),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

async fn send_run(
    socket: &mut WebSocket,
    first: Utf8Bytes,
    events: &mut Receiver<Utf8Bytes>,
) -> Result<(), axum::Error> {
    socket.feed(Message::Text(first)).await?;
    for _ in 1..RUN {
        match events.try_recv() {
            Ok(event) => socket.feed(Message::Text(event)).await?,
            Err(TryRecvError::Lagged(_)) => {}
            Err(_) => break,
        }
    }
    socket.flush().await
}
