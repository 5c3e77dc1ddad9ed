//! A client's way through one ring: where it begins, where it is, and what it was given.

use std::sync::Arc;
use std::time::Instant;

use bond_core::connection::TopicStart;
use bond_core::log::Gap;
use bond_core::message::{ServerMessage, to_json};
use bond_core::meter::StreamMeter;
use bond_core::position::{Epoch, Start};
use bond_core::time::{Clock, UnixNanos};

use super::cursor::Cursor;
use super::frame;
use super::ring::Ring;

/// A ring that a connection follows, and how far it is.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) ring: Arc<Ring>,
    pub(crate) place: FollowState,
}

#[derive(Debug)]
pub(crate) enum FollowState {
    /// The ring is not filled yet, or holds nothing that a resumed position could be compared with.
    Waiting(Box<Start>),
    /// As `Waiting`, for a topic that was asked for by name.
    Joining(Box<TopicStart>),
    At(Cursor),
}

impl Follow {
    /// Follows `ring`, which counts this follower already, from where `start` says at `now`. A gap is announced with the connection's
    /// first turn.
    pub(crate) fn new(ring: Arc<Ring>, start: Start, now: UnixNanos) -> Self {
        let place = match ring.place(start, now) {
            Ok(cursor) => FollowState::At(cursor),
            Err(start) => FollowState::Waiting(Box::new(start)),
        };
        Self { ring, place }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.ring.remove_follower();
    }
}

/// What was delivered, and what was missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    /// Snapshots, alerts and acks that went out beside the events that were chosen.
    pub(crate) snapshots: u64,
    pub(crate) alerts: u64,
    pub(crate) acks: u64,
    /// When the newest delivered event was appended to its log.
    pub(crate) newest: UnixNanos,
}

impl Tally {
    pub(crate) fn add(&mut self, events: u64, newest: UnixNanos) {
        if events > 0 {
            self.delivered += events;
            self.newest = newest;
        }
    }

    /// Adds it to what a stream has come to.
    pub(crate) fn meter(&self, meter: &StreamMeter, clock: &dyn Clock) {
        meter.add_out(self.delivered);
        meter.add_dropped(self.dropped);
        if self.delivered > 0 {
            meter.add_latency(clock.now().since(self.newest));
        }
    }
}

/// What a turn goes by, and what it adds to.
pub(crate) struct Moment<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) now: Instant,
    pub(crate) tally: &'a mut Tally,
}

/// The cursor of a follower, once its ring can tell where it begins; what it missed is put into `out`.
pub(crate) fn settle(
    follow: &mut Follow,
    control: bool,
    clock: &dyn Clock,
    out: &mut Vec<u8>,
) -> Option<Cursor> {
    if let FollowState::Waiting(start) = &follow.place {
        let joined = follow.ring.join(start, clock.now())?;
        if control && let Some((epoch, gap)) = joined.gap {
            announce(&follow.ring, &epoch, gap, out);
        }
        follow.place = FollowState::At(joined.cursor);
    }
    match follow.place {
        FollowState::At(cursor) => Some(cursor),
        FollowState::Waiting(_) | FollowState::Joining(_) => None,
    }
}

pub(crate) fn announce(ring: &Ring, epoch: &Epoch, gap: Gap, out: &mut Vec<u8>) {
    frame::text(&to_json(&ServerMessage::gap(&ring.name, epoch, gap)), out);
}
