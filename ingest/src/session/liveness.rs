//! Checks whether each subscription delivers data. That a venue has accepted it proves nothing, and a subscription that has fallen silent
//! looks healthy to the connection.
//!
//! A deadline belongs to each part of a subscription that the venue sends as a stream of its own. Only data of this part move the
//! deadline. When it passes, the subscription is made again; when it passes once more, the connection is replaced.
//!
//! A quiet instrument looks the same as a lost one. Therefore each missed deadline doubles the time allowed for the next. The time goes
//! back to normal in two cases: several messages arrive soon after subscribing again, which shows that the silence was a loss; or messages
//! have arrived for as long as the doubled time without a pause longer than the normal time. A single message after subscribing is not
//! enough, since a venue may answer with the current state, however quiet the instrument is.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::venue::{Part, Subscription};

/// The most misses that double the allowed time: it becomes at most 64 times as long.
const MOST_PATIENCE: u32 = 6;

/// How many messages must arrive soon after subscribing again to show that the silence was a loss. The first may be the current state, and
/// a second may arrive by chance.
const PROOF: u32 = 3;

/// What is to be done about a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// No data came in time: subscribe again.
    AskAgain { subscription: Subscription, reason: String },
    /// No data came after subscribing again: replace the connection.
    Reconnect { subscription: Subscription, reason: String },
    /// The subscription was refused some time ago: try once more.
    AskRefused { subscription: Subscription },
}

#[derive(Debug)]
struct Track {
    part: Part,
    asked: Instant,
    budget: Duration,
    stage: Stage,
    /// Whether the subscription was made a second time.
    again: bool,
    /// How many deadlines were missed.
    misses: u32,
    /// When data last came.
    last_data_at: Instant,
    steady: Instant,
    /// How many messages have come since the subscription was made, up to [`PROOF`].
    times: u32,
    /// When data must have come; `None` if there is no deadline.
    deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Acknowledged,
    Flowing,
    Refused,
}

/// The deadlines of a connection's subscriptions. Each subscription has few parts, mostly one.
#[derive(Debug)]
pub(super) struct Liveness {
    ack_timeout: Duration,
    refused_retry: Duration,
    tracks: HashMap<Subscription, Vec<Track>>,
    /// How many deadlines each part missed on earlier connections.
    misses: HashMap<(Subscription, Part), u32>,
    /// No deadline is earlier than this. Data move deadlines to later times without updating it.
    earliest: Option<Instant>,
}

impl Liveness {
    pub(super) fn new(ack_timeout: Duration, refused_retry: Duration) -> Self {
        Self { ack_timeout, refused_retry, tracks: HashMap::new(), misses: HashMap::new(), earliest: None }
    }

    /// Starts again on a new connection. The numbers of misses are kept.
    pub(super) fn restart(&mut self) {
        for (subscription, tracks) in self.tracks.drain() {
            let missed = tracks.iter().filter(|track| track.misses > 0);
            self.misses.extend(missed.map(|track| ((subscription.clone(), track.part), track.misses)));
        }
        self.earliest = None;
    }

    /// Records that a subscription is made with a message that is sent by `sent`. Data of each part may be absent for `budget`.
    pub(super) fn asked(
        &mut self,
        subscription: &Subscription,
        parts: &[Part],
        budget: Duration,
        sent: Instant,
    ) {
        let track = |part: &Part| {
            let misses = self.misses.remove(&(subscription.clone(), *part)).unwrap_or_default();
            let deadline = sent.checked_add(patient(self.ack_timeout, misses));
            Track {
                part: *part,
                asked: sent,
                budget,
                stage: Stage::Asked,
                again: false,
                misses,
                last_data_at: sent,
                steady: sent,
                times: 0,
                deadline,
            }
        };
        let tracks: Vec<_> = parts.iter().map(track).collect();
        let earliest = tracks.iter().filter_map(|track| track.deadline).min();
        self.tracks.insert(subscription.clone(), tracks);
        self.watch(earliest);
    }

    /// Records that the venue accepted a subscription: from now on data have to come within the budget since it was made. Returns false if
    /// the subscription was not made.
    pub(super) fn acknowledged(&mut self, subscription: &Subscription) -> bool {
        let Some(tracks) = self.tracks.get_mut(subscription) else { return false };
        for track in tracks.iter_mut().filter(|track| track.stage == Stage::Asked) {
            track.stage = Stage::Acknowledged;
            track.deadline =
                track.asked.checked_add(patient(track.budget, track.misses).max(self.ack_timeout));
        }
        true
    }

    /// Records that the venue refused a subscription. Returns false if the subscription was not made.
    pub(super) fn refused(&mut self, subscription: &Subscription, now: Instant) -> bool {
        let deadline = now.checked_add(self.refused_retry);
        let Some(tracks) = self.tracks.get_mut(subscription) else { return false };
        for track in tracks {
            (track.stage, track.deadline) = (Stage::Refused, deadline);
        }
        self.watch(deadline);
        true
    }

    /// Records data of the parts that are `present`. Returns `None` if the subscription was not made; otherwise whether the data are the
    /// first of a part since then.
    pub(super) fn heard(
        &mut self,
        subscription: &Subscription,
        present: impl Fn(Part) -> bool,
        now: Instant,
    ) -> Option<bool> {
        let tracks = self.tracks.get_mut(subscription)?;
        let mut began = None;
        for track in tracks.iter_mut().filter(|track| present(track.part)) {
            if track.on_data(now, self.ack_timeout) {
                began = began.into_iter().chain(track.deadline).min();
            }
        }
        let first = began.is_some();
        self.watch(began);
        Some(first)
    }

    /// Whether data of all parts came since the subscription was made.
    pub(super) fn is_flowing(&self, subscription: &Subscription) -> bool {
        let tracks = self.tracks.get(subscription);
        tracks.is_some_and(|tracks| tracks.iter().all(|track| track.stage == Stage::Flowing))
    }

    /// Forgets a subscription that is no longer wanted.
    pub(super) fn forget(&mut self, subscription: &Subscription) {
        self.tracks.remove(subscription);
        self.misses.retain(|(missed, _), _| missed != subscription);
    }

    /// The subscription that the venue has not answered yet, if there is exactly one.
    pub(super) fn only_unanswered(&self) -> Option<Subscription> {
        let is_open = |tracks: &[Track]| tracks.iter().any(|track| track.stage == Stage::Asked);
        let mut unanswered = self.tracks.iter().filter(|(_, tracks)| is_open(tracks));
        let first = unanswered.next()?;
        unanswered.next().is_none().then(|| first.0.clone())
    }

    /// Moves the deadlines by the time for which we could not read the socket.
    pub(super) fn excuse(&mut self, blocked: Duration) {
        for track in self.tracks.values_mut().flatten() {
            track.deadline = track.deadline.and_then(|deadline| deadline.checked_add(blocked));
        }
    }

    /// A time before which nothing is due.
    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// Everything that is due, at most one thing for each subscription.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let ack_timeout = self.ack_timeout;
        let mut due = Vec::new();
        for (subscription, tracks) in &mut self.tracks {
            let late =
                tracks.iter_mut().filter(|track| track.deadline.is_some_and(|deadline| deadline <= now));
            let missed =
                late.map(|track| track.miss(now, ack_timeout)).max_by_key(|missed| missed.severity());
            due.extend(missed.map(|missed| missed.due(subscription)));
        }
        self.earliest = self.tracks.values().flatten().filter_map(|track| track.deadline).min();
        due
    }

    fn watch(&mut self, deadline: Option<Instant>) {
        self.earliest = self.earliest.into_iter().chain(deadline).min();
    }
}

/// What follows from a missed deadline.
enum Missed {
    Refusal,
    Once(String),
    Again(String),
}

impl Missed {
    const fn severity(&self) -> u8 {
        match self {
            Self::Refusal => 0,
            Self::Once(_) => 1,
            Self::Again(_) => 2,
        }
    }

    fn due(self, subscription: &Subscription) -> Due {
        let subscription = subscription.clone();
        match self {
            Self::Refusal => Due::AskRefused { subscription },
            Self::Once(reason) => Due::AskAgain { subscription, reason },
            Self::Again(reason) => Due::Reconnect { subscription, reason },
        }
    }
}

impl Track {
    /// Records data. Returns whether they are the first since the subscription was made.
    fn on_data(&mut self, now: Instant, ack_timeout: Duration) -> bool {
        let first = self.stage != Stage::Flowing;
        self.times = if first { 1 } else { self.times.saturating_add(1) };
        if first || now.saturating_duration_since(self.last_data_at) > self.budget {
            self.steady = now;
        }
        let soon = self.times == PROOF && now.saturating_duration_since(self.asked) <= ack_timeout;
        let steady = now.saturating_duration_since(self.steady) >= patient(self.budget, self.misses);
        if soon || steady {
            self.misses = 0;
        }
        (self.stage, self.again, self.last_data_at) = (Stage::Flowing, false, now);
        self.deadline = now.checked_add(patient(self.budget, self.misses));
        first
    }

    /// Records that no data came in time. From here on the subscription counts as newly made.
    fn miss(&mut self, now: Instant, ack_timeout: Duration) -> Missed {
        let (was, again) = (self.stage, self.again);
        let (silence, allowed) =
            (now.saturating_duration_since(self.asked), patient(self.budget, self.misses));
        self.again = was != Stage::Refused;
        self.misses = (self.misses + u32::from(self.again)).min(MOST_PATIENCE);
        (self.asked, self.stage) = (now, Stage::Asked);
        self.deadline = now.checked_add(patient(ack_timeout, self.misses));
        let reason = match (was, self.part) {
            (Stage::Refused, _) => return Missed::Refusal,
            (Stage::Asked, _) => format!("neither acknowledged nor delivered within {silence:.0?}"),
            (Stage::Acknowledged, _) => format!("acknowledged, but no data within {silence:.0?}"),
            (Stage::Flowing, Part::Whole) => format!("no data for {allowed:.0?}"),
            (Stage::Flowing, Part::Quote) => format!("no best bid or ask for {allowed:.0?}"),
            (Stage::Flowing, Part::Last) => format!("no last price for {allowed:.0?}"),
        };
        if again { Missed::Again(reason) } else { Missed::Once(reason) }
    }
}

/// The budget, doubled for every miss.
fn patient(budget: Duration, misses: u32) -> Duration {
    budget.saturating_mul(1 << misses.min(MOST_PATIENCE))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bond_core::event::Channel;
    use bond_core::instrument::{Instrument, Symbol, Venue};

    use super::*;

    const BUDGET: Duration = Duration::from_secs(30);
    const ACK: Duration = Duration::from_secs(10);

    #[test]
    fn one_part_that_falls_silent_is_noticed_while_the_other_goes_on() {
        let instrument = Instrument::shared(Venue::Binance, Symbol::parse("BTC/USDT").expect("symbol"));
        let ticker = Subscription { instrument: Arc::clone(&instrument), channel: Channel::Ticker };
        let start = Instant::now();
        let mut liveness = Liveness::new(ACK, BUDGET);
        liveness.asked(&ticker, &[Part::Quote, Part::Last], BUDGET, start);
        assert_eq!(liveness.heard(&ticker, |_| true, start), Some(true));
        for second in 1..=30 {
            assert_eq!(liveness.due(start + Duration::from_secs(second - 1)), []);
            let now = start + Duration::from_secs(second);
            assert_eq!(liveness.heard(&ticker, |part| part == Part::Last, now), Some(false));
        }
        let reason = "no best bid or ask for 30s".to_owned();
        assert_eq!(liveness.due(start + BUDGET), [Due::AskAgain { subscription: ticker.clone(), reason }]);
        let later = start + BUDGET + Duration::from_secs(1);
        assert_eq!(
            liveness.heard(&ticker, |part| part == Part::Last, later),
            Some(false),
            "the same silence"
        );
        assert_eq!(liveness.heard(&ticker, |part| part == Part::Quote, later), Some(true));
    }

    fn ticker() -> Subscription {
        let instrument = Instrument::shared(Venue::Bybit, Symbol::parse("BTC/USDT:USDT").expect("symbol"));
        Subscription { instrument, channel: Channel::Ticker }
    }

    /// How often the ticker is missed in three hours in which data come at `changes` (seconds) and once whenever it is asked for.
    fn misses(changes: impl Iterator<Item = u64>) -> usize {
        let (ticker, start) = (ticker(), Instant::now());
        let mut liveness = Liveness::new(ACK, BUDGET);
        liveness.asked(&ticker, &[Part::Quote], BUDGET, start);
        let mut changes = changes.peekable();
        let mut missed = 0;
        for second in 0..3 * 3_600 {
            let now = start + Duration::from_secs(second);
            let due = liveness.due(now);
            assert!(due.iter().all(|due| matches!(due, Due::AskAgain { .. })), "{due:?}");
            missed += due.len();
            if !due.is_empty() || second == 0 || changes.next_if_eq(&second).is_some() {
                liveness.heard(&ticker, |_| true, now);
            }
        }
        missed
    }

    #[test]
    fn what_comes_at_asking_does_not_make_a_quiet_quote_flap_for_ever() {
        let never = misses(std::iter::empty());
        assert!((6..=12).contains(&never), "{never} times in 3 hours, every 30 s would be 360");
        let seldom = misses((1..).map(|n| n * 45));
        assert!(seldom <= 3, "{seldom} times");
    }

    #[test]
    fn a_steady_flow_sets_the_budget_back() {
        let flow = (1..3_600).chain(3_800..7_200).chain(7_400..10_800);
        let (ticker, start) = (ticker(), Instant::now());
        let mut liveness = Liveness::new(ACK, BUDGET);
        liveness.asked(&ticker, &[Part::Quote], BUDGET, start);
        let mut reasons = Vec::new();
        for second in flow {
            for due in liveness.due(start + Duration::from_secs(second)) {
                if let Due::AskAgain { reason, .. } = due {
                    reasons.push(reason);
                }
            }
            liveness.heard(&ticker, |_| true, start + Duration::from_secs(second));
        }
        assert_eq!(reasons, ["no data for 30s"; 2].map(|words| words.replace("data", "best bid or ask")));
    }
}
