//! One running stream: its windows and transforms, or every event as it comes.

use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{Channel, Custom, Tweet};
use bond_core::instrument::Symbol;
use bond_core::log::{EventKind, Record};
use bond_core::meter::StreamMeter;
use bond_core::source::SourceStatus;
use bond_core::time::UnixNanos;
use bond_core::topic::Topic;
use bond_core::window::transform::Pipeline;
use bond_core::window::{Config, Outcome, Subject, Windows};
use bond_core::wire;
use smol_str::SmolStr;

use super::instruments::{Taken, Taker};
use super::outbox::Outbox;
use super::plan::StreamPlan;
use super::takeover::Legacy;
use crate::venue::Subscription;

/// A running stream.
#[derive(Debug)]
pub(super) struct StreamRun {
    plan: Arc<StreamPlan>,
    topic: Topic,
    meter: Arc<StreamMeter>,
    mode: Mode,
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
        legacy: &Legacy,
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
        Self { topic: Topic::Stream(plan.id.clone()), plan, meter, mode }
    }

    pub(super) fn plan(&self) -> &Arc<StreamPlan> {
        &self.plan
    }

    pub(super) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Whether it takes what `subscription` brings.
    pub(super) fn takes(&self, subscription: &Subscription) -> bool {
        let mut needs = self.plan.market.iter();
        needs.any(|need| need.channel == subscription.channel && need.instrument == *subscription.instrument)
    }

    /// Whether events are passed on as they are.
    pub(super) const fn passes(&self) -> bool {
        matches!(self.mode, Mode::PassOn)
    }

    /// Takes an event of a venue.
    pub(super) fn market(&mut self, taken: &Taken, taker: &Taker, now: UnixNanos, outbox: &mut Outbox) {
        self.meter.add_in(1);
        match &mut self.mode {
            Mode::PassOn => {
                let wanted = taken.records.iter().filter(|(depth, _)| *depth == taker.depth);
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

    /// Takes note of how a source of `symbol` fares.
    pub(super) fn source(&mut self, name: &str, status: &SourceStatus, symbol: &Symbol, now: UnixNanos) {
        if let Mode::Windows(windows, _) = &mut self.mode {
            windows.set_source(name, status, Some(symbol), now);
        }
    }

    /// Gives out the windows that are due.
    pub(super) fn close_due(&mut self, now: UnixNanos, outbox: &mut Outbox) {
        let Mode::Windows(windows, pipeline) = &mut self.mode else { return };
        for aggregate in windows.close_due(now) {
            let rows = pipeline.push(aggregate);
            rows.iter().for_each(|row| outbox.event(&self.topic, row.to_record()));
        }
    }

    /// When the next window closes if nothing comes before.
    pub(super) fn next_deadline(&self) -> Option<UnixNanos> {
        match &self.mode {
            Mode::Windows(windows, _) => windows.next_deadline(),
            Mode::PassOn => None,
        }
    }
}

fn record(kind: EventKind, ts: UnixNanos, ts_exchange: Option<UnixNanos>, body: Vec<u8>) -> Record {
    Record { kind, ts, order: ts_exchange.unwrap_or(ts), body: body.into(), changes: None }
}

/// The venues that a symbol's windows lack while they are down.
fn name_sources(subject: &mut Subject, plan: &StreamPlan) {
    let needs = plan.market.iter().filter(|need| subject.symbol.as_ref() == Some(&need.symbol));
    subject.sources = needs.map(|need| SmolStr::new_static(need.instrument.venue.name())).collect();
}
