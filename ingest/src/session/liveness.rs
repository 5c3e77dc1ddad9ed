//! Whether each subscription delivers. An accepted subscription is not data, and one that fell silent looks healthy from below.
//!
//! A subscription has one deadline, which only its own data move. Missed, it is asked for again; missed once more, the connection
//! is made anew. A quiet instrument looks the same as a lost one, so every miss doubles the budget for the next; data that come
//! soon after asking show that the silence was a loss, and set the budget back.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::venue::Subscription;

/// Misses that still double the budget: 64 times at most.
const MOST_PATIENCE: u32 = 6;

/// What must be done about a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing came in time: ask again.
    AskAgain { subscription: Subscription, reason: String },
    /// Nothing came after asking again: the connection is to blame.
    Reconnect { subscription: Subscription, reason: String },
    /// It was refused some time ago: ask once more.
    AskRefused { subscription: Subscription },
}

#[derive(Debug)]
struct Track {
    asked: Instant,
    budget: Duration,
    stage: Stage,
    /// Whether it was asked for a second time.
    again: bool,
    /// When something must have come; `None` for never.
    deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Acknowledged,
    Flowing,
    Refused,
}

/// The deadlines of a connection's subscriptions.
#[derive(Debug)]
pub(super) struct Liveness {
    ack_timeout: Duration,
    refused_retry: Duration,
    tracks: HashMap<Subscription, Track>,
    /// How often each was missed; kept from one connection to the next.
    patience: HashMap<Subscription, u32>,
    /// No deadline lies before it. Data move deadlines later without looking here.
    earliest: Option<Instant>,
}

impl Liveness {
    pub(super) fn new(ack_timeout: Duration, refused_retry: Duration) -> Self {
        Self { ack_timeout, refused_retry, tracks: HashMap::new(), patience: HashMap::new(), earliest: None }
    }

    /// Begins anew on a new connection, with the patience learnt so far.
    pub(super) fn restart(&mut self) {
        self.tracks.clear();
        self.earliest = None;
    }

    /// A subscription is being asked for; the message is sent by `sent`. Data may be absent for `budget`.
    pub(super) fn asked(&mut self, subscription: &Subscription, budget: Duration, sent: Instant) {
        let deadline = sent.checked_add(patient(self.ack_timeout, self.patience_of(subscription)));
        let track = Track { asked: sent, budget, stage: Stage::Asked, again: false, deadline };
        self.tracks.insert(subscription.clone(), track);
        self.watch(deadline);
    }

    /// The venue accepted it: now data have to come within the budget since it was asked for. False for one not asked for.
    pub(super) fn acknowledged(&mut self, subscription: &Subscription) -> bool {
        let patience = self.patience_of(subscription);
        let Some(track) = self.tracks.get_mut(subscription) else { return false };
        if track.stage == Stage::Asked {
            track.stage = Stage::Acknowledged;
            track.deadline = track.asked.checked_add(patient(track.budget, patience).max(self.ack_timeout));
        }
        true
    }

    /// The venue refused it. False for one not asked for.
    pub(super) fn refused(&mut self, subscription: &Subscription, now: Instant) -> bool {
        let deadline = now.checked_add(self.refused_retry);
        let Some(track) = self.tracks.get_mut(subscription) else { return false };
        track.stage = Stage::Refused;
        track.deadline = deadline;
        self.watch(deadline);
        true
    }

    /// Its data came. `None` for one not asked for; otherwise whether they are the first since it was asked for.
    pub(super) fn heard(&mut self, subscription: &Subscription, now: Instant) -> Option<bool> {
        let track = self.tracks.get_mut(subscription)?;
        let first = track.stage != Stage::Flowing;
        if first && now.saturating_duration_since(track.asked) <= self.ack_timeout {
            self.patience.remove(subscription);
        }
        let patience = self.patience.get(subscription).copied().unwrap_or(0);
        track.stage = Stage::Flowing;
        track.again = false;
        track.deadline = now.checked_add(patient(track.budget, patience));
        if first {
            let deadline = track.deadline;
            self.watch(deadline);
        }
        Some(first)
    }

    /// Whether its data came since it was asked for.
    pub(super) fn is_flowing(&self, subscription: &Subscription) -> bool {
        self.tracks.get(subscription).is_some_and(|track| track.stage == Stage::Flowing)
    }

    /// No longer wanted.
    pub(super) fn forget(&mut self, subscription: &Subscription) {
        self.tracks.remove(subscription);
        self.patience.remove(subscription);
    }

    /// The one subscription that the venue has not answered yet, if there is just one.
    pub(super) fn only_unanswered(&self) -> Option<Subscription> {
        let mut unanswered = self.tracks.iter().filter(|(_, track)| track.stage == Stage::Asked);
        let first = unanswered.next()?;
        unanswered.next().is_none().then(|| first.0.clone())
    }

    /// We could not listen for so long: nobody else is to blame for it.
    pub(super) fn excuse(&mut self, blocked: Duration) {
        for track in self.tracks.values_mut() {
            track.deadline = track.deadline.and_then(|deadline| deadline.checked_add(blocked));
        }
    }

    /// A time before which nothing can be due.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// What is due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let is_late = |track: &Track| track.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<Subscription> =
            self.tracks.iter().filter(|(_, track)| is_late(track)).map(|(s, _)| s.clone()).collect();
        let due = late.into_iter().filter_map(|subscription| self.miss(subscription, now)).collect();
        self.earliest = self.tracks.values().filter_map(|track| track.deadline).min();
        due
    }

    fn miss(&mut self, subscription: Subscription, now: Instant) -> Option<Due> {
        let track = self.tracks.get_mut(&subscription)?;
        let Track { stage: was, again, asked, budget, .. } = *track;
        let patience = self.patience.entry(subscription.clone()).or_default();
        let allowed = patient(budget, *patience);
        *patience = (*patience + u32::from(was != Stage::Refused)).min(MOST_PATIENCE);
        let deadline = now.checked_add(patient(self.ack_timeout, *patience));
        *track = Track { asked: now, budget, stage: Stage::Asked, again: was != Stage::Refused, deadline };
        if was == Stage::Refused {
            return Some(Due::AskRefused { subscription });
        }
        let silence = now.saturating_duration_since(asked);
        let reason = match was {
            Stage::Asked => format!("neither acknowledged nor delivered within {silence:.0?}"),
            Stage::Acknowledged => format!("acknowledged, but no data within {silence:.0?}"),
            Stage::Flowing | Stage::Refused => format!("no data for {allowed:.0?}"),
        };
        Some(match again {
            false => Due::AskAgain { subscription, reason },
            true => Due::Reconnect { subscription, reason },
        })
    }

    fn patience_of(&self, subscription: &Subscription) -> u32 {
        self.patience.get(subscription).copied().unwrap_or(0)
    }

    fn watch(&mut self, deadline: Option<Instant>) {
        self.earliest = self.earliest.into_iter().chain(deadline).min();
    }
}

/// A budget doubled for every miss before.
fn patient(budget: Duration, misses: u32) -> Duration {
    budget.saturating_mul(1 << misses.min(MOST_PATIENCE))
}
