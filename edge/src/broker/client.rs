//! One client of the broker: entries out, in order; whatever it says is not heard.

use std::sync::Arc;
use std::time::Duration;

use bond_core::code::CloseCode;
use bond_core::position::Start;
use bond_core::time::UnixNanos;
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::OnUpgrade;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::debug;

use super::Shared;
use super::ring::{Extent, Ring};
use crate::upgrade::take_socket;

/// The most bytes of entries that are put into a socket before it is flushed.
const TURN_BYTES: usize = 128 * 1024;

/// The largest message that is taken from a client, in bytes; it is not read.
const MESSAGE_BYTES: usize = 64 * 1024;

/// How long a client may take to receive its close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<TcpStream>;

/// What a connection begins with.
pub(super) enum Begin {
    /// A stream, and from where.
    Stream { ring: Arc<Ring>, start: Start },
    /// Nothing: it is told why not.
    Refused { code: CloseCode, reason: String },
}

/// Why a connection ends.
enum End {
    /// The client went, or its socket broke.
    Gone,
    /// It is told to go.
    Told(CloseCode, &'static str),
}

const BEHIND: End = End::Told(
    CloseCode::SlowConsumer,
    "entries you need are no longer kept: connect again with a later from",
);
const UNREADABLE: End = End::Told(
    CloseCode::Unreadable,
    "the stream's key in redis cannot be read as a stream: mend it, and connect again",
);
const LEAVING: End = End::Told(CloseCode::GoingAway, "the broker is about to end: connect again");

/// Serves a connection from its upgrade to its end.
pub(super) async fn serve(shared: Arc<Shared>, upgraded: OnUpgrade, begin: Begin) {
    let (socket, leftover) = match take_socket(upgraded).await {
        Ok(taken) => taken,
        Err(error) => return debug!(%error, "a connection could not be upgraded"),
    };
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
    let mut socket =
        WebSocketStream::from_partially_read(socket, leftover.to_vec(), Role::Server, Some(config)).await;
    match begin {
        Begin::Refused { code, reason } => close(&mut socket, code, &reason).await,
        Begin::Stream { ring, start } => {
            let end = tokio::select! {
                end = follow(&shared, &ring, start, &mut socket) => end,
                () = shared.stop.cancelled() => LEAVING,
            };
            ring.remove_follower();
            if let End::Told(code, reason) = end {
                close(&mut socket, code, reason).await;
            }
        }
    }
}

async fn close(socket: &mut Socket, code: CloseCode, reason: &str) {
    // 123 bytes fit a close frame besides its code (RFC 6455, section 5.5).
    let reason: String = reason.chars().filter(char::is_ascii).take(123).collect();
    let frame = CloseFrame { code: code.number().into(), reason: reason.into() };
    let goodbye = async {
        socket.close(Some(frame)).await?;
        while socket.next().await.is_some_and(|message| message.is_ok()) {}
        Ok::<(), Error>(())
    };
    // A client that does not take it in time is dropped without.
    let _ = tokio::time::timeout(CLOSE_PATIENCE, goodbye).await;
}

/// Sends what the ring has and gets, until the client goes or falls behind.
async fn follow(shared: &Shared, ring: &Ring, start: Start, socket: &mut Socket) -> End {
    let mut extent = ring.watch();
    match extent.wait_for(|extent| extent.is_filled || extent.is_unreadable).await.map(|extent| *extent) {
        Ok(Extent { is_unreadable: true, .. }) => return UNREADABLE,
        Ok(_) => {}
        Err(_) => return LEAVING,
    }
    let mut place = match place(shared, ring, start).await {
        Some(place) => place,
        None => return End::Told(CloseCode::TryAgainLater, "redis does not answer: connect again"),
    };
    let (mut sink, mut stream) = socket.split();
    loop {
        if extent.borrow_and_update().is_unreadable {
            return UNREADABLE;
        }
        let Ok((entries, next)) = ring.after(place, TURN_BYTES) else { return BEHIND };
        let step = if entries.is_empty() {
            wait(&mut extent, &mut stream).await
        } else {
            let mut moving = extent.clone();
            tokio::select! {
                sent = send(&mut sink, entries) => sent.map_err(|_| End::Gone),
                () = passed(&mut moving, place) => Err(BEHIND),
            }
        };
        match step {
            Ok(()) => place = next,
            Err(end) => return end,
        }
    }
}

/// The place a client begins at: with what comes next, or within the window.
async fn place(shared: &Shared, ring: &Ring, start: Start) -> Option<u64> {
    let now = shared.streams.now_ms().await.ok()?;
    let at = start.time(UnixNanos::from_millis(i64::try_from(now).ok()?));
    Some(match at {
        None => ring.watch().borrow().end,
        Some(time) => ring.place_at(u64::try_from(time.as_millis()).unwrap_or(0)),
    })
}

/// Waits for new entries; what the client says is taken off the socket meanwhile.
async fn wait(
    extent: &mut watch::Receiver<Extent>,
    stream: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
) -> Result<(), End> {
    tokio::select! {
        changed = extent.changed() => changed.map_err(|_| LEAVING),
        message = stream.next() => match message {
            Some(Ok(message)) if !message.is_close() => Ok(()),
            _ => Err(End::Gone),
        },
    }
}

/// Waits until what a client at `place` needs next is no longer kept.
async fn passed(extent: &mut watch::Receiver<Extent>, place: u64) {
    if extent.wait_for(|extent| extent.start > place).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn send(
    sink: &mut (impl Sink<Message, Error = Error> + Unpin),
    entries: Vec<Bytes>,
) -> Result<(), Error> {
    for entry in entries {
        sink.feed(message(entry)).await?;
    }
    sink.flush().await
}

/// A text message, or a binary one where the bytes are no text.
fn message(data: Bytes) -> Message {
    match Utf8Bytes::try_from(data.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(data),
    }
}
