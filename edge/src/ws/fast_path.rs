//! The fast path: one stream's frames, straight from its ring to one socket after the other.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::connection::{Carried, Connection};
use crate::delivery::cursor::{BehindRing, Cursor, Frames};
use crate::delivery::follow::{FollowState, Moment, Tally, announce, settle};
use crate::delivery::ring::Ring;

/// The most bytes that one connection gets in one turn, so that one that catches up does not hold up the others.
const TURN_BYTES: u64 = 128 * 1024;

/// After so many connections a run is looked up anew, so that the last of a long pass do not get what was new when it began.
const RUN_USES: u32 = 64;

/// How a turn of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnOutcome {
    /// It has everything there is, or the socket is full.
    Done,
    /// It has had its share, and there is more.
    More,
    /// The socket is broken.
    Broken,
}

/// The run that the last connection got: the next one most likely stands at the same place.
#[derive(Debug, Default)]
pub(crate) struct RunCache {
    ring: u64,
    cursor: Cursor,
    control: bool,
    uses: u32,
    frames: Frames,
}

impl RunCache {
    /// The frames after `cursor`.
    fn get(&mut self, ring: &Ring, cursor: Cursor, control: bool) -> Result<&Frames, BehindRing> {
        let same = self.ring == ring.id && self.cursor == cursor && self.control == control;
        if !same || self.uses == 0 {
            self.uses = 0;
            ring.frames(cursor, control, TURN_BYTES, &mut self.frames)?;
            (self.ring, self.cursor, self.control, self.uses) = (ring.id, cursor, control, RUN_USES);
        }
        self.uses -= 1;
        Ok(&self.frames)
    }

    /// Forgets the run: there may be more.
    pub(crate) fn clear(&mut self) {
        self.uses = 0;
    }
}

/// Gives a connection to one stream its turn.
pub(crate) fn deliver(
    connection: &mut Connection,
    cache: &mut RunCache,
    moment: &mut Moment<'_>,
) -> TurnOutcome {
    match connection.flush(moment.now) {
        Ok(true) => {}
        Ok(false) => return TurnOutcome::Done,
        Err(_) => return TurnOutcome::Broken,
    }
    let Carried::Stream { follow, .. } = &mut connection.carried else { return TurnOutcome::Done };
    let Some(cursor) = settle(follow, connection.control, moment.clock, connection.outbox.end()) else {
        return TurnOutcome::Done;
    };
    if !connection.outbox.is_empty() {
        return TurnOutcome::More;
    }
    let ring = Arc::clone(&follow.ring);
    match cache.get(&ring, cursor, connection.control) {
        Ok(frames) => write(connection, &ring, cursor, frames, moment),
        Err(BehindRing) => skip(connection, &ring, cursor, moment.tally),
    }
}

fn skip(connection: &mut Connection, ring: &Ring, cursor: Cursor, tally: &mut Tally) -> TurnOutcome {
    let skip = ring.skip(cursor);
    tally.dropped += skip.dropped;
    if connection.control
        && let Some((epoch, gap)) = skip.gap
    {
        announce(ring, &epoch, gap, connection.outbox.end());
    }
    set_cursor(connection, skip.cursor);
    TurnOutcome::More
}

fn write(
    connection: &mut Connection,
    ring: &Ring,
    cursor: Cursor,
    frames: &Frames,
    moment: &mut Moment<'_>,
) -> TurnOutcome {
    let outcome =
        if frames.slices.is_empty() { Ok(0) } else { connection.write_slices(&frames.slices, moment.now) };
    let Ok(written) = outcome else { return TurnOutcome::Broken };
    if written == frames.len() {
        moment.tally.add(frames.events, frames.newest);
        set_cursor(connection, frames.to);
        return if frames.more { TurnOutcome::More } else { TurnOutcome::Done };
    }
    if written > 0 {
        let reached = reach(ring, frames, written as u64);
        let rest = written..(reached.offset - frames.from) as usize;
        keep_rest(&frames.slices, &rest, connection.outbox.end());
        moment.tally.add(events_between(cursor, reached).min(frames.events), frames.newest);
        set_cursor(connection, reached);
    }
    TurnOutcome::Done
}

/// How many events lie between two places of one epoch.
fn events_between(from: Cursor, to: Cursor) -> u64 {
    if from.generation == to.generation { to.seq.saturating_sub(from.seq) } else { u64::MAX }
}

/// The end of the frame in which a write of `written` bytes ended.
fn reach(ring: &Ring, frames: &Frames, written: u64) -> Cursor {
    let inside = frames.from + written - 1;
    match ring.frame_end(inside) {
        Some(end) if end.offset <= frames.to.offset && end.offset > inside => end,
        // The ring has moved on meanwhile: the rest of the run is kept instead.
        _ => frames.to,
    }
}

/// Keeps the part `rest` of slices that lie back to back.
fn keep_rest(slices: &[Bytes], rest: &Range<usize>, out: &mut Vec<u8>) {
    let mut start = 0;
    for slice in slices {
        let within = |at: usize| at.clamp(start, start + slice.len()) - start;
        out.extend_from_slice(&slice[within(rest.start)..within(rest.end)]);
        start += slice.len();
    }
}

fn set_cursor(connection: &mut Connection, cursor: Cursor) {
    if let Carried::Stream { follow, .. } = &mut connection.carried {
        follow.place = FollowState::At(cursor);
    }
}
