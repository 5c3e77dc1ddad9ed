//! The running streams. A stream either has windows and transforms, or passes every event on unchanged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{Channel, Custom, Tweet};
use bond_core::instrument::Symbol;
use bond_core::log::{EventKind, Record};
use bond_core::meter::StreamMeter;
use bond_core::source::SourceStatus;
use bond_core::time::UnixNanos;
use bond_core::topic::{StreamId, Topic};
use bond_core::window::transform::Pipeline;
use bond_core::window::{Config, Outcome, Subject, Windows};
use bond_core::wire;
use smol_str::SmolStr;

use super::instruments::{Accepted, StreamInput};
use super::outbox::Outbox;
use super::plan::StreamPlan;
use super::takeover::StreamTakeover;

/// Identifies a running stream within its engine. A key is never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct StreamKey(u64);

/// All running streams, and which of them have something to be done.
#[derive(Debug, Default)]
pub(super) struct Streams {
    runs: BTreeMap<StreamKey, StreamRun>,
    keys: HashMap<StreamId, StreamKey>,
    by_asset: HashMap<SmolStr, BTreeSet<StreamKey>>,
    /// Streams by the time at which their next window closes if no event arrives before.
    deadlines: BTreeSet<(UnixNanos, StreamKey)>,
    /// Streams that took an event since `close_due` was last called. Their windows may be due earlier now.
    fed: BTreeSet<StreamKey>,
    next: u64,
}

impl Streams {
    /// Adds a stream.
    pub(super) fn add(&mut self, stream: StreamRun) -> StreamKey {
        self.next += 1;
        let key = StreamKey(self.next);
        for asset in &stream.plan.assets {
            self.by_asset.entry(asset.clone()).or_default().insert(key);
        }
        self.keys.insert(stream.plan.id.clone(), key);
        self.runs.insert(key, stream);
        self.fed.insert(key);
        key
    }

    /// Removes a stream.
    pub(super) fn remove(&mut self, id: &StreamId) -> Option<(StreamKey, StreamRun)> {
        let key = self.keys.remove(id)?;
        let stream = self.runs.remove(&key)?;
        for asset in &stream.plan.assets {
            let Some(keys) = self.by_asset.get_mut(asset) else { continue };
            keys.remove(&key);
            if keys.is_empty() {
                self.by_asset.remove(asset);
            }
        }
        self.fed.remove(&key);
        if let Some(at) = stream.deadline {
            self.deadlines.remove(&(at, key));
        }
        Some((key, stream))
    }

    /// A running stream.
    pub(super) fn get(&self, key: StreamKey) -> Option<&StreamRun> {
        self.runs.get(&key)
    }

    /// A running stream, to be notified of the health of its sources.
    pub(super) fn get_mut(&mut self, key: StreamKey) -> Option<&mut StreamRun> {
        self.runs.get_mut(&key)
    }

    /// A running stream, to be given an event. Its windows are looked at by the next `close_due`.
    pub(super) fn feed(&mut self, key: StreamKey) -> Option<&mut StreamRun> {
        let stream = self.runs.get_mut(&key)?;
        if !stream.passes() {
            self.fed.insert(key);
        }
        Some(stream)
    }

    /// The streams that take posts about an asset.
    pub(super) fn of_asset(&self, asset: &str) -> Vec<StreamKey> {
        self.by_asset.get(asset).into_iter().flatten().copied().collect()
    }

    /// When the next window closes if no event arrives before.
    pub(super) fn next_deadline(&self) -> Option<UnixNanos> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Closes the windows that are due at `now` and publishes their aggregates.
    pub(super) fn close_due(&mut self, now: UnixNanos, outbox: &mut Outbox) {
        let mut due = std::mem::take(&mut self.fed);
        due.extend(self.deadlines.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key));
        due.into_iter().for_each(|key| self.close(key, now, outbox));
    }

    /// The same for one stream.
    pub(super) fn close(&mut self, key: StreamKey, now: UnixNanos, outbox: &mut Outbox) {
        let Some(stream) = self.runs.get_mut(&key) else { return };
        stream.close_due(now, outbox);
        let (before, next) = (stream.deadline, stream.next_deadline());
        if before != next {
            stream.deadline = next;
            if let Some(at) = before {
                self.deadlines.remove(&(at, key));
            }
            self.deadlines.extend(next.map(|at| (at, key)));
        }
    }
}

/// A running stream.
#[derive(Debug)]
pub(super) struct StreamRun {
    plan: Arc<StreamPlan>,
    topic: Topic,
    meter: Arc<StreamMeter>,
    mode: Mode,
    /// When the next window closes, as recorded in [`Streams`].
    deadline: Option<UnixNanos>,
    /// The names in the table of source statuses that only this stream is shown.
    pub(super) shown: BTreeSet<SmolStr>,
}

#[derive(Debug)]
enum Mode {
    Windows(Box<Windows>, Pipeline),
    PassOn,
}

impl StreamRun {
    pub(super) fn new(
        plan: Arc<StreamPlan>,
        meter: Arc<StreamMeter>,
        (max_lag, ring): (Duration, Duration),
        now: UnixNanos,
        legacy: &StreamTakeover,
    ) -> Self {
        let mode = match Config::for_spec(&plan.spec, max_lag, ring) {
            None => Mode::PassOn,
            Some(mut config) => {
                for subject in &mut config.subjects {
                    name_sources(subject, &plan);
                    subject.carried = legacy.of(subject.symbol.as_ref());
                }
                Mode::Windows(Box::new(Windows::new(config, now)), Pipeline::new(plan.spec.transforms()))
            }
        };
        let topic = Topic::Stream(plan.id.clone());
        Self { topic, plan, meter, mode, deadline: None, shown: BTreeSet::new() }
    }

    pub(super) fn plan(&self) -> &Arc<StreamPlan> {
        &self.plan
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether the stream passes events on unchanged.
    pub(super) const fn passes(&self) -> bool {
        matches!(self.mode, Mode::PassOn)
    }

    /// Takes an event of a venue.
    pub(super) fn market(
        &mut self,
        taken: &Accepted,
        input: &StreamInput,
        now: UnixNanos,
        outbox: &mut Outbox,
    ) {
        self.meter.add_in(1);
        match &mut self.mode {
            Mode::PassOn => {
                let wanted = taken.records.iter().filter(|(depth, _)| *depth == input.depth);
                wanted.for_each(|(_, record)| outbox.event(&self.topic, record.clone()));
            }
            Mode::Windows(windows, _) => {
                let event = &taken.event;
                let outcome = if event.data.channel() == Channel::OrderBook {
                    let (bid, ask) = taken.top;
                    windows.push_quote(&event.instrument, bid, ask, event.ts_exchange, now)
                } else {
                    windows.push_market(event, now)
                };
                if outcome == Outcome::TooLarge {
                    tracing::warn!(instrument = %event.instrument, "event too large to be summed exactly: left out");
                }
            }
        }
    }

    /// Takes a tweet, if it is about one of the stream's assets.
    pub(super) fn tweet(&mut self, tweet: &Tweet, now: UnixNanos, outbox: &mut Outbox) {
        if !self.plan.assets.contains(&tweet.asset) {
            return;
        }
        self.meter.add_in(1);
        match &mut self.mode {
            Mode::Windows(windows, _) => drop(windows.push_tweet(tweet, now)),
            Mode::PassOn => {
                let mut body = Vec::with_capacity(256);
                wire::tweet(tweet, &mut body);
                outbox.event(&self.topic, record(EventKind::Tweet, tweet.ts_event, tweet.ts_exchange, body));
            }
        }
    }

    /// Takes an event of one of the stream's own sockets.
    pub(super) fn custom(&mut self, custom: &Custom, now: UnixNanos, outbox: &mut Outbox) {
        self.meter.add_in(1);
        match &mut self.mode {
            Mode::Windows(windows, _) => drop(windows.push_custom(custom, now)),
            Mode::PassOn => {
                let mut body = Vec::with_capacity(256);
                wire::custom(custom, &mut body);
                outbox
                    .event(&self.topic, record(EventKind::Custom, custom.ts_event, custom.ts_exchange, body));
            }
        }
    }

    /// Updates the status of a source for `symbol`.
    pub(super) fn source(&mut self, name: &str, status: &SourceStatus, symbol: &Symbol, now: UnixNanos) {
        if let Mode::Windows(windows, _) = &mut self.mode {
            windows.set_source(name, status, Some(symbol), now);
        }
    }

    fn close_due(&mut self, now: UnixNanos, outbox: &mut Outbox) {
        let Mode::Windows(windows, pipeline) = &mut self.mode else { return };
        for aggregate in windows.close_due(now) {
            let rows = pipeline.push(aggregate);
            rows.iter().for_each(|row| outbox.event(&self.topic, row.to_record()));
        }
    }

    fn next_deadline(&self) -> Option<UnixNanos> {
        match &self.mode {
            Mode::Windows(windows, _) => windows.next_deadline(),
            Mode::PassOn => None,
        }
    }
}

fn record(kind: EventKind, ts: UnixNanos, ts_exchange: Option<UnixNanos>, body: Vec<u8>) -> Record {
    Record { kind, ts, order: ts_exchange.unwrap_or(ts), body: body.into(), changes: None }
}

/// Adds the names of the venues that a symbol's windows count as missing while they are down.
fn name_sources(subject: &mut Subject, plan: &StreamPlan) {
    let needs = plan.market.iter().filter(|need| subject.symbol.as_ref() == Some(&need.symbol));
    subject.sources = needs.map(|need| SmolStr::new_static(need.instrument.venue.name())).collect();
}
