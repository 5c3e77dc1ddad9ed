//! Telling clients how sources fare: on the board, and in the logs of the topics that are concerned.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bond_core::instrument::Venue;
use bond_core::source::{SourceBoard, SourceState, SourceStatus};
use bond_core::topic::Topic;
use bytes::Bytes;
use serde_json::{Value, json};

use super::health::Health;
use super::losses::Range;
use super::outbox::Outbox;

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

    /// Forgets topics that have ended.
    pub(super) fn retain(&mut self, running: impl Fn(&Topic) -> bool) {
        self.0.retain(|topic, _| running(topic));
    }
}

fn status(venue: Venue, health: &Health) -> Bytes {
    body(&fields(venue, health))
}

/// The status that says which of the venue's own numbers never came.
pub(super) fn lost_status(venue: Venue, health: &Health, lost: Range) -> Bytes {
    let mut fields = fields(venue, health);
    fields["lost"] = json!({ "from": lost.from, "to": lost.to });
    body(&fields)
}

fn fields(venue: Venue, health: &Health) -> Value {
    json!({
        "source": venue.name(),
        "state": health.state.as_str(),
        "since": health.since.to_string(),
        "reason": health.reason.as_str(),
    })
}

/// The fields without their braces, as logs keep them.
fn body(fields: &Value) -> Bytes {
    let text = fields.to_string();
    Bytes::from(text[1..text.len() - 1].to_owned())
}

/// Puts how each venue fares on the board.
pub(super) fn show(board: &SourceBoard, venues: &BTreeMap<Venue, Health>, simulated: &BTreeSet<Venue>) {
    for (venue, health) in venues {
        board.put(venue.name(), source_status(health, simulated.contains(venue)));
    }
}

/// A health as the rest of Bond knows it.
pub(super) const fn source_status(health: &Health, simulated: bool) -> SourceStatus {
    SourceStatus { state: health.state, since: health.since, simulated }
}
