//! Keeps order books complete: when to get a snapshot, and what to do about updates that do not follow each other.
//!
//! To get a snapshot is either a REST request, if the venue's rule joins snapshots to deltas, or a new subscription. Each book has a
//! backoff between attempts that do not make it live. The backoff starts from the beginning once the book has stayed live for a while.

use std::collections::HashMap;
use std::time::Duration;

use bond_core::event::{BookUpdateKind, MarketData, MarketEvent};
use tokio::time::Instant;

use crate::book::{Continuity, UpdateIds, Verdict};
use crate::venue::{ContinuityRule, Subscription};
use bond_core::backoff::{Backoff, BackoffPolicy};

/// How long to wait for a first delta before requesting a snapshot. A quiet book may send no delta at all.
const FIRST_DELTA: Duration = Duration::from_secs(2);

/// How long a book must have been live for its backoff to start from the beginning.
const EARNED: Duration = Duration::from_secs(60);

/// A request to get a new snapshot of an order book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BookResync {
    /// The book was found to be wrong. It is `suspect` until it has been rebuilt from a new snapshot.
    Rebuild {
        /// Which book.
        subscription: Subscription,
        /// What is wrong with it.
        reason: String,
    },
    /// The book nears the end of the prices that its snapshot covered. It stays good and gets a new snapshot. If snapshots come on the
    /// socket, they cover everything that the venue serves, and nothing is done.
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
    /// The events are contiguous. `recovered`: the book was not known to be good before.
    Good { events: Vec<MarketEvent>, recovered: bool },
    /// The book cannot be trusted.
    Suspect { reason: String },
}

/// The order books of a connection.
#[derive(Debug)]
pub(super) struct Books {
    rule: ContinuityRule,
    policy: BackoffPolicy,
    /// How long a book may get only updates that are older than itself.
    stall: Duration,
    books: HashMap<Subscription, Sync>,
    /// No attempt of any book is due before this time.
    earliest: Option<Instant>,
}

#[derive(Debug)]
struct Sync {
    continuity: Continuity<MarketEvent>,
    backoff: Backoff,
    next: Next,
    /// When the book became live; `None` if it is not.
    live: Option<Instant>,
    /// When an update last came that was not older than the book.
    progress: Instant,
    /// Whether the book was last reported as good.
    good: bool,
}

/// The next attempt at a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// No attempt is needed.
    None,
    /// An attempt is to be made at this time.
    At(Instant),
    /// An attempt is in progress.
    Waiting,
}

impl Books {
    pub(super) fn new(rule: ContinuityRule, policy: BackoffPolicy, stall: Duration) -> Self {
        Self { rule, policy, stall, books: HashMap::new(), earliest: None }
    }

    /// Whether snapshots are requested by REST.
    pub(super) const fn is_over_rest(&self) -> bool {
        matches!(self.rule, ContinuityRule::Range | ContinuityRule::RangeThenPrevious)
    }

    /// Records that a book is being subscribed to. If its snapshot comes on the socket, it is expected by `expected`.
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

    /// Forgets a book that is no longer wanted.
    pub(super) fn forget(&mut self, subscription: &Subscription) {
        self.books.remove(subscription);
    }

    /// Records that the subscription has another problem, so that the next good update is reported as a recovery.
    pub(super) fn doubt(&mut self, subscription: &Subscription) {
        if let Some(sync) = self.books.get_mut(subscription) {
            sync.good = false;
        }
    }

    /// Handles a request. `unit` is the jitter of a wait that may follow, from 0 to 1.
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

    /// Takes an update from the socket or from REST. `unit` is the jitter of a wait that may follow, from 0 to 1.
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
    /// Records that an attempt to get a snapshot has failed.
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

    /// Moves deadlines by the time for which we could not read the socket.
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

    /// A time before which nothing is due.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// The books whose snapshot is due now. These attempts count as in progress from here on.
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

    /// Records an attempt by a new subscription, which fails unless the snapshot has come by `expected`. Returns false if so many attempts
    /// have failed in a row that the connection must be at fault.
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

    /// Handles the first delta. A snapshot that is requested after it is likely to be new enough to join the deltas.
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
