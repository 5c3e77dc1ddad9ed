//! The fan-out function: posts the relay's messages to connections, and returns for each connection how many were accepted.
//!
//! The invocation contains everything that the function needs. Parcels are delivered concurrently. The messages of one parcel are posted in
//! order, each after the one before was accepted. A connection that fails does not hold up others.

use std::sync::Arc;
use std::time::Duration;

use bond_core::connection::ConnectionId;
use bond_core::deliver::{CLOCK_SKEW, Deliverer, Delivery, DeliveryCounts, Parcel, Receipt, Stop};
use bond_core::time::{Clock, UnixNanos};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use lambda_runtime::Diagnostic;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::Instrument;

use crate::emf::{Emf, Metric};

/// The number of connections to which messages are posted at the same time. At about 10 ms per post this is enough to use up a processor.
const SIDE_BY_SIDE: usize = 128;

/// How long a delivery may take to notice the end of its budget. After that it is abandoned.
const GRACE: Duration = Duration::from_millis(100);

/// The invocation cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("not an invocation of the relay: {0}")]
pub struct InvocationError(#[from] serde_json::Error);

impl From<InvocationError> for Diagnostic {
    fn from(error: InvocationError) -> Self {
        Self { error_type: "InvocationError".to_owned(), error_message: error.to_string() }
    }
}

/// Makes a deliverer whose posts all end by the given time.
pub type Until = Box<dyn Fn(Instant) -> Arc<dyn Deliverer> + Send + Sync>;

/// Posts the relay's parcels.
pub struct Fanout {
    /// Makes a deliverer whose posts all end by the given time.
    pub until: Until,
    /// Wall time, for metrics and for the relay's deadline.
    pub clock: Arc<dyn Clock>,
    /// Metrics.
    pub emf: Emf,
}

/// An invocation whose messages are borrowed from its text.
#[derive(Deserialize)]
struct Borrowed<'a> {
    lane: u16,
    number: u64,
    budget_ms: u64,
    deadline_ms: Option<i64>,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    parcels: Vec<Parcel>,
}

impl Fanout {
    /// Handles one invocation.
    ///
    /// # Errors
    /// [`InvocationError`].
    pub async fn handle(&self, event: Box<RawValue>) -> Result<Receipt, InvocationError> {
        let begun = Instant::now();
        let text = Bytes::from(String::from(Box::<str>::from(event)));
        let Borrowed { lane, number, budget_ms, deadline_ms, messages, parcels } =
            serde_json::from_slice(&text)?;
        // Each message is a slice of the text, so nothing is copied.
        let messages = messages.iter().map(|message| text.slice_ref(message.get().as_bytes())).collect();
        let deadline = begun + self.left(deadline_ms).min(Duration::from_millis(budget_ms));
        let round = Round { deadline, deliverer: (self.until)(deadline), messages };
        let span = tracing::info_span!("invocation", lane, number);
        let deliverer = Arc::clone(&round.deliverer);
        let receipt = Arc::new(round).deliver(parcels).instrument(span).await;
        self.tell(&receipt, deliverer.tally(), begun.elapsed());
        Ok(receipt)
    }

    /// The time from now until the relay's deadline, with room for the difference between the clocks.
    fn left(&self, deadline_ms: Option<i64>) -> Duration {
        let Some(deadline_ms) = deadline_ms else { return Duration::MAX };
        UnixNanos::from_millis(deadline_ms).plus(CLOCK_SKEW).since(self.clock.now())
    }

    fn tell(&self, receipt: &Receipt, tally: DeliveryCounts, took: Duration) {
        let deliveries = &receipt.deliveries;
        let stopped = |stop: Stop| deliveries.iter().filter(|delivery| delivery.stop == Some(stop)).count();
        let taken: usize = deliveries.iter().map(|delivery| delivery.taken).sum();
        let failed = stopped(Stop::Failed) + stopped(Stop::Deadline);
        self.emf.write(
            self.clock.now(),
            &[
                Metric::count("Parcels", deliveries.len()),
                Metric::count("Events", taken),
                Metric::count("Posts", usize::try_from(tally.posts).unwrap_or(usize::MAX)),
                Metric::ratio("EventsPerPost", taken, tally.posts),
                Metric::time("QuotaWait", tally.waited),
                Metric::count("PostsGone", stopped(Stop::Gone)),
                Metric::count("PostsSlow", stopped(Stop::Slow)),
                Metric::count("PostsThrottled", stopped(Stop::Quota)),
                Metric::count("PostsTooLarge", stopped(Stop::TooLarge)),
                Metric::count("PostsUnfinished", stopped(Stop::Deadline)),
                Metric::count("PostsFailed", stopped(Stop::Failed)),
                Metric::share("ErrorPercent", !deliveries.is_empty() && failed == deliveries.len()),
                Metric::time("Duration", took),
            ],
        );
    }
}

/// The work of one invocation.
struct Round {
    deadline: Instant,
    deliverer: Arc<dyn Deliverer>,
    messages: Vec<Bytes>,
}

impl Round {
    /// Delivers the parcels, each in a separate task, so that several processors share the work.
    async fn deliver(self: Arc<Self>, parcels: Vec<Parcel>) -> Receipt {
        let mut deliveries = vec![Delivery { taken: 0, stop: Some(Stop::Failed) }; parcels.len()];
        let tasks = parcels.into_iter().enumerate().map(|(place, parcel)| {
            let round = Arc::clone(&self);
            #[expect(clippy::disallowed_methods, reason = "the round waits for it")]
            tokio::spawn(async move { (place, round.parcel(&parcel).await) }.in_current_span())
        });
        // Unordered, so that a slow parcel does not keep those behind it from beginning.
        let mut finished = stream::iter(tasks).buffer_unordered(SIDE_BY_SIDE);
        while let Some(task) = finished.next().await {
            if let Ok((place, delivery)) = task {
                deliveries[place] = delivery;
            }
        }
        Receipt { deliveries }
    }

    async fn parcel(&self, parcel: &Parcel) -> Delivery {
        let connection = ConnectionId::new(parcel.connection.as_str());
        let Some(messages) = self.contents(parcel) else {
            tracing::error!(%connection, "a parcel names messages that are not there");
            return Delivery { taken: 0, stop: Some(Stop::Failed) };
        };
        let delivery = self.post(&connection, &messages, parcel.batch).await;
        if let Some(stop) = delivery.stop.filter(|stop| !matches!(stop, Stop::Gone | Stop::Quota)) {
            tracing::warn!(%connection, taken = delivery.taken, ?stop, "delivery stopped");
        }
        if parcel.close && delivery.stop.is_none() {
            self.deliverer.close(&connection).await;
        }
        delivery
    }

    /// A parcel's messages, in order; `None` if a run is out of range.
    fn contents(&self, parcel: &Parcel) -> Option<Vec<Bytes>> {
        let mut contents = Vec::with_capacity(parcel.len().min(self.messages.len()));
        for &(first, count) in &parcel.runs {
            let first = first as usize;
            contents.extend_from_slice(self.messages.get(first..first.checked_add(count as usize)?)?);
        }
        Some(contents)
    }

    async fn post(&self, connection: &ConnectionId, messages: &[Bytes], batch: usize) -> Delivery {
        if Instant::now() >= self.deadline {
            return Delivery { taken: 0, stop: Some(Stop::Deadline) };
        }
        let delivering = self.deliverer.deliver(connection, messages, batch);
        let outcome = tokio::time::timeout_at(self.deadline + GRACE, delivering).await;
        outcome.unwrap_or(Delivery { taken: 0, stop: Some(Stop::Deadline) })
    }
}
