//! From picked items to bytes: frame after frame, or batches.

use std::borrow::Cow;

use bond_core::topic::Topic;

use super::enveloped::enveloped;
use super::{Batch, Feed, Picked};
use crate::delivery::cursor::Pick;
use crate::delivery::deflate::{Form, LEAST, deflated};
use crate::delivery::figures::WorkerCounts;
use crate::delivery::frame;

/// The most bytes that one connection gets in one turn; a single frame may be longer.
const TURN_BYTES: usize = 128 * 1024;

/// The most bytes of one batch; a single event may be longer.
const BATCH_BYTES: usize = 32 * 1024;

/// What all feeds of a worker share while they have their turn.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// What the feed gets next.
    pub(crate) picks: Vec<Picked>,
    pub(super) looked: Vec<Pick>,
    pub(crate) buffer: Vec<u8>,
    /// Where the frames of the first picks end in the buffer.
    pub(crate) ends: Vec<usize>,
    /// What was delivered of topics that were asked for by name.
    pub(crate) counts: WorkerCounts,
}

impl Scratch {
    /// The end of the frame in which a write of `written` bytes ended.
    pub(crate) fn frame_end(&self, written: usize) -> usize {
        let mut ends = self.ends.iter().copied();
        if written == 0 { 0 } else { ends.find(|end| *end >= written).unwrap_or(written) }
    }
}

impl Feed {
    /// Puts the picked items' frames into the buffer, as far as the turn goes.
    pub(crate) fn render(&mut self, bench: &mut Scratch) {
        bench.buffer.clear();
        bench.ends.clear();
        match self.batch {
            Some(batch) => self.render_batch(batch, bench),
            None => self.render_frames(bench),
        }
    }

    fn render_frames(&mut self, bench: &mut Scratch) {
        for (index, pick) in &bench.picks {
            if bench.buffer.len() >= TURN_BYTES {
                break;
            }
            self.put(*index, pick, &mut bench.buffer);
            bench.ends.push(bench.buffer.len());
        }
    }

    fn render_batch(&mut self, batch: Batch, bench: &mut Scratch) {
        let mut json = Vec::with_capacity(4096);
        for (index, pick) in bench.picks.iter().take(batch.size) {
            let of_item = self.frame_of(*index, pick);
            let payload = frame::payload(&of_item);
            if payload.is_empty() {
                bench.ends.push(0);
                continue;
            }
            if !json.is_empty() && json.len() + payload.len() + 2 > BATCH_BYTES {
                break;
            }
            json.push(if json.is_empty() { b'[' } else { b',' });
            json.extend_from_slice(payload);
            bench.ends.push(0);
        }
        if !json.is_empty() {
            json.push(b']');
            // A batch is one client's own, and so is its compressed frame.
            match self.is_compressed().then(|| deflated(&json)).flatten() {
                Some(frame) => bench.buffer.extend_from_slice(&frame),
                None => frame::text(&json, &mut bench.buffer),
            }
        }
        bench.ends.fill(bench.buffer.len());
    }

    /// Puts an item's frame into the buffer as this client takes it.
    fn put(&mut self, index: usize, pick: &Pick, buffer: &mut Vec<u8>) {
        let form = self.form_of(index, pick);
        let may_deflate = form == Form::Enveloped || plain(pick, form).len() >= LEAST;
        let ring = &self.topics[index].follow.ring;
        let is_compressed = self.is_compressed() && may_deflate;
        match is_compressed.then(|| ring.deflated(pick, form, || plain(pick, form))).flatten() {
            Some(frame) => buffer.extend_from_slice(&frame),
            None => buffer.extend_from_slice(&plain(pick, form)),
        }
    }

    /// The frame of an item in the form that this client takes now, never compressed; nothing where it was passed over.
    pub(crate) fn frame_of<'a>(&mut self, index: usize, pick: &'a Pick) -> Cow<'a, [u8]> {
        plain(pick, self.form_of(index, pick))
    }

    /// The form of an item that this client takes now.
    fn form_of(&mut self, index: usize, pick: &Pick) -> Form {
        let is_named = self.named().is_some();
        let topic = &mut self.topics[index];
        let is_continued = !topic.needs_whole || topic.in_buffer;
        topic.in_buffer |= pick.kind.is_some();
        if self.book_changes && is_continued && pick.changes.is_some() {
            return Form::Changes;
        }
        let is_flat = !matches!(topic.follow.ring.topic, Topic::Published(_));
        if is_named && is_flat && !pick.frame.is_empty() { Form::Enveloped } else { Form::Whole }
    }
}

/// An item's frame in this form.
fn plain(pick: &Pick, form: Form) -> Cow<'_, [u8]> {
    match form {
        Form::Whole => Cow::Borrowed(&pick.frame),
        Form::Changes => Cow::Borrowed(pick.changes.as_ref().unwrap_or(&pick.frame)),
        Form::Enveloped => {
            let mut out = Vec::with_capacity(pick.frame.len() + 128);
            frame::text(&enveloped(pick, &pick.frame).unwrap_or_default(), &mut out);
            Cow::Owned(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bond_core::log::{Entry, EventKind, Item, Record, Run};
    use bond_core::position::{Epoch, Start};
    use bond_core::time::UnixNanos;

    use super::*;
    use crate::delivery::cursor::{Cursor, Retention};
    use crate::delivery::feed::Scope;
    use crate::delivery::follow::Follow;
    use crate::delivery::pool::Pool;
    use crate::delivery::ring::Ring;

    #[test]
    fn only_who_has_agreed_gets_compressed_frames_of_a_ring_and_the_relays_form_never_is() {
        let (topic, now): (Topic, _) =
            ("streams.0123456789abcdef".parse().expect("topic"), UnixNanos::from_secs(9));
        let retention = Retention { window: Duration::from_secs(60), bytes: 1 << 20 };
        let ring = Arc::new(Ring::new(1, topic, retention, Pool::new(1 << 20)));
        let body = format!("\"text\":\"{}\"", "a word ".repeat(100)).into();
        let record = Record { kind: EventKind::Custom, ts: now, order: now, body, changes: None };
        let items = vec![Item::Event(Entry { seq: 1, at: now, record })];
        ring.append(&Run { epoch: Epoch::new("e").expect("epoch"), gap: None, items }, now, &mut 0);
        let feed = |has_deflate| {
            ring.add_follower();
            let scope = Scope::unasked("feed".into());
            let mut feed = Feed { has_deflate, ..Feed::new(scope, None) };
            feed.add(Follow::new(Arc::clone(&ring), Start::Live, now), Instant::now());
            feed
        };
        let (mut compressed, mut plain) = (feed(true), feed(false));
        let mut picks = Vec::new();
        for _ in 0..2 {
            picks.clear();
            ring.picks(Cursor::default(), false, 1, &mut picks).expect("kept");
            let put = |feed: &mut Feed| {
                let mut buffer = Vec::new();
                feed.put(0, &picks[0], &mut buffer);
                buffer
            };
            assert_eq!(put(&mut compressed)[0], 0xC1);
            assert_eq!(put(&mut plain), picks[0].frame);
            assert_eq!(compressed.frame_of(0, &picks[0]), &picks[0].frame[..]);
        }
        assert!(picks[0].deflated.is_some(), "the second time it was there");
    }
}
