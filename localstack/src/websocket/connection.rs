//! One client's connection, as others see it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{IDLE_MS, LIFETIME_MS};

/// How many bytes may wait for a client that does not read, besides the socket's own buffer. AWS says that there is a limit
/// (`LimitExceededException`: "… or the WebSocket client side buffer is full", read 2026-11), not how much.
const WAITING_BYTES: usize = 128 * 1024;
/// How many messages may wait, however small.
const WAITING_MESSAGES: usize = 4096;

/// Why and how the simulator ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// With a close frame.
    Frame {
        /// The code.
        code: u16,
        /// The reason.
        reason: &'static str,
    },
    /// By dropping the socket; nobody is told, `$disconnect` neither.
    Silent,
}

impl Closing {
    pub(crate) const DELETED: Self = Self::Frame { code: 1000, reason: "Connection Closed Normally" };
    pub(crate) const IDLE: Self = Self::Frame { code: 1001, reason: "Idle timeout" };
    pub(crate) const TOO_OLD: Self = Self::Frame { code: 1001, reason: "Going away" };
    pub(crate) const BINARY: Self = Self::Frame { code: 1003, reason: "Binary frames are not supported" };
    pub(crate) const TOO_LARGE: Self = Self::Frame { code: 1009, reason: "Message too long" };
    pub(crate) const NOT_TEXT: Self = Self::Frame { code: 1007, reason: "Text is not UTF-8" };
    pub(crate) const PROTOCOL: Self = Self::Frame { code: 1002, reason: "Protocol error" };
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushError {
    /// The connection is not open.
    Gone,
    /// The client does not read, and what may wait for it does.
    Slow,
}

/// Messages that are delivered together, in any order.
pub(crate) type Held = Vec<(Bytes, oneshot::Sender<Result<(), PushError>>)>;

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: String,
    /// Virtual Unix milliseconds.
    pub(crate) connected_at: u64,
    pub(crate) source_ip: String,
    pub(crate) user_agent: String,
    pub(crate) domain_name: String,
    open: AtomicBool,
    last_active: AtomicU64,
    outbound: mpsc::Sender<Bytes>,
    waiting_bytes: AtomicUsize,
    held: Mutex<Held>,
    closing: Mutex<Option<Closing>>,
    closed: CancellationToken,
}

/// Who connects.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) source_ip: String,
    pub(crate) user_agent: String,
    pub(crate) domain_name: String,
}

impl Connection {
    /// One whose `$connect` is under way, and where its messages come out.
    pub(crate) fn connecting(id: String, client: Client, now_ms: u64) -> (Self, mpsc::Receiver<Bytes>) {
        let (outbound, messages) = mpsc::channel(WAITING_MESSAGES);
        let connection = Self {
            id,
            connected_at: now_ms,
            source_ip: client.source_ip,
            user_agent: client.user_agent,
            domain_name: client.domain_name,
            open: AtomicBool::new(false),
            last_active: AtomicU64::new(now_ms),
            outbound,
            waiting_bytes: AtomicUsize::new(0),
            held: Mutex::default(),
            closing: Mutex::default(),
            closed: CancellationToken::new(),
        };
        (connection, messages)
    }

    /// `$connect` has returned: it can be sent to.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }

    /// Whether it can be sent to.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst) && !self.closed.is_cancelled()
    }

    /// Takes a message for the client.
    pub(crate) fn push(&self, message: Bytes, now_ms: u64) -> Result<(), PushError> {
        if !self.is_open() {
            return Err(PushError::Gone);
        }
        let length = message.len();
        let waiting = self.waiting_bytes.fetch_add(length, Ordering::SeqCst);
        // A message on its own is taken whatever its size: the limit of a message is another's concern.
        let fits = waiting == 0 || waiting + length <= WAITING_BYTES;
        if !fits || self.outbound.try_send(message).is_err() {
            self.waiting_bytes.fetch_sub(length, Ordering::SeqCst);
            return Err(PushError::Slow);
        }
        self.touch(now_ms);
        Ok(())
    }

    /// So many bytes have left for the socket.
    pub(crate) fn written(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Holds a message until the others under way are taken with it. Whoever holds the first one has to release them.
    pub(crate) fn hold(&self, message: Bytes) -> (bool, oneshot::Receiver<Result<(), PushError>>) {
        let (reply, outcome) = oneshot::channel();
        let mut held = self.held.lock();
        held.push((message, reply));
        (held.len() == 1, outcome)
    }

    /// What is held, in order of arrival.
    pub(crate) fn release(&self) -> Held {
        std::mem::take(&mut *self.held.lock())
    }

    /// A message went by, in either direction.
    pub(crate) fn touch(&self, now_ms: u64) {
        self.last_active.store(now_ms, Ordering::Relaxed);
    }

    /// When the last message went by, in virtual Unix milliseconds.
    pub(crate) fn last_active(&self) -> u64 {
        self.last_active.load(Ordering::Relaxed)
    }

    /// Why it has to end by now. Control frames do not count as activity: AWS does not say that they do.
    pub(crate) fn expired(&self, now_ms: u64) -> Option<Closing> {
        let idle = now_ms >= self.last_active() + IDLE_MS;
        let too_old = now_ms >= self.connected_at + LIFETIME_MS;
        too_old.then_some(Closing::TOO_OLD).or(idle.then_some(Closing::IDLE))
    }

    /// Ends it; the first one says why.
    pub(crate) fn close(&self, closing: Closing) {
        self.closing.lock().get_or_insert(closing);
        self.closed.cancel();
    }

    /// Waits until somebody ends it.
    pub(crate) async fn closed(&self) -> Closing {
        self.closed.cancelled().await;
        self.closing.lock().unwrap_or(Closing::Silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Connection, mpsc::Receiver<Bytes>) {
        let client =
            Client { source_ip: String::new(), user_agent: String::new(), domain_name: String::new() };
        Connection::connecting("c=".to_owned(), client, 0)
    }

    #[test]
    fn nothing_is_taken_while_connect_is_under_way() {
        let (connection, _messages) = connection();
        assert_eq!(connection.push(Bytes::from("a"), 0), Err(PushError::Gone));
        connection.open();
        assert_eq!(connection.push(Bytes::from("a"), 0), Ok(()));
    }

    #[test]
    fn what_waits_is_bounded_and_goes_on_once_it_is_written() {
        let (connection, _messages) = connection();
        connection.open();
        let half = || Bytes::from(vec![b'a'; WAITING_BYTES / 2]);
        assert_eq!([(); 3].map(|()| connection.push(half(), 0)), [Ok(()), Ok(()), Err(PushError::Slow)]);
        connection.written(WAITING_BYTES / 2);
        assert_eq!(connection.push(half(), 0), Ok(()));
    }

    #[test]
    fn limits_are_those_of_idleness_and_of_age() {
        let (connection, _messages) = connection();
        assert_eq!(connection.expired(IDLE_MS - 1), None);
        assert_eq!(connection.expired(IDLE_MS), Some(Closing::IDLE));
        connection.touch(LIFETIME_MS - 1);
        assert_eq!(connection.expired(LIFETIME_MS - 1), None);
        assert_eq!(connection.expired(LIFETIME_MS), Some(Closing::TOO_OLD));
    }

    #[test]
    fn the_first_held_message_is_told_so() {
        let (connection, _messages) = connection();
        assert!(connection.hold(Bytes::from("a")).0);
        assert!(!connection.hold(Bytes::from("b")).0);
        assert_eq!(connection.release().len(), 2);
        assert!(connection.hold(Bytes::from("c")).0);
    }
}
