//! From an invocation's outcome back to the cursors.

use std::sync::Arc;
use std::time::Duration;

use bond_core::deliver::{Delivery, Invocation, InvokeError, Receipt, Stop};
use bond_supervise::owned;
use metrics::{counter, gauge, histogram};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use super::client::{Client, Closing, Standing, Update};
use super::lane::Lane;
use super::poison_search::{Limit, TrialLoad};
use super::shared::RelayShared;
use crate::delivery::feed::Picked;
use crate::delivery::follow::{Moment, Tally};

/// So young a connection may be told to be gone although it is not: `$connect` may not have returned (API Gateway answers 410 until
/// then).
const YOUNG: Duration = Duration::from_secs(10);

/// What one connection got in an invocation.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Its id among the lane's.
    pub(super) client: usize,
    /// How many of our messages go first.
    pub(super) said: usize,
    /// The items after them.
    pub(super) picks: Vec<Picked>,
    /// Whether it is closed after them.
    pub(super) close: bool,
}

impl Sent {
    pub(super) fn is_empty(&self) -> bool {
        self.said == 0 && self.picks.is_empty() && !self.close
    }

    fn len(&self) -> usize {
        self.said + self.picks.len()
    }
}

/// What an invocation came to.
pub(super) type Outcome = Result<Receipt, InvokeError>;

/// The invocation in flight.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// In the order of its parcels.
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

    /// Waits for the outcome of what is in flight; never where nothing is. Cancel-safe.
    pub(super) async fn outcome(under_way: &mut Option<Self>) -> Outcome {
        let Some(Self { outcome, budget, .. }) = under_way else { return std::future::pending().await };
        outcome
            .await
            .unwrap_or_else(|error| Err(InvokeError::Failed { reason: error.to_string(), after: *budget }))
    }
}

impl Lane {
    /// Takes in what became of the invocation in flight.
    pub(super) fn on_outcome(&mut self, outcome: Outcome) {
        let Some(UnderWay { sent, .. }) = self.under_way.take() else { return };
        gauge!("bond_relay_lanes_busy").decrement(1);
        self.now = super::shared::now();
        self.chores.has_moved = true;
        let (load, waiting, has_failed) = (self.load(&sent), self.ready.len(), outcome.is_err());
        match outcome {
            Ok(receipt) => {
                self.search.went_well(load);
                self.on_receipt(sent, receipt);
            }
            Err(error) => {
                warn!(lane = self.index, %error, "an invocation gave no receipt");
                counter!("bond_relay_failures_total").increment(1);
                self.wait_after(&error);
                self.search_after(&error, load);
                // What was taken is not known: from the saved cursors, which may repeat numbers, and never leaves one out.
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
            [Sent { client, said: 0, picks, close: false }] if picks.len() == 1 => {
                let (index, pick) = &picks[0];
                let topic = self.clients.get(*client).and_then(|client| client.feed.topics.get(*index));
                topic.map(|topic| (topic.follow.ring.id, pick.to.offset, false))
            }
            _ => None,
        };
        TrialLoad { connections: sent.len(), items: sent.iter().map(Sent::len).sum(), alone }
    }

    fn search_after(&mut self, error: &InvokeError, load: TrialLoad) {
        if let InvokeError::Failed { .. } = error
            && self.search.failed(load).is_some()
        {
            error!(
                lane = self.index,
                "every invocation with one event fails and others do not: it is passed"
            );
        }
    }

    /// While there is a search: those who came in line after the first `waiting` go before them.
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
        // A receipt that is too short says nothing of the rest.
        let unknown = std::iter::repeat(Delivery { taken: 0, stop: Some(Stop::Failed) });
        let deliveries = receipt.deliveries.into_iter().chain(unknown);
        sent.into_iter().zip(deliveries).for_each(|(sent, delivery)| self.on_delivery(sent, delivery));
    }

    /// Pauses all lanes where the quota is used up, ever longer only while most of what is tried is refused.
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

    /// Has a client's next turn come as its last one ended.
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
    /// Moves on past what was taken, and takes the rest back. Returns why it stopped.
    fn settle(&mut self, sent: &mut Sent, delivery: Delivery, moment: &mut Moment<'_>) -> Option<Stop> {
        let taken = delivery.taken.min(sent.len());
        let stop = delivery.stop.or((taken < sent.len()).then_some(Stop::Failed));
        let said = taken.min(sent.said);
        self.unsay(said);
        let mut rest = sent.picks.split_off(taken - said);
        self.feed.pass(&sent.picks, moment);
        counter!("bond_relay_messages_total").increment(taken as u64);
        if taken > 0 {
            (self.seen, self.slow_since) = (moment.now, None);
            // One that takes some of it is slow, and would fall ever further behind in ever longer pauses.
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
