//! Keeps order books whole: when to get a snapshot, and what to make of updates that do not follow each other.
//!
//! An attempt at a snapshot is a REST request where the venue's rule joins snapshots to deltas, else a new subscription. Attempts
//! that do not make a book live are spaced by a backoff of the book's own, which a book earns back by staying live.

use std::collections::HashMap;
use std::time::Duration;

use bond_core::event::{BookUpdateKind, MarketData, MarketEvent};
use tokio::time::Instant;

use crate::book::{Continuity, UpdateIds, Verdict};
use crate::venue::{ContinuityRule, Subscription};
use bond_core::backoff::{Backoff, BackoffPolicy};

/// How long a first delta is awaited before a snapshot is asked for all the same: a quiet book may send none.
const FIRST_DELTA: Duration = Duration::from_secs(2);

/// How long a book must have been live for its next break to count as the first.
const EARNED: Duration = Duration::from_secs(60);

/// Something asked of an order book by whoever keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BookResync {
    /// It was found wrong: it is `suspect` until it has been rebuilt on a new snapshot.
    Rebuild {
        /// Which book.
        subscription: Subscription,
        /// What is wrong with it.
        reason: String,
    },
    /// It nears the end of what its snapshot covered: it stays good and gets a wider snapshot. Where snapshots come on the socket
    /// they cover all that the venue serves, and nothing is done.
    Reseed {
        /// Which book.
        subscription: Subscription,
    },
}

/// What follows from an update.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// Nothing for now.
    Nothing,
    /// These are contiguous; `recovered` says that the book was not known to be good before.
    Good { events: Vec<MarketEvent>, recovered: bool },
    /// The book cannot be trusted any more, or still not.
    Suspect { reason: String },
}

/// The order books of a connection.
#[derive(Debug)]
pub(super) struct Books {
    rule: ContinuityRule,
    policy: BackoffPolicy,
    /// How long a book may get nothing but what is older than itself.
    stall: Duration,
    books: HashMap<Subscription, Sync>,
    /// No attempt is due before it.
    earliest: Option<Instant>,
}

#[derive(Debug)]
struct Sync {
    continuity: Continuity<MarketEvent>,
    backoff: Backoff,
    next: Next,
    /// When it became live.
    live: Option<Instant>,
    /// When something last came that was not older than it.
    progress: Instant,
    /// Whether it is known to be good to whoever listens.
    good: bool,
}

/// The next attempt at a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// None is needed.
    None,
    /// To be made then.
    At(Instant),
    /// Under way.
    Waiting,
}

impl Books {
    pub(super) fn new(rule: ContinuityRule, policy: BackoffPolicy, stall: Duration) -> Self {
        Self { rule, policy, stall, books: HashMap::new(), earliest: None }
    }

    /// Whether snapshots are asked for over REST.
    pub(super) const fn is_over_rest(&self) -> bool {
        matches!(self.rule, ContinuityRule::Range | ContinuityRule::RangeThenPrevious)
    }

    /// A book is being subscribed to; where its snapshot comes on the socket, it has come by `expected`.
    pub(super) fn asked(&mut self, subscription: &Subscription, sent: Instant, expected: Instant) {
        let next = if self.is_over_rest() { sent + FIRST_DELTA } else { expected };
        let sync = Sync {
            continuity: Continuity::new(self.rule),
            backoff: Backoff::new(self.policy),
            next: Next::At(next),
            live: None,
            progress: sent,
            good: false,
        };
        self.books.insert(subscription.clone(), sync);
        self.look_ahead();
    }

    /// No longer wanted.
    pub(super) fn forget(&mut self, subscription: &Subscription) {
        self.books.remove(subscription);
    }

    /// Something else speaks against the book: the next good update is news.
    pub(super) fn doubt(&mut self, subscription: &Subscription) {
        if let Some(sync) = self.books.get_mut(subscription) {
            sync.good = false;
        }
    }

    /// Takes an order. `unit` is the jitter of a wait that may follow, from 0 to 1.
    pub(super) fn order(&mut self, order: BookResync, now: Instant, unit: f64) -> (Subscription, Outcome) {
        let over_rest = self.is_over_rest();
        let (subscription, reason) = match order {
            BookResync::Rebuild { subscription, reason } => (subscription, Some(reason)),
            BookResync::Reseed { subscription } => (subscription, None),
        };
        let outcome = match (self.books.get_mut(&subscription), reason) {
            (Some(sync), Some(reason)) => sync.rebuild(reason, now, unit),
            (Some(sync), None) if over_rest => sync.reseed(now),
            _ => Outcome::Nothing,
        };
        self.look_ahead();
        (subscription, outcome)
    }

    /// Takes an update in, of the socket or of REST. `unit` is the jitter of a wait that may follow, from 0 to 1.
    pub(super) fn offer(
        &mut self,
        subscription: &Subscription,
        event: MarketEvent,
        now: Instant,
        unit: f64,
    ) -> Outcome {
        let MarketData::Book(update) = &event.data else { return Outcome::Nothing };
        let ids = UpdateIds::from(update);
        let Some(sync) = self.books.get_mut(subscription) else { return Outcome::Nothing };
        let before = sync.next;
        let outcome = sync.offer(ids, event, (now, self.stall), unit);
        if sync.next != before {
            self.look_ahead();
        }
        outcome
    }
    /// An attempt at a snapshot came to nothing.
    pub(super) fn failed(
        &mut self,
        subscription: &Subscription,
        reason: &str,
        now: Instant,
        unit: f64,
    ) -> Outcome {
        let Some(sync) = self.books.get_mut(subscription) else { return Outcome::Nothing };
        let outcome = sync.fail(&format!("no snapshot: {reason}"), now, unit);
        self.look_ahead();
        outcome
    }

    /// We could not listen for so long.
    pub(super) fn excuse(&mut self, blocked: Duration) {
        for sync in self.books.values_mut() {
            sync.progress += blocked;
            if let Next::At(at) = &mut sync.next {
                *at += blocked;
            }
        }
    }

    fn look_ahead(&mut self) {
        self.earliest = self.books.values().filter_map(Sync::at).min();
    }

    /// A time before which nothing can be due.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// The books for which an attempt at a snapshot is due; it counts as under way from here on.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Subscription> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let is_due = |sync: &Sync| sync.at().is_some_and(|at| at <= now);
        let mut due = Vec::new();
        for (subscription, sync) in self.books.iter_mut().filter(|(_, sync)| is_due(sync)) {
            sync.next = Next::Waiting;
            due.push(subscription.clone());
        }
        self.look_ahead();
        due
    }

    /// An attempt by a new subscription: it counts as failed unless the snapshot has come by `expected`. False where there were so
    /// many in a row that the connection is to blame.
    pub(super) fn awaits(&mut self, subscription: &Subscription, expected: Instant, unit: f64) -> bool {
        let Some(sync) = self.books.get_mut(subscription) else { return true };
        sync.next = Next::At(expected + sync.backoff.fail(unit));
        let goes_on = !sync.backoff.has_failed();
        self.look_ahead();
        goes_on
    }
}

impl Sync {
    const fn at(&self) -> Option<Instant> {
        match self.next {
            Next::At(at) => Some(at),
            Next::None | Next::Waiting => None,
        }
    }

    fn offer(
        &mut self,
        ids: UpdateIds,
        event: MarketEvent,
        (now, stall): (Instant, Duration),
        unit: f64,
    ) -> Outcome {
        match self.continuity.offer(ids, event) {
            Verdict::Apply(events) => self.apply(events, now),
            Verdict::Ignore => {
                self.progress = now;
                Outcome::Nothing
            }
            Verdict::Old { .. } if now.saturating_duration_since(self.progress) < stall => Outcome::Nothing,
            Verdict::Old { stands, got } => {
                self.progress = now;
                self.rebuild(format!("ids began anew: the book stands at {stands}, {got} came"), now, unit)
            }
            Verdict::Buffered => self.first_delta(now),
            Verdict::Gap { expected, got } => self.gap(expected, got, now, unit),
            Verdict::TooOld { snapshot, first } => {
                let reason = format!("snapshot at {snapshot} ends before the updates from {first}");
                self.fail(&reason, now, unit)
            }
        }
    }

    fn apply(&mut self, events: Vec<MarketEvent>, now: Instant) -> Outcome {
        self.live.get_or_insert(now);
        self.progress = now;
        if events.iter().any(is_snapshot) {
            self.next = Next::None;
        }
        let recovered = !std::mem::replace(&mut self.good, true);
        Outcome::Good { events, recovered }
    }

    /// A snapshot asked for after a delta has come is the likelier to reach into the deltas.
    fn first_delta(&mut self, now: Instant) -> Outcome {
        if matches!(self.next, Next::At(_)) && self.backoff.failures() == 0 {
            self.next = Next::At(now);
        }
        Outcome::Nothing
    }

    fn gap(&mut self, expected: u64, got: u64, now: Instant, unit: f64) -> Outcome {
        let reason = format!("updates are missing: {expected} should have followed, {got} came");
        self.suspect(reason, now, unit)
    }

    fn rebuild(&mut self, reason: String, now: Instant, unit: f64) -> Outcome {
        self.continuity.reset();
        self.suspect(reason, now, unit)
    }

    fn reseed(&mut self, now: Instant) -> Outcome {
        if self.next == Next::None && self.continuity.is_live() {
            self.continuity.reseed();
            self.next = Next::At(now);
        }
        Outcome::Nothing
    }

    fn suspect(&mut self, reason: String, now: Instant, unit: f64) -> Outcome {
        if self.live.take().is_some_and(|live| now.saturating_duration_since(live) >= EARNED) {
            self.backoff.reset();
        }
        self.good = false;
        if self.next != Next::Waiting {
            let is_first = self.backoff.failures() == 0;
            let wait = self.backoff.fail(unit);
            self.next = Next::At(if is_first { now } else { now + wait });
        }
        Outcome::Suspect { reason }
    }

    fn fail(&mut self, reason: &str, now: Instant, unit: f64) -> Outcome {
        self.next = Next::At(now + self.backoff.fail(unit));
        match self.good {
            true => Outcome::Nothing,
            false => Outcome::Suspect { reason: reason.to_owned() },
        }
    }
}

fn is_snapshot(event: &MarketEvent) -> bool {
    matches!(&event.data, MarketData::Book(update) if update.kind == BookUpdateKind::Snapshot)
}
