//! One WebSocket: what comes in goes to the hub, what the hub queues goes out, and the venue's timers run.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::config::Venue;
use crate::hub::{Hub, Outgoing, Ticket};

/// Messages written before a flush.
const BATCH: usize = 512;
/// A client that takes nothing for so long is reset.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to answer a close frame.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Fragments that a split message is cut into.
const FRAGMENTS: usize = 3;

type Socket = WebSocketStream<TcpStream>;

/// How a session ended.
enum End {
    /// The peer or the network ended it.
    Gone(String),
    /// It ends with a close frame.
    Close(u16, String),
    /// It ends without a word.
    Reset,
    /// It stays open without a word.
    Frozen,
}

struct Session {
    hub: Arc<Hub>,
    id: u64,
    socket: Socket,
    last_traffic: Instant,
    next_ping: Option<Instant>,
    /// The ping not yet answered, and when it was sent.
    open_ping: Option<(Bytes, Instant)>,
}

/// Runs until either side ends the connection.
pub(crate) async fn run(hub: Arc<Hub>, ticket: Ticket, socket: Socket) {
    let Ticket { id, outgoing, kill } = ticket;
    let now = Instant::now();
    let next_ping = hub.config.ping_every.map(|every| now + every);
    let mut session = Session { hub, id, socket, last_traffic: now, next_ping, open_ping: None };
    let end = {
        let work = pin!(session.work(outgoing));
        tokio::select! {
            biased;
            () = kill.cancelled() => End::Reset,
            end = work => end,
        }
    };
    session.finish(end).await;
}

impl Session {
    async fn work(&mut self, mut outgoing: mpsc::Receiver<Outgoing>) -> End {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let timer = self.next_timer();
            let step = tokio::select! {
                received = self.socket.next() => self.incoming(received).await,
                _ = outgoing.recv_many(&mut batch, BATCH) => self.write(&mut batch).await,
                () = sleep_until(timer) => self.on_timer().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn incoming(&mut self, received: Option<Result<Message, Error>>) -> Result<(), End> {
        let message = match received {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(End::Gone(error.to_string())),
            None => return Err(End::Gone("connection lost".to_owned())),
        };
        self.last_traffic = Instant::now();
        if !self.answers_ping(&message) && self.hub.floods(self.id) {
            return Err(End::Close(1008, "Too many requests".to_owned()));
        }
        match message {
            Message::Text(text) => self.hub.receive(self.id, &text),
            Message::Ping(_) => self.socket.flush().await.map_err(|error| End::Gone(error.to_string()))?,
            Message::Close(frame) => return Err(End::Gone(closed_by_client(frame))),
            Message::Binary(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(())
    }

    /// Whether the message is the pong that was asked for; such a one does not count against limits.
    fn answers_ping(&mut self, message: &Message) -> bool {
        let expected = self.open_ping.as_ref().map(|(payload, _)| payload);
        let answers = matches!(message, Message::Pong(payload) if Some(payload) == expected);
        if answers {
            self.open_ping = None;
        }
        answers
    }

    async fn write(&mut self, batch: &mut Vec<Outgoing>) -> Result<(), End> {
        if batch.is_empty() {
            return Err(End::Gone("closed by the simulator".to_owned()));
        }
        self.last_traffic = Instant::now();
        let written = timeout(WRITE_TIMEOUT, feed(&mut self.socket, batch)).await;
        written.unwrap_or(Err(End::Reset))
    }

    fn next_timer(&self) -> Instant {
        let idle = self.hub.config.idle_timeout.map(|idle| self.last_traffic + idle);
        let pong = self.open_ping.as_ref().map(|(_, sent)| *sent + self.hub.config.pong_timeout);
        let far = Instant::now() + Duration::from_secs(3_600);
        [idle, pong, self.next_ping].into_iter().flatten().min().unwrap_or(far)
    }

    async fn on_timer(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let config = &self.hub.config;
        if config.idle_timeout.is_some_and(|idle| now >= self.last_traffic + idle) {
            return Err(idle(config.venue));
        }
        if self.open_ping.as_ref().is_some_and(|(_, sent)| now >= *sent + config.pong_timeout) {
            return Err(End::Close(1008, "Pong timeout".to_owned()));
        }
        if self.next_ping.is_some_and(|at| now >= at) {
            self.ping(now).await?;
        }
        Ok(())
    }

    /// The payload is the time in milliseconds, as Binance's is.
    async fn ping(&mut self, now: Instant) -> Result<(), End> {
        let payload = Bytes::from((self.hub.clock.now() / crate::clock::MILLI).to_string());
        self.next_ping = self.hub.config.ping_every.map(|every| now + every);
        self.open_ping.get_or_insert((payload.clone(), now)).0 = payload.clone();
        self.socket.send(Message::Ping(payload)).await.map_err(|error| End::Gone(error.to_string()))
    }

    /// Reads what the client still says: dropping it unread would reset the connection, and the close frame with it.
    async fn drain(&mut self) {
        while self.socket.next().await.is_some_and(|message| message.is_ok()) {}
    }

    async fn finish(mut self, end: End) {
        match end {
            End::Gone(reason) => self.hub.disconnect(self.id, &reason),
            End::Close(code, reason) => {
                self.hub.disconnect(self.id, &reason);
                let frame = CloseFrame { code: code.into(), reason: reason.into() };
                let _ = timeout(WRITE_TIMEOUT, self.socket.close(Some(frame))).await;
                let _ = timeout(LAST_WORDS, self.drain()).await;
            }
            End::Reset => {
                self.hub.disconnect(self.id, "reset");
                let _ = self.socket.get_ref().set_zero_linger();
            }
            // Holds the socket until the simulator stops.
            End::Frozen => std::future::pending().await,
        }
    }
}

/// OKX names its reason (seen live, 2026); Bybit ends idle connections without one.
fn idle(venue: Venue) -> End {
    match venue {
        Venue::Okx => End::Close(4004, "No data received in 30s.".to_owned()),
        _ => End::Close(1001, "idle".to_owned()),
    }
}

fn closed_by_client(frame: Option<CloseFrame>) -> String {
    frame.map_or_else(
        || "closed by the client".to_owned(),
        |frame| format!("closed by the client: {}", frame.code),
    )
}

async fn feed(socket: &mut Socket, batch: &mut Vec<Outgoing>) -> Result<(), End> {
    let gone = |error: Error| End::Gone(error.to_string());
    for outgoing in batch.drain(..) {
        match outgoing {
            Outgoing::Text(text) => socket.feed(Message::Text(text)).await.map_err(gone)?,
            Outgoing::Split(text) => feed_split(socket, text.as_ref()).await.map_err(gone)?,
            Outgoing::Freeze => return Err(End::Frozen),
            Outgoing::Close { code, reason } => {
                let _ = socket.flush().await;
                return Err(End::Close(code, reason));
            }
        }
    }
    socket.flush().await.map_err(gone)
}

async fn feed_split(socket: &mut Socket, whole: &Bytes) -> Result<(), Error> {
    let size = whole.len().div_ceil(FRAGMENTS).max(1);
    for start in (0..whole.len()).step_by(size) {
        let end = (start + size).min(whole.len());
        let kind = if start == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(whole.slice(start..end), OpCode::Data(kind), end == whole.len());
        socket.feed(Message::Frame(frame)).await?;
    }
    Ok(())
}
