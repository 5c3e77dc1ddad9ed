//! Applies the outcome of an invocation: moves cursors past what was taken, and queues clients that have more to get.

use std::sync::Arc;
use std::time::Duration;

use bond_core::deliver::{Delivery, Invocation, InvokeError, Receipt, Stop};
use bond_supervise::owned;
use metrics::{counter, gauge, histogram};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::client::{Client, Closing, Standing, Update};
use super::invocation_builder::Form;
use super::lane::Lane;
use super::poison_search::{Limit, TrialLoad};
use super::shared::RelayShared;
use crate::delivery::feed::Picked;
use crate::delivery::follow::{Moment, Tally};

/// For this long after it was opened, a connection may be reported as gone although it is not: API Gateway answers 410 until `$connect`
/// has returned.
const YOUNG: Duration = Duration::from_secs(10);

/// What one client was sent in an invocation.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// The client's id in the lane.
    pub(super) client: usize,
    /// How many notices go first.
    pub(super) notices: usize,
    /// The events and statuses after the notices.
    pub(super) picks: Vec<Picked>,
    /// Whether the connection is closed after them.
    pub(super) close: bool,
}

impl Sent {
    pub(super) fn is_empty(&self) -> bool {
        self.notices == 0 && self.picks.is_empty() && !self.close
    }

    fn len(&self) -> usize {
        self.notices + self.picks.len()
    }
}

/// The outcome of an invocation.
pub(super) type Outcome = Result<Receipt, InvokeError>;

/// The invocation in flight.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// What each client was sent, in the order of the invocation's parcels.
    pub(super) sent: Vec<Sent>,
    outcome: JoinHandle<Outcome>,
    budget: Duration,
}

impl UnderWay {
    pub(super) fn begin(shared: &RelayShared, invocation: Invocation, sent: Vec<Sent>) -> Self {
        counter!("bond_relay_invocations_total").increment(1);
        counter!("bond_relay_parcels_total").increment(invocation.parcels.len() as u64);
        gauge!("bond_relay_lanes_busy").increment(1);
        let oldest = sent.iter().flat_map(|sent| sent.picks.first()).map(|(_, pick)| pick.at).min();
        if let Some(oldest) = oldest {
            histogram!("bond_relay_lag_seconds").record(shared.parts.ports.clock.now().since(oldest));
        }
        let budget = Duration::from_millis(invocation.budget_ms);
        let invoker = Arc::clone(&shared.parts.invoker);
        let invoke = async move { invoker.invoke(&invocation).await };
        #[expect(
            clippy::disallowed_methods,
            reason = "its lane waits for it; a panic is an invocation without a receipt"
        )]
        let outcome = tokio::spawn(owned("invocation", invoke));
        Self { sent, outcome, budget }
    }

    /// Waits for the outcome of the invocation in flight. Never returns if there is none. Cancel-safe.
    pub(super) async fn outcome(under_way: &mut Option<Self>) -> Outcome {
        let Some(Self { outcome, budget, .. }) = under_way else { return std::future::pending().await };
        outcome
            .await
            .unwrap_or_else(|error| Err(InvokeError::Failed { reason: error.to_string(), after: *budget }))
    }
}

impl Lane {
    /// Applies the outcome of the invocation in flight.
    pub(super) fn on_outcome(&mut self, outcome: Outcome) {
        let Some(UnderWay { sent, .. }) = self.under_way.take() else { return };
        gauge!("bond_relay_lanes_busy").decrement(1);
        self.now = super::shared::now();
        self.chores.has_moved = true;
        let (load, waiting, has_failed) = (self.load(&sent), self.ready.len(), outcome.is_err());
        match outcome {
            Ok(receipt) => {
                self.search.on_success(load);
                self.on_receipt(sent, receipt);
            }
            Err(error) => {
                warn!(lane = self.index, %error, "an invocation gave no receipt");
                counter!("bond_relay_failures_total").increment(1);
                self.wait_after(&error);
                self.search_after(&error, load);
                // What was taken is unknown, so the cursors stay where they are: clients may get events twice, but miss none.
                let nothing = Delivery { taken: 0, stop: Some(Stop::Deadline) };
                sent.into_iter().for_each(|sent| self.on_delivery(sent, nothing));
            }
        }
        if has_failed || matches!(self.search.limit(), Limit::Items(_)) {
            self.put_first(waiting);
        }
    }

    fn load(&self, sent: &[Sent]) -> TrialLoad {
        let alone = match sent {
            [Sent { client, notices: 0, picks, close: false }] if picks.len() == 1 => {
                let (index, pick) = &picks[0];
                let topic = self.clients.get(*client).and_then(|client| client.feed.topics.get(*index));
                topic.map(|topic| (topic.follow.ring.id, pick.to.offset, Form::Whole))
            }
            _ => None,
        };
        TrialLoad { connections: sent.len(), items: sent.iter().map(Sent::len).sum(), alone }
    }

    fn search_after(&mut self, error: &InvokeError, load: TrialLoad) {
        if let InvokeError::Failed { .. } = error
            && self.search.on_failure(load).is_some()
        {
            error!(
                lane = self.index,
                "every invocation with one event fails and others do not: it is passed"
            );
        }
    }

    /// During a search for a poisoned event, moves the clients that were queued after the first `waiting` to the front, so that the same
    /// content is tried again.
    fn put_first(&mut self, waiting: usize) {
        if self.search.limit() != Limit::Full {
            let came = self.ready.len() - waiting;
            self.ready.rotate_right(came);
        }
    }

    fn wait_after(&mut self, error: &InvokeError) {
        match error {
            InvokeError::NotStarted(_) => self.backoff.pause(self.now),
            InvokeError::Failed { after, .. } => self.free_at = self.free_at.max(self.now + *after),
        }
    }

    fn on_receipt(&mut self, sent: Vec<Sent>, receipt: Receipt) {
        self.backoff.reset();
        self.note_quota(&receipt);
        // If the receipt is too short, the outcome of the remaining parcels is unknown.
        let unknown = std::iter::repeat(Delivery { taken: 0, stop: Some(Stop::Failed) });
        let deliveries = receipt.deliveries.into_iter().chain(unknown);
        sent.into_iter().zip(deliveries).for_each(|(sent, delivery)| self.on_delivery(sent, delivery));
    }

    /// Pauses all lanes if the quota is used up. The pauses get longer only while more posts are refused than accepted.
    fn note_quota(&self, receipt: &Receipt) {
        let refused = receipt.deliveries.iter().filter(|delivery| delivery.stop == Some(Stop::Quota)).count();
        let taken: usize = receipt.deliveries.iter().map(|delivery| delivery.taken).sum();
        let mut quota = self.shared.quota.lock();
        match refused {
            0 if quota.is_over(self.now) => quota.reset(),
            0 => {}
            _ if taken > refused => quota.pause_shortly(self.now),
            _ => quota.pause(self.now),
        }
    }

    fn on_delivery(&mut self, mut sent: Sent, delivery: Delivery) {
        let key = sent.client;
        let Some(client) = self.clients.get_mut(key) else { return };
        let has_news = matches!(client.standing, Standing::UnderWay { news: true });
        client.standing = Standing::Idle;
        let mut tally = Tally::default();
        let mut moment = Moment { clock: &*self.shared.parts.ports.clock, now: self.now, tally: &mut tally };
        let stop = client.settle(&mut sent, delivery, &mut moment);
        self.shared.count(client.stream(), &tally);
        self.shared.note_taken(&sent.picks);
        if let Some(stop) = stop {
            counter!("bond_relay_stops_total", "kind" => name(stop)).increment(1);
        }
        let is_given_up = client.closing.is_some_and(Closing::is_abrupt);
        let is_young = client.is_young(&self.shared);
        match (stop, client.update.take()) {
            (_, Some(Update::Leave)) => return self.leave(key),
            (None, _) if sent.close => return self.leave_for_good(key),
            (Some(Stop::Slow | Stop::Failed), _) if is_given_up => return self.cut(key),
            (Some(Stop::Gone), _) if !is_young => return self.leave_for_good(key),
            (_, Some(Update::Renew(asked))) => self.renew(key, *asked),
            (_, None) => {}
        }
        self.go_on(key, stop, has_news);
    }

    /// Queues a client again if it has more to get, after a pause if its last delivery failed.
    fn go_on(&mut self, key: usize, stop: Option<Stop>, has_news: bool) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match stop {
            Some(Stop::Gone | Stop::Slow | Stop::Failed) => client.backoff.pause(self.now),
            Some(Stop::Quota | Stop::Deadline | Stop::TooLarge) | None => client.backoff.reset(),
        }
        if stop.is_some() || has_news {
            self.queue(key);
        }
    }
}

impl Client {
    /// Moves the cursors past what was taken, and puts the rest back into the feed. Returns why the delivery stopped early.
    fn settle(&mut self, sent: &mut Sent, delivery: Delivery, moment: &mut Moment<'_>) -> Option<Stop> {
        let taken = delivery.taken.min(sent.len());
        let stop = delivery.stop.or((taken < sent.len()).then_some(Stop::Failed));
        let notices = taken.min(sent.notices);
        self.drop_notices(notices);
        let mut rest = sent.picks.split_off(taken - notices);
        self.feed.pass(&sent.picks, moment);
        counter!("bond_relay_messages_total").increment(taken as u64);
        if taken > 0 {
            (self.seen, self.slow_since) = (moment.now, None);
            // A client that takes only part of its events is slow. Longer and longer pauses would only put it further behind.
            self.backoff.reset();
        }
        if stop == Some(Stop::Slow) {
            self.slow_since.get_or_insert(moment.now);
        }
        if stop == Some(Stop::TooLarge) && !rest.is_empty() {
            let behind = rest.split_off(1);
            self.park(&rest, moment);
            rest = behind;
        }
        self.feed.put_back(&mut rest);
        stop
    }

    fn is_young(&self, shared: &RelayShared) -> bool {
        shared.parts.ports.clock.now().since(self.asked.opened_at) < YOUNG
    }
}

const fn name(stop: Stop) -> &'static str {
    match stop {
        Stop::Gone => "gone",
        Stop::Slow => "slow",
        Stop::Quota => "quota",
        Stop::TooLarge => "too_large",
        Stop::Deadline => "deadline",
        Stop::Failed => "failed",
    }
}
