//! The health report that each process publishes to the others: figures of its streams and statuses of its sources.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use smol_str::SmolStr;

use crate::log::LogError;
use crate::meter::{LatencySummary, Meters};
use crate::source::{SourceBoard, SourceState, SourceStatus};
use crate::time::UnixNanos;
use crate::topic::StreamId;

/// How often a process publishes its report.
pub const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// How long a report counts after it was published.
pub const VALID_FOR: Duration = Duration::from_secs(10);

/// The name of the source that stands for the writer itself. A report that contains it comes from the writer.
const WRITER: &str = "ingest";

/// One process's figures of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFigures {
    /// Events received from sources.
    pub msgs_in: u64,
    /// Events written to clients. An event that goes to three clients counts three times.
    pub msgs_out: u64,
    /// Events that slow clients missed.
    pub dropped: u64,
    /// The latest latencies from append to write: at most 1024, in no order.
    pub latencies: Vec<Duration>,
}

impl StreamFigures {
    /// The percentiles of the latest latencies; zero if there are none.
    pub fn latency(&self) -> LatencySummary {
        LatencySummary::of(self.latencies.clone())
    }
}

/// The health report of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// The number of clients that the process serves, by its own sockets or through API Gateway.
    pub connections: u64,
    /// Events written to clients since the process started. An event that goes to three clients counts three times.
    pub delivered: u64,
    /// The streams that the process writes or serves.
    pub streams: BTreeMap<StreamId, StreamFigures>,
    /// The sources that the process reads; empty if it is not the writer.
    pub sources: BTreeMap<SmolStr, SourceStatus>,
}

/// The port by which processes publish their health reports and read those of others.
#[async_trait]
pub trait VitalsBoard: Send + Sync {
    /// Publishes the report of this process, in place of its previous one.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn publish(&self, vitals: &Vitals) -> Result<(), LogError>;

    /// The sum of all reports that are not older than [`VALID_FOR`], including this process's own.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn all(&self) -> Result<Vitals, LogError>;
}

impl Vitals {
    /// Marks this report as the writer's, as of `now`.
    pub fn mark_writer(&mut self, now: UnixNanos) {
        let status = SourceStatus { state: SourceState::Connected, since: now, simulated: false };
        self.sources.insert(SmolStr::new_static(WRITER), status);
    }

    /// Removes the writer's mark, and returns whether it was there: whether any process is the writer.
    pub fn take_writer(&mut self) -> bool {
        self.sources.remove(WRITER).is_some()
    }

    /// Adds the report of another process. At most 1024 latencies are kept.
    pub fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.delivered += other.delivered;
        for (id, figures) in other.streams {
            let sum = self.streams.entry(id).or_default();
            sum.msgs_in += figures.msgs_in;
            sum.msgs_out += figures.msgs_out;
            sum.dropped += figures.dropped;
            let room = 1024_usize.saturating_sub(sum.latencies.len());
            sum.latencies.extend(figures.latencies.into_iter().take(room));
        }
        self.sources.extend(other.sources);
    }
}

/// Returns two counts of a process: connected clients, and events written to clients since the start.
pub type Counts = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// The report of this process alone. In a deployment of one process it is complete.
#[derive(Default)]
pub struct LocalVitals {
    meters: Meters,
    sources: SourceBoard,
    counts: OnceLock<Counts>,
}

impl LocalVitals {
    /// A report that is made from these figures and statuses.
    pub fn new(meters: Meters, sources: SourceBoard) -> Self {
        Self { meters, sources, counts: OnceLock::new() }
    }

    /// Sets where the counts come from. Until then they are zero. Only the first call has an effect.
    pub fn attach(&self, counts: Counts) {
        self.counts.get_or_init(|| counts);
    }

    /// The report as of now.
    pub fn now(&self) -> Vitals {
        let (connections, delivered) = self.counts.get().map(|counts| counts()).unwrap_or_default();
        Vitals { connections, delivered, streams: self.meters.figures(), sources: self.sources.snapshot() }
    }
}

#[async_trait]
impl VitalsBoard for LocalVitals {
    async fn publish(&self, _: &Vitals) -> Result<(), LogError> {
        Ok(())
    }

    async fn all(&self) -> Result<Vitals, LogError> {
        Ok(self.now())
    }
}
