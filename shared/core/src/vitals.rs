//! What one process tells the others about how it fares: the figures of streams and the statuses of sources.

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

/// How often a process tells.
pub const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long what it told is believed.
pub const BELIEVED_FOR: Duration = Duration::from_secs(10);

/// The name under which the writer itself is among the sources that it tells of.
const WRITER: &str = "ingest";

/// What one process knows of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFigures {
    /// Source events taken in.
    pub msgs_in: u64,
    /// Events written to clients, one for each event and client.
    pub msgs_out: u64,
    /// Events that slow clients missed.
    pub dropped: u64,
    /// Latest latencies from append to write, unordered, at most 1024.
    pub latencies: Vec<Duration>,
}

impl StreamFigures {
    /// Percentiles over the latest latencies; zero without samples.
    pub fn latency(&self) -> LatencySummary {
        LatencySummary::of(self.latencies.clone())
    }
}

/// What one process tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Clients connected to it, or through it.
    pub connections: u64,
    /// Events written to clients since it started, one for each event and client.
    pub delivered: u64,
    /// The streams it takes in or serves.
    pub streams: BTreeMap<StreamId, StreamFigures>,
    /// The sources it listens to; empty in a process that is not the writer.
    pub sources: BTreeMap<SmolStr, SourceStatus>,
}

/// Where processes tell each other how they fare.
#[async_trait]
pub trait VitalsBoard: Send + Sync {
    /// Replaces what this process told before.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn tell(&self, vitals: &Vitals) -> Result<(), LogError>;

    /// What all processes told within [`BELIEVED_FOR`], this one's included, put together.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    async fn all(&self) -> Result<Vitals, LogError>;
}

impl Vitals {
    /// Says that this process is the writer, at `now`.
    pub fn mark_writer(&mut self, now: UnixNanos) {
        let status = SourceStatus { state: SourceState::Connected, since: now, simulated: false };
        self.sources.insert(SmolStr::new_static(WRITER), status);
    }

    /// Takes the writer out of the sources, and returns whether any process was it.
    pub fn take_writer(&mut self) -> bool {
        self.sources.remove(WRITER).is_some()
    }

    /// Adds what another process tells. Latencies are kept to 1024.
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

/// Counts of what serves the clients of a process: those connected, and events written since the start.
pub type Counts = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// What this process knows by itself; where it is the only one, all there is to know.
#[derive(Default)]
pub struct LocalVitals {
    meters: Meters,
    sources: SourceBoard,
    counts: OnceLock<Counts>,
}

impl LocalVitals {
    /// Reads these figures and statuses.
    pub fn new(meters: Meters, sources: SourceBoard) -> Self {
        Self { meters, sources, counts: OnceLock::new() }
    }

    /// Reads counts from here on; zero before. Only the first source is taken.
    pub fn attach(&self, counts: Counts) {
        self.counts.get_or_init(|| counts);
    }

    /// How it fares now.
    pub fn now(&self) -> Vitals {
        let (connections, delivered) = self.counts.get().map(|counts| counts()).unwrap_or_default();
        Vitals { connections, delivered, streams: self.meters.figures(), sources: self.sources.snapshot() }
    }
}

#[async_trait]
impl VitalsBoard for LocalVitals {
    async fn tell(&self, _: &Vitals) -> Result<(), LogError> {
        Ok(())
    }

    async fn all(&self) -> Result<Vitals, LogError> {
        Ok(self.now())
    }
}
