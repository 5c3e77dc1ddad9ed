//! Items of topics that are not published, in the envelope that clients get who name their topics.

use bond_core::log::{EventKind, Gap, GapReason};
use bond_core::message::envelope::{self, Place};
use bond_core::position::Epoch;
use bond_core::time::UnixNanos;
use serde::Deserialize;

use crate::delivery::cursor::Pick;
use crate::delivery::frame;

/// What precedes an event's own fields.
const TS: &str = "\"ts\":\"";

#[derive(Deserialize)]
struct Flat<'a> {
    topic: &'a str,
    epoch: &'a str,
    #[serde(default)]
    seq: u64,
}

#[derive(Deserialize)]
struct Aside {
    #[serde(default)]
    from_seq: Option<u64>,
    #[serde(default)]
    to_seq: Option<u64>,
    #[serde(default)]
    after_seq: u64,
    #[serde(default)]
    reason: Option<String>,
}

/// The item's JSON in an envelope; `None` for a frame that is none of ours.
pub(super) fn enveloped(pick: &Pick, flat_frame: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(frame::payload(flat_frame)).ok()?;
    let flat: Flat<'_> = serde_json::from_str(text).ok()?;
    let epoch = Epoch::new(flat.epoch);
    let place = Place { topic: flat.topic, epoch: epoch.as_ref(), seq: flat.seq };
    match pick.kind {
        Some(kind) => event(place, kind, text),
        None => aside(place, pick.at, text),
    }
}

fn event(place: Place<'_>, kind: EventKind, text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(TS)?;
    let (ts, fields) = rest.split_once("\",")?;
    let fields = fields.strip_suffix('}')?;
    let is_whole = kind == EventKind::OrderBook && fields.contains(r#""update_type":"snapshot""#);
    Some(envelope::event(place, if is_whole { "snapshot" } else { "delta" }, ts, fields, kind.name()))
}

fn aside(place: Place<'_>, at: UnixNanos, text: &str) -> Option<Vec<u8>> {
    let aside: Aside = serde_json::from_str(text).ok()?;
    if let Some(to_seq) = aside.to_seq {
        let reason = GapReason::from_name(aside.reason.as_deref()?)?;
        let gap = Gap { from_seq: aside.from_seq, to_seq, reason };
        return Some(envelope::gap(place.topic, place.epoch, gap, at));
    }
    let (_, rest) = text.split_once(r#""after_seq":"#)?;
    let (_, fields) = rest.split_once(',')?;
    Some(envelope::status(Place { seq: aside.after_seq, ..place }, fields.strip_suffix('}')?, at))
}
