//! The health reports of processes: one hash with a field for each process. The age of a report is measured by the clock of Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::log::LogError;
use bond_core::source::{SourceState, SourceStatus};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use bond_core::vitals::{StreamFigures, VALID_FOR, Vitals, VitalsBoard};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::client::{Redis, millis, unavailable};
use crate::script::Script;

const KEY: &str = "bond:vitals";

/// The first write needs no memory, because a full Redis then lets the script write the rest too.
static TELL: Script = Script::new(
    "redis.call('PERSIST', KEYS[1])
    local time = redis.call('TIME')
    local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
    return redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2])",
);

static ALL: Script = Script::new(
    "local time = redis.call('TIME')
    local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[1])
    local told = redis.call('HGETALL', KEYS[1])
    local believed = {}
    for i = 1, #told, 2 do
        local at, text = string.match(told[i + 1], '^(%d+) (.*)$')
        if at and tonumber(at) >= oldest then
            believed[#believed + 1] = text
        else
            redis.call('HDEL', KEYS[1], told[i])
        end
    end
    return believed",
);

/// A [`VitalsBoard`] in Redis.
pub struct RedisVitals {
    redis: Redis,
    process: String,
}

impl RedisVitals {
    /// A handle by which this process reports as `process`. The name must be unique: draw it at random.
    pub fn new(redis: Redis, process: impl Into<String>) -> Self {
        Self { redis, process: process.into() }
    }
}

#[async_trait]
impl VitalsBoard for RedisVitals {
    async fn publish(&self, vitals: &Vitals) -> Result<(), LogError> {
        // Cannot fail: serialization fails only for maps without text keys.
        let text = serde_json::to_string(&Wire::of(vitals)).unwrap_or_default();
        TELL.run(&self.redis, KEY, vec![self.process.as_str().into(), text.into()]).await.map_err(unavailable)
    }

    async fn all(&self) -> Result<Vitals, LogError> {
        let age = i64::from(millis(VALID_FOR));
        let reports: Vec<String> = ALL.run(&self.redis, KEY, vec![age.into()]).await.map_err(unavailable)?;
        let mut sum = Vitals::default();
        for text in reports {
            match serde_json::from_str::<Wire>(&text) {
                Ok(wire) => sum.add(wire.read()),
                Err(error) => tracing::warn!(%error, "skipped the vitals of a process"),
            }
        }
        Ok(sum)
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    connections: u64,
    delivered: u64,
    streams: BTreeMap<String, WireFigures>,
    sources: BTreeMap<SmolStr, WireSource>,
}

#[derive(Serialize, Deserialize)]
struct WireFigures {
    msgs_in: u64,
    msgs_out: u64,
    dropped: u64,
    latencies_ns: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct WireSource {
    state: SmolStr,
    since_ns: i64,
    simulated: bool,
}

impl Wire {
    fn of(vitals: &Vitals) -> Self {
        let (streams, sources) = (vitals.streams.iter(), vitals.sources.iter());
        Self {
            connections: vitals.connections,
            delivered: vitals.delivered,
            streams: streams.map(|(id, figures)| (id.to_string(), WireFigures::of(figures))).collect(),
            sources: sources.map(|(name, status)| (name.clone(), WireSource::of(status))).collect(),
        }
    }

    /// The report, without streams and states whose names this version does not know.
    fn read(self) -> Vitals {
        let (streams, sources) = (self.streams.into_iter(), self.sources.into_iter());
        Vitals {
            connections: self.connections,
            delivered: self.delivered,
            streams: streams.filter_map(|(id, wire)| Some((StreamId::parse(&id)?, wire.read()))).collect(),
            sources: sources.filter_map(|(name, wire)| Some((name, wire.read()?))).collect(),
        }
    }
}

impl WireFigures {
    fn of(figures: &StreamFigures) -> Self {
        let StreamFigures { msgs_in, msgs_out, dropped, latencies } = figures;
        let nanos = |latency: &Duration| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        Self {
            msgs_in: *msgs_in,
            msgs_out: *msgs_out,
            dropped: *dropped,
            latencies_ns: latencies.iter().map(nanos).collect(),
        }
    }

    fn read(self) -> StreamFigures {
        StreamFigures {
            msgs_in: self.msgs_in,
            msgs_out: self.msgs_out,
            dropped: self.dropped,
            latencies: self.latencies_ns.into_iter().map(Duration::from_nanos).collect(),
        }
    }
}

impl WireSource {
    fn of(status: &SourceStatus) -> Self {
        Self {
            state: status.state.as_str().into(),
            since_ns: status.since.as_nanos(),
            simulated: status.simulated,
        }
    }

    fn read(self) -> Option<SourceStatus> {
        Some(SourceStatus {
            state: SourceState::from_name(&self.state)?,
            since: UnixNanos::from_nanos(self.since_ns),
            simulated: self.simulated,
        })
    }
}
