//! One client's socket, and what the edge remembers of it.

use std::io::{self, IoSlice, Write};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bond_api::admission::{Grant, Refusal, TopicGrant};
use bond_core::api_key::Holder;
use bond_core::code::CloseCode;
use bond_core::connection::{Batch, FeedRequest, TopicAnswers, TopicsState};
use bond_core::feed::FeedFilter;
use bond_core::message::MessageError;
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use bytes::Bytes;
use mio::net::TcpStream;
use smol_str::SmolStr;

use super::budget::Budget;
use super::frame_decoder::FrameDecoder;
use super::seats::Seat;
use crate::delivery::feed::{Feed, Scope};
use crate::delivery::figures::Figures;
use crate::delivery::follow::Follow;
use crate::delivery::frame;

/// The most slices that one write takes.
const WRITE_SLICES: usize = 64;

/// How long the other side may take to answer a close.
pub(crate) const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The most bytes of answers that are kept for a client that does not take them. One that asks for more is sent away.
const OUTBOX_BYTES: usize = 256 * 1024;

/// An outbox is shortened once so many bytes at its front have been sent.
const SENT_BYTES: usize = 16 * 1024;

/// A socket that was just upgraded.
#[derive(Debug)]
pub(crate) struct UpgradedSocket {
    pub(crate) socket: std::net::TcpStream,
    /// What the client sent behind its request.
    pub(crate) leftover: Bytes,
    pub(crate) purpose: Purpose,
    /// Whether it takes statuses, gaps and the like from the first moment.
    pub(crate) control: bool,
    pub(crate) batch: Option<Batch>,
    /// Whether permessage-deflate was agreed on.
    pub(crate) has_deflate: bool,
    /// What was wrong with its request.
    pub(crate) errors: Vec<MessageError>,
    pub(crate) grant: Grant,
    pub(crate) seat: Seat,
}

/// What a newcomer wants.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// The events of one stream.
    Stream { id: StreamId, follow: Follow },
    /// A feed, with what it wants where that is known already.
    Feed { wish: Option<FeedRequest> },
    /// Topics by name.
    Topics(Box<TopicsPurpose>),
    /// Nothing: it is told why not.
    Refused { code: CloseCode, reason: String },
    /// As `Refused`, where topics were asked for: an error goes before the close.
    RefusedTopics(Refusal),
}

/// What a client of topics begins with.
#[derive(Debug)]
pub(crate) struct TopicsPurpose {
    pub(crate) asked: TopicsState,
    pub(crate) grant: TopicGrant,
    /// When it was let in.
    pub(crate) admitted_at: UnixNanos,
    /// What was refused of its request.
    pub(crate) refusals: TopicAnswers,
}

/// What a connection carries.
#[derive(Debug)]
pub(crate) enum Carried {
    /// One stream, every event in a frame of its own: written straight from the ring.
    Stream {
        id: StreamId,
        follow: Follow,
    },
    /// Anything else: many topics, thinned, ordered or in batches.
    Feed(Box<Feed>),
    Nothing,
}

impl Carried {
    /// The stream it carries, if it carries one.
    pub(crate) fn stream(&self) -> Option<&StreamId> {
        match self {
            Self::Stream { id, .. } => Some(id),
            Self::Feed(feed) => match &feed.scope {
                Scope::Stream(id) => Some(id),
                Scope::Filter { .. } | Scope::Topics(_) => None,
            },
            Self::Nothing => None,
        }
    }

    /// What it takes, if it is a feed that has said so.
    pub(crate) fn filter(&self) -> Option<&FeedFilter> {
        let Self::Feed(feed) = self else { return None };
        feed.filter()
    }

    /// Whether it is a feed that takes messages about what it follows.
    pub(crate) fn is_filtered(&self) -> bool {
        matches!(self, Self::Feed(feed) if matches!(feed.scope, Scope::Filter { .. }))
    }

    /// The rings it follows.
    pub(crate) fn rings(&self) -> Vec<u64> {
        match self {
            Self::Stream { follow, .. } => vec![follow.ring.id],
            Self::Feed(feed) => feed.topics.iter().map(|topic| topic.follow.ring.id).collect(),
            Self::Nothing => Vec::new(),
        }
    }
}

/// What a client of topics may do.
#[derive(Debug)]
pub(crate) struct TopicSession {
    pub(crate) grant: TopicGrant,
    /// Whether it was told that its token is about to expire.
    pub(crate) is_warned: bool,
    /// Counts it for as long as it is there.
    pub(crate) _counted: CountedConnection,
}

/// A connection to topics, counted from its beginning to its end.
#[derive(Debug)]
pub(crate) struct CountedConnection(Arc<Figures>);

impl CountedConnection {
    pub(crate) fn new(figures: &Arc<Figures>) -> Self {
        figures.establish();
        Self(Arc::clone(figures))
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    pub(crate) carried: Carried,
    pub(crate) outbox: WriteBuffer,
    pub(crate) inbox: FrameDecoder,
    pub(crate) control: bool,
    /// The socket took no more; it will say when it does.
    pub(crate) blocked: bool,
    /// Whether there may be unread bytes that will not be announced again.
    pub(crate) unread: bool,
    /// Since when it takes no bytes, while it is blocked.
    pub(crate) blocked_since: Instant,
    /// When it is dropped, once it was told to go.
    pub(crate) closing: Option<Instant>,
    pub(crate) heartbeat_at: Option<Instant>,
    pub(crate) heartbeats: u64,
    pub(crate) expires_at: Option<UnixNanos>,
    /// Whose API key opened it, where one was needed.
    pub(crate) holder: Option<Holder>,
    pub(crate) budget: Budget,
    /// Whether it asked for more answers than are kept.
    pub(crate) is_overfull: bool,
    /// When a sign of life last came.
    pub(crate) heard_at: Instant,
    /// The pings since then.
    pub(crate) pings: u32,
    /// What it may do, where it follows topics by name.
    pub(crate) topics: Option<Box<TopicSession>>,
    /// Held for as long as there is a connection.
    _seat: Seat,
}

impl Connection {
    pub(crate) fn new(socket: TcpStream, seat: Seat, now: Instant) -> Self {
        Self {
            socket,
            carried: Carried::Nothing,
            outbox: WriteBuffer::default(),
            inbox: FrameDecoder::default(),
            control: false,
            blocked: false,
            unread: false,
            blocked_since: now,
            closing: None,
            heartbeat_at: None,
            heartbeats: 0,
            expires_at: None,
            holder: None,
            budget: Budget::default(),
            is_overfull: false,
            heard_at: now,
            pings: 0,
            topics: None,
            _seat: seat,
        }
    }

    /// Whose token opened it, where it follows topics by name.
    pub(crate) fn user(&self) -> Option<&SmolStr> {
        self.topics.as_ref()?.grant.grants.user()
    }

    /// Puts a message in line, after what was written so far.
    pub(crate) fn say(&mut self, json: &[u8]) {
        self.answer(json.len(), |out| frame::text(json, out));
    }

    /// Puts the answer to a ping in line.
    pub(crate) fn pong(&mut self, payload: &[u8]) {
        self.answer(payload.len(), |out| frame::pong(payload, out));
    }

    /// Puts a frame of about so many bytes in line, unless too many wait already.
    fn answer(&mut self, length: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if self.closing.is_some() {
            return;
        }
        if self.outbox.len() + length > OUTBOX_BYTES {
            self.is_overfull = true;
        } else {
            write(self.outbox.end());
        }
    }

    /// Puts a ping in line.
    pub(crate) fn ping(&mut self) {
        self.answer(0, frame::ping);
    }

    /// Takes note of a sign of life.
    pub(crate) fn hear(&mut self, now: Instant) {
        (self.heard_at, self.pings) = (now, 0);
    }

    /// Puts a close frame in line. What follows is not sent.
    pub(crate) fn close(&mut self, code: CloseCode, reason: &str, now: Instant) {
        if self.closing.is_none() {
            frame::close(code, reason, self.outbox.end());
            self.closing = Some(now + CLOSE_PATIENCE);
        }
    }

    /// Writes what is in line. Returns whether all of it went.
    pub(crate) fn flush(&mut self, now: Instant) -> io::Result<bool> {
        if self.outbox.is_empty() || self.blocked {
            return Ok(self.outbox.is_empty());
        }
        let mut outbox = mem::take(&mut self.outbox);
        let written = self.write(outbox.pending(), now);
        outbox.advance(*written.as_ref().unwrap_or(&0));
        self.outbox = outbox;
        written.map(|_| self.outbox.is_empty())
    }

    /// Writes behind an empty outbox. Returns how many bytes went; fewer than given means blocked.
    pub(crate) fn write(&mut self, bytes: &[u8], now: Instant) -> io::Result<usize> {
        let written = attempt(|| self.socket.write(bytes))?;
        self.note(written < bytes.len(), now);
        Ok(written)
    }

    /// As [`Connection::write`], for bytes in several places.
    pub(crate) fn write_slices(&mut self, slices: &[Bytes], now: Instant) -> io::Result<usize> {
        if let [one] = slices {
            return self.write(one, now);
        }
        let mut written = 0;
        for group in slices.chunks(WRITE_SLICES) {
            let mut parts = [IoSlice::new(&[]); WRITE_SLICES];
            for (part, bytes) in parts.iter_mut().zip(group) {
                *part = IoSlice::new(bytes);
            }
            let length: usize = group.iter().map(Bytes::len).sum();
            let count = attempt(|| self.socket.write_vectored(&parts[..group.len()]))?;
            written += count;
            self.note(count < length, now);
            if count < length {
                break;
            }
        }
        Ok(written)
    }

    /// Whether the socket took less than it was given.
    fn note(&mut self, is_short: bool, now: Instant) {
        if is_short {
            self.blocked = true;
            self.blocked_since = now;
        }
    }
}

/// A write that may find the socket full, which counts as nothing written.
fn attempt(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Bytes that wait for the socket: answers, and the rest of a frame that went in part. No memory while empty.
#[derive(Debug, Default)]
pub(crate) struct WriteBuffer {
    bytes: Vec<u8>,
    sent: usize,
}

impl WriteBuffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Where to append whole frames.
    pub(crate) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    fn advance(&mut self, written: usize) {
        self.sent += written;
        if self.sent == self.bytes.len() {
            *self = Self::default();
        } else if self.sent >= SENT_BYTES {
            self.bytes.drain(..self.sent);
            self.bytes.shrink_to_fit();
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::seats::Seats;
    use super::super::shared::Limits;
    use super::*;

    /// A connection whose other side takes nothing.
    fn unread() -> (Connection, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let socket = listener.accept().expect("accept").0;
        let seat = Seats::new(&Limits::default()).take(None, None).expect("a seat");
        (Connection::new(TcpStream::from_std(socket), seat, Instant::now()), client)
    }

    #[test]
    fn answers_wait_as_far_as_they_are_kept_and_the_one_too_many_is_noted() {
        let (mut connection, _client) = unread();
        let answer = vec![b'x'; 60_000];
        for _ in 0..4 {
            connection.say(&answer);
        }
        assert!(!connection.is_overfull);
        connection.say(&answer);
        assert!(connection.is_overfull);
        assert_eq!(connection.outbox.len(), 4 * (answer.len() + 4));
    }

    #[test]
    fn an_outbox_is_shortened_from_the_front_while_it_is_taken() {
        let mut outbox = WriteBuffer::default();
        outbox.end().extend_from_slice(&vec![b'x'; 3 * SENT_BYTES]);
        outbox.end().push(b'y');
        outbox.advance(SENT_BYTES);
        assert_eq!(
            (outbox.len(), outbox.sent, outbox.bytes.len()),
            (2 * SENT_BYTES + 1, 0, 2 * SENT_BYTES + 1)
        );
        outbox.advance(2 * SENT_BYTES);
        assert_eq!(outbox.pending(), b"y");
    }
}
