//! One client of the broker. It gets entries in order; messages that it sends are ignored.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bond_core::code::CloseCode;
use bond_core::position::Start;
use bond_core::time::UnixNanos;
use hyper::upgrade::OnUpgrade;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Sleep, sleep};
use tracing::debug;

use super::BrokerShared;
use super::ring::{BrokerRing, Extent, FellBehind, Followed};
use super::socket::Socket;
use crate::upgrade::take_socket;
use crate::ws::seats::Seat;

/// The most bytes of entries that wait for a client.
const TURN_BYTES: usize = 128 * 1024;

/// How a connection begins.
pub(super) enum Begin {
    /// With a stream, from `start` on.
    Stream { ring: Followed, start: Start },
    /// With nothing: it is closed with this code and reason.
    Refused { code: CloseCode, reason: String },
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed, or its socket broke.
    Gone,
    /// We close the connection with this code and reason.
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
const NO_REDIS: End = End::Told(CloseCode::TryAgainLater, "redis does not answer: connect again");

/// Serves a connection from its upgrade to its end, in its seat.
pub(super) async fn serve(shared: Arc<BrokerShared>, upgraded: OnUpgrade, begin: Begin, _seat: Seat) {
    let (socket, leftover) = match take_socket(upgraded).await {
        Ok(taken) => taken,
        Err(error) => return debug!(%error, "a connection could not be upgraded"),
    };
    let mut socket = Socket::new(socket, Instant::now());
    let (ring, start) = match begin {
        Begin::Stream { ring, start } => (ring, start),
        Begin::Refused { code, reason } => return socket.close(code, &reason).await,
    };
    let mut follower = Follower::new(&shared, &ring, start);
    let end = tokio::select! {
        Err(end) = follower.run(&mut socket, &leftover) => end,
        () = shared.stop.cancelled() => LEAVING,
    };
    // The connection no longer follows the ring. What remains is to send the close frame.
    drop(ring);
    if let End::Told(code, reason) = end {
        socket.close(code, reason).await;
    }
}

/// A client that follows a ring.
struct Follower<'a> {
    shared: &'a BrokerShared,
    ring: &'a BrokerRing,
    start: Start,
    extent: watch::Receiver<Extent>,
    /// The place of the next entry; `None` until the ring is filled.
    place: Option<u64>,
    /// Fires when the client's deadlines have to be checked.
    timer: Pin<Box<Sleep>>,
}

impl<'a> Follower<'a> {
    fn new(shared: &'a BrokerShared, ring: &'a BrokerRing, start: Start) -> Self {
        let (extent, timer) = (ring.watch(), Box::pin(sleep(shared.config.limits.silence)));
        Self { shared, ring, start, extent, place: None, timer }
    }

    /// Sends the ring's entries, those present and those to come, until the client goes or falls behind.
    async fn run(&mut self, socket: &mut Socket, leftover: &[u8]) -> Result<Infallible, End> {
        socket.take(leftover, Instant::now())?;
        loop {
            self.fill(socket).await?;
            self.wait(socket).await?;
        }
    }

    /// Queues the next entries once all queued before are sent.
    async fn fill(&mut self, socket: &mut Socket) -> Result<(), End> {
        let Extent { is_filled, is_unreadable, start, .. } = *self.extent.borrow_and_update();
        if is_unreadable {
            return Err(UNREADABLE);
        }
        if !is_filled {
            return Ok(());
        }
        let place = match self.place {
            Some(place) => place,
            None => self.begin().await.ok_or(NO_REDIS)?,
        };
        self.place = Some(place);
        if !socket.is_idle() {
            // The client has fallen behind: entries that wait could still be sent, but none could follow them.
            return if place < start { Err(BEHIND) } else { Ok(()) };
        }
        let (frames, next) = self.ring.after(place, TURN_BYTES).map_err(|FellBehind| BEHIND)?;
        self.place = Some(next);
        socket.queue(frames);
        socket.write(Instant::now())
    }

    /// The place at which a client begins: at the next entry, or within the window.
    async fn begin(&self) -> Option<u64> {
        let now = self.shared.streams.now_ms().await.ok()?;
        let at = self.start.time(UnixNanos::from_millis(i64::try_from(now).ok()?));
        Some(match at {
            None => self.extent.borrow().end,
            Some(time) => self.ring.place_at(u64::try_from(time.as_millis()).unwrap_or(0)),
        })
    }

    /// Waits for new entries, the client or a deadline. Messages of the client are read and dropped meanwhile.
    async fn wait(&mut self, socket: &mut Socket) -> Result<(), End> {
        let limits = &self.shared.config.limits;
        let due = socket.due(limits).into();
        if due < self.timer.deadline() {
            self.timer.as_mut().reset(due);
        }
        let has_more = socket.is_idle() && self.place.is_some_and(|place| place < self.extent.borrow().end);
        tokio::select! {
            outcome = socket.turn() => outcome,
            changed = self.extent.changed() => changed.map_err(|_| LEAVING),
            // There is more to send: let other tasks run first.
            () = yield_now(), if has_more => Ok(()),
            () = self.timer.as_mut() => {
                let outcome = socket.look_after(limits, Instant::now());
                self.timer.as_mut().reset(socket.due(limits).into());
                outcome
            }
        }
    }
}
