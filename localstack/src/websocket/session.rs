//! An open connection's socket: what comes in, what goes out, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::event::{self, Occasion};
use super::pace::Paced;
use super::{Closing, Connection, FRAME_BYTES, MESSAGE_BYTES, route};
use crate::gateway::Gateway;

type Socket = WebSocketStream<Paced<TokioIo<Upgraded>>>;

/// How long a close frame may take, and the client to answer it.
const CLOSE: Duration = Duration::from_secs(1);

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// The client closed it.
    Client(u16, String),
    /// The client is gone without a word.
    Lost,
    /// The simulator ended it.
    Ours(Closing),
}

/// Serves a connection to its end, and tells `$disconnect`.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    connection: Arc<Connection>,
    upgraded: Upgraded,
    messages: mpsc::Receiver<Bytes>,
) {
    let config =
        WebSocketConfig::default().max_frame_size(Some(FRAME_BYTES)).max_message_size(Some(MESSAGE_BYTES));
    let upgraded = Paced::new(TokioIo::new(upgraded));
    let socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    let end = serve(&gateway, &connection, socket, messages).await;
    ended(&gateway, &connection, end).await;
}

/// A connection whose client was gone before it was upgraded.
pub(crate) async fn never_began(gateway: &Gateway, connection: &Connection) {
    ended(gateway, connection, End::Lost).await;
}

async fn serve(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    socket: Socket,
    messages: mpsc::Receiver<Bytes>,
) -> End {
    let (mut sink, mut stream) = socket.split();
    // All in one task, so that a client that does not read is still heard and can be closed.
    let end = tokio::select! {
        biased;
        closing = connection.closed() => End::Ours(closing),
        end = receive(gateway, connection, &mut stream) => end,
        end = send(gateway, connection, &mut sink, messages) => end,
    };
    connection.close(Closing::Silent);
    if let Ok(socket) = sink.reunite(stream) {
        finish(socket, &end).await;
    }
    end
}

async fn receive(
    gateway: &Arc<Gateway>,
    connection: &Arc<Connection>,
    stream: &mut SplitStream<Socket>,
) -> End {
    while let Some(message) = stream.next().await {
        match message {
            Ok(Message::Text(text)) => {
                connection.touch(gateway.clock.now_ms());
                gateway.stats.received.add(text.len(), 0);
                tokio::spawn(route::handle(gateway.clone(), connection.clone(), text.to_string()));
            }
            Ok(Message::Binary(_)) => return End::Ours(Closing::BINARY),
            Ok(Message::Close(frame)) => return client_closed(frame),
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Err(error) => return broken(&error),
        }
    }
    End::Lost
}

fn client_closed(frame: Option<CloseFrame>) -> End {
    // 1005: no code was given (RFC 6455, 7.1.5).
    frame.map_or(End::Client(1005, String::new()), |frame| {
        End::Client(frame.code.into(), frame.reason.to_string())
    })
}

fn broken(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Ours(Closing::TOO_LARGE),
        Error::Utf8(_) => End::Ours(Closing::NOT_TEXT),
        Error::Protocol(
            tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => End::Lost,
        Error::Protocol(_) => End::Ours(Closing::PROTOCOL),
        _ => End::Lost,
    }
}

async fn send(
    gateway: &Gateway,
    connection: &Connection,
    sink: &mut SplitSink<Socket, Message>,
    mut messages: mpsc::Receiver<Bytes>,
) -> End {
    while let Some(first) = messages.recv().await {
        let mut next = Some(first);
        let mut bytes = 0;
        while let Some(message) = next {
            bytes += message.len();
            let frames = frames(&message);
            gateway.stats.sent.add(message.len(), frames.len());
            for frame in frames {
                if sink.feed(Message::Frame(frame)).await.is_err() {
                    return End::Lost;
                }
            }
            next = messages.try_recv().ok();
        }
        if sink.flush().await.is_err() {
            return End::Lost;
        }
        connection.written(bytes);
    }
    End::Lost
}

/// A message in frames of at most 32 KB.
fn frames(message: &Bytes) -> Vec<Frame> {
    let starts = (0..message.len().max(1)).step_by(FRAME_BYTES);
    let frame = |start: usize| {
        let end = message.len().min(start + FRAME_BYTES);
        let code = if start == 0 { Data::Text } else { Data::Continue };
        Frame::message(message.slice(start..end), OpCode::Data(code), end == message.len())
    };
    starts.map(frame).collect()
}

/// Closes the socket. What the client still sends is read until it closes too: an unread rest would reset the TCP connection, and the
/// close frame be lost with it.
async fn finish(mut socket: Socket, end: &End) {
    let frame = match end {
        End::Ours(Closing::Silent) | End::Lost => return,
        End::Ours(Closing::Frame { code, reason }) => {
            Some(CloseFrame { code: (*code).into(), reason: (*reason).into() })
        }
        End::Client(..) => None,
    };
    let closing = async {
        // A client that is gone by now has nothing to be told.
        let _ = socket.close(frame).await;
        let _ = socket.flush().await;
        let mut rest = [0; 16 * 1024];
        while socket.get_mut().read(&mut rest).await.is_ok_and(|length| length > 0) {}
    };
    let _ = tokio::time::timeout(CLOSE, closing).await;
}

async fn ended(gateway: &Gateway, connection: &Connection, end: End) {
    gateway.connections.remove(&connection.id);
    gateway.stats.connections.closed.count();
    let (code, reason) = match end {
        End::Ours(Closing::Silent) => return,
        End::Ours(Closing::Frame { code, reason }) => (code, reason.to_owned()),
        End::Client(code, reason) => (code, reason),
        End::Lost => (1006, "Connection Closed Abnormally".to_owned()),
    };
    tell_disconnect(gateway, connection, code, &reason).await;
}

/// Best effort, as on AWS: nobody tries again what fails.
async fn tell_disconnect(gateway: &Gateway, connection: &Connection, code: u16, reason: &str) {
    let Some(name) = gateway.config.routes.get("$disconnect") else { return };
    if gateway.faults.strikes(|plan| plan.lose_disconnect) {
        return;
    }
    let occasion = Occasion { connection, stage: &gateway.config.stage, now_ms: gateway.clock.now_ms() };
    route::invoke(gateway, name, &event::disconnect(occasion, code, reason)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_into_frames_of_32_kb() {
        let lengths = |bytes: usize| {
            let frames = frames(&Bytes::from(vec![b'a'; bytes]));
            frames.iter().map(|frame| (frame.payload().len(), frame.header().is_final)).collect::<Vec<_>>()
        };
        assert_eq!(lengths(0), [(0, true)]);
        assert_eq!(lengths(FRAME_BYTES), [(FRAME_BYTES, true)]);
        assert_eq!(lengths(FRAME_BYTES + 1), [(FRAME_BYTES, false), (1, true)]);
    }
}
