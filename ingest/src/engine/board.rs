//! Telling clients how sources fare: on the board, and in the logs of the topics that are concerned.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bond_core::instrument::Venue;
use bond_core::source::{SourceBoard, SourceState, SourceStatus};
use bond_core::topic::Topic;
use bytes::Bytes;
use serde_json::{Value, json};
use smol_str::SmolStr;

use super::health::Health;
use super::losses::Range;
use super::outbox::{Holds, Outbox, Status};

/// What each topic was last told of each source.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<Topic, BTreeMap<&'static str, SourceState>>);

impl Told {
    /// Tells `topic` how `venue` fares, if that is news to it. The state in which every source begins is none.
    pub(super) fn tell(&mut self, topic: &Topic, venue: Venue, health: &Health, outbox: &mut Outbox) {
        let known = self.0.entry(topic.clone()).or_default();
        let before = known.insert(venue.name(), health.state).unwrap_or(SourceState::Connecting);
        if before != health.state {
            outbox.status(topic, status(venue, health));
        }
    }

    /// Forgets a topic that has ended.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.0.remove(topic);
    }

    /// Forgets topics that have ended.
    pub(super) fn retain(&mut self, running: impl Fn(&Topic) -> bool) {
        self.0.retain(|topic, _| running(topic));
    }
}

fn status(venue: Venue, health: &Health) -> Status {
    let holds = match health.state {
        SourceState::Connecting | SourceState::Connected => Holds::NoMore,
        _ => Holds::On,
    };
    Status { source: venue.name(), body: body(&fields(venue, health)), holds }
}

/// The status that says which of the venue's own numbers never came.
pub(super) fn lost_status(venue: Venue, health: &Health, lost: Range) -> Status {
    let mut fields = fields(venue, health);
    fields["lost"] = json!({ "from": lost.from, "to": lost.to });
    Status { source: venue.name(), body: body(&fields), holds: Holds::Once }
}

fn fields(venue: Venue, health: &Health) -> Value {
    let mut fields = json!({
        "source": venue.name(),
        "state": health.state.as_str(),
        "since": health.since.to_string(),
        "reason": health.reason.as_str(),
    });
    if health.simulated {
        fields["simulated"] = true.into();
    }
    fields
}

/// The fields without their braces, as logs keep them.
fn body(fields: &Value) -> Bytes {
    let text = fields.to_string();
    Bytes::from(text[1..text.len() - 1].to_owned())
}

/// The most instruments that cannot be had and are named on the board.
const MOST_NAMED: usize = 64;

/// What the board shows, and what it no longer should.
#[derive(Debug, Default)]
pub(super) struct Showing(BTreeSet<SmolStr>);

impl Showing {
    /// Puts on the board how each venue fares, and which instruments and venues that are wanted cannot be had: a topic that never
    /// has an event has no place for a status.
    pub(super) fn show(
        &mut self,
        board: &SourceBoard,
        venues: &BTreeMap<Venue, Health>,
        missing: BTreeMap<SmolStr, Health>,
    ) {
        let missing: BTreeMap<_, _> = missing.into_iter().take(MOST_NAMED).collect();
        self.0.iter().filter(|name| !missing.contains_key(*name)).for_each(|name| board.remove(name));
        missing.iter().for_each(|(name, health)| board.put(name, source_status(health)));
        for (venue, health) in venues {
            board.put(venue.name(), source_status(health));
        }
        self.0 = missing.into_keys().collect();
    }
}

/// A health as the rest of Bond knows it.
pub(super) const fn source_status(health: &Health) -> SourceStatus {
    SourceStatus { state: health.state, since: health.since, simulated: health.simulated }
}
