//! Tells clients the state of sources: in the table of source statuses, and in the logs of the topics that a source concerns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bond_core::instrument::{Instrument, Venue};
use bond_core::source::{SourceBoard, SourceState, SourceStatus};
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bytes::Bytes;
use serde_json::{Value, json};
use smol_str::{SmolStr, format_smolstr};

use super::health::{Health, Sources};
use super::losses::Range;
use super::outbox::{Holds, Outbox, Status};
use super::streams::StreamRun;

/// The state of each source that each topic's log was last told.
#[derive(Debug, Default)]
pub(super) struct AnnouncedSources(HashMap<Topic, BTreeMap<SmolStr, SourceState>>);

impl AnnouncedSources {
    /// Writes the state of `source` into the log of `topic`, if it differs from the last one written there. `Connecting`, the state in
    /// which every source begins, is not written.
    pub(super) fn announce(&mut self, topic: &Topic, source: &SmolStr, health: &Health, outbox: &mut Outbox) {
        let known = match self.0.get_mut(topic) {
            Some(known) => known,
            None => self.0.entry(topic.clone()).or_default(),
        };
        let before = known.insert(source.clone(), health.state).unwrap_or(SourceState::Connecting);
        if before != health.state {
            outbox.status(topic, status(source, health));
        }
    }

    /// Forgets a topic that has ended.
    pub(super) fn forget(&mut self, topic: &Topic) {
        self.0.remove(topic);
    }
}

/// The name of a venue as a source.
pub(super) const fn venue_name(venue: Venue) -> SmolStr {
    SmolStr::new_static(venue.name())
}

fn status(source: &SmolStr, health: &Health) -> Status {
    let holds = match health.state {
        SourceState::Connecting | SourceState::Connected => Holds::NoMore,
        _ => Holds::On,
    };
    Status { source: source.clone(), body: body(&fields(source, health)), holds }
}

/// The status that says which of the venue's own numbers never came.
pub(super) fn lost_status(venue: Venue, health: &Health, lost: Range) -> Status {
    let source = venue_name(venue);
    let mut fields = fields(&source, health);
    fields["lost"] = json!({ "from": lost.from, "to": lost.to });
    Status { source, body: body(&fields), holds: Holds::Once }
}

fn fields(source: &SmolStr, health: &Health) -> Value {
    let mut fields = json!({
        "source": source.as_str(),
        "state": health.state.as_str(),
        "since": health.since.to_string(),
        "reason": health.reason.as_str(),
    });
    if health.simulated {
        fields["simulated"] = true.into();
    }
    fields
}

/// The fields of a JSON object without the braces, as logs keep them.
fn body(fields: &Value) -> Bytes {
    let text = fields.to_string();
    Bytes::from(text[1..text.len() - 1].to_owned())
}

/// The most unavailable instruments that the table of statuses names. Further ones are named as soon as there is room.
const MOST_NAMED: usize = 64;

/// What the table of statuses shows to everybody.
#[derive(Debug, Default)]
pub(super) struct Showing {
    named: BTreeSet<Arc<Instrument>>,
    /// Unavailable instruments for which there is no room.
    unnamed: BTreeSet<Arc<Instrument>>,
    /// Venues that streams name and this process does not serve, with the number of these streams.
    unserved: BTreeMap<Venue, usize>,
}

impl Showing {
    /// Updates the table: the state of each venue that has changed, and which wanted instruments are unavailable. The latter are shown
    /// here because a topic that never has an event cannot hold a status.
    pub(super) fn show(&mut self, board: &SourceBoard, sources: &mut Sources, simulated: &BTreeSet<Venue>) {
        let (venues, instruments) = sources.take_changed();
        for venue in venues {
            let Some((state, since)) = sources.venue(venue) else { continue };
            board.put(venue.name(), SourceStatus { state, since, simulated: simulated.contains(&venue) });
        }
        for instrument in instruments {
            match sources.missing(&instrument) {
                Some(since) => self.miss(board, instrument, since),
                None => self.miss_no_more(board, &instrument, sources),
            }
        }
    }

    fn miss(&mut self, board: &SourceBoard, instrument: Arc<Instrument>, since: UnixNanos) {
        if self.named.len() >= MOST_NAMED && !self.named.contains(&instrument) {
            self.unnamed.insert(instrument);
            return;
        }
        board.put(&format_smolstr!("{instrument}"), unavailable(since));
        self.named.insert(instrument);
    }

    fn miss_no_more(&mut self, board: &SourceBoard, instrument: &Arc<Instrument>, sources: &Sources) {
        self.unnamed.remove(instrument);
        if !self.named.remove(instrument) {
            return;
        }
        board.remove(&format_smolstr!("{instrument}"));
        while let Some(next) = self.unnamed.pop_first() {
            if let Some(since) = sources.missing(&next) {
                return self.miss(board, next, since);
            }
        }
    }

    /// Counts a stream that names venues that this process does not serve.
    pub(super) fn add_unserved(&mut self, board: &SourceBoard, venues: &BTreeSet<Venue>, now: UnixNanos) {
        for venue in venues {
            let count = self.unserved.entry(*venue).or_default();
            *count += 1;
            if *count == 1 {
                board.put(venue.name(), unavailable(now));
            }
        }
    }

    /// Counts such a stream off.
    pub(super) fn remove_unserved(&mut self, board: &SourceBoard, venues: &BTreeSet<Venue>) {
        for venue in venues {
            let Some(count) = self.unserved.get_mut(venue) else { continue };
            *count -= 1;
            if *count == 0 {
                self.unserved.remove(venue);
                board.remove(venue.name());
            }
        }
    }
}

const fn unavailable(since: UnixNanos) -> SourceStatus {
    SourceStatus { state: SourceState::Unavailable, since, simulated: false }
}

/// The most unavailable instruments that one stream is shown.
const MOST_NAMED_TO_STREAM: usize = 8;

/// The most names that are shown to single streams, in sum. Streams beyond it see none in their heartbeats.
const MOST_NAMED_TO_STREAMS: usize = 1024;

/// The number of names that are shown to single streams.
#[derive(Debug, Default)]
pub(super) struct ShownToStreams(usize);

impl ShownToStreams {
    /// Shows a stream which of its instruments are unavailable, in place of those shown before. Other streams do not see them.
    pub(super) fn instruments(&mut self, board: &SourceBoard, stream: &mut StreamRun, sources: &Sources) {
        let plan = Arc::clone(stream.plan());
        let missing = plan.market.iter().filter_map(|need| {
            let since = sources.missing(&need.instrument)?;
            Some((format_smolstr!("{}", need.instrument), since))
        });
        let missing: BTreeMap<_, _> = missing.take(MOST_NAMED_TO_STREAM).collect();
        let gone: Vec<_> = stream
            .shown
            .iter()
            .filter(|name| name.contains(':') && !missing.contains_key(*name))
            .cloned()
            .collect();
        gone.iter().for_each(|name| self.hide(board, stream, name));
        for (name, since) in missing {
            self.show(board, stream, &name, unavailable(since));
        }
    }

    /// Shows a stream the state of one of its sources. Other streams do not see it.
    pub(super) fn show(
        &mut self,
        board: &SourceBoard,
        stream: &mut StreamRun,
        name: &SmolStr,
        status: SourceStatus,
    ) {
        if !stream.shown.contains(name) {
            if self.0 >= MOST_NAMED_TO_STREAMS {
                return;
            }
            self.0 += 1;
            stream.shown.insert(name.clone());
        }
        board.put(&SourceBoard::name_for(&stream.plan().id, name), status);
    }

    fn hide(&mut self, board: &SourceBoard, stream: &mut StreamRun, name: &SmolStr) {
        if stream.shown.remove(name) {
            self.0 -= 1;
            board.remove(&SourceBoard::name_for(&stream.plan().id, name));
        }
    }

    /// Removes everything that is shown to a stream alone.
    pub(super) fn end(&mut self, board: &SourceBoard, stream: &mut StreamRun) {
        for name in std::mem::take(&mut stream.shown) {
            self.0 -= 1;
            board.remove(&SourceBoard::name_for(&stream.plan().id, &name));
        }
    }
}

/// A health as the status that clients see.
pub(super) const fn source_status(health: &Health) -> SourceStatus {
    SourceStatus { state: health.state, since: health.since, simulated: health.simulated }
}
