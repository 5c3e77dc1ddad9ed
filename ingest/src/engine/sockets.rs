//! Users' own sockets: one connection for each source, which all streams that name the source share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bond_core::spec::WebSocketSource;
use bond_core::time::Clock;
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::health::Health;
use super::streams::StreamKey;
use super::{EngineConfig, Ports};
use crate::report::{Report, SocketId};
use crate::session::Network;
use crate::source::websocket::{self, CustomConfig};
use bond_core::backoff::BackoffPolicy;

/// The running sources.
pub(super) struct Sockets {
    running: BTreeMap<WebSocketSource, RunningSocket>,
    sources: HashMap<SocketId, WebSocketSource>,
    most: usize,
    next_id: u64,
    network: Network,
    reports: mpsc::Sender<Report>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    allow_private: bool,
    backoff: BackoffPolicy,
}

struct RunningSocket {
    id: SocketId,
    streams: BTreeSet<StreamKey>,
    /// The last report: the source's name and health.
    last_report: Option<(SmolStr, Health)>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Sockets {
    pub(super) fn new(
        config: &EngineConfig,
        network: &Network,
        reports: &mpsc::Sender<Report>,
        ports: &Ports,
        cancel: &CancellationToken,
    ) -> Self {
        Self {
            running: BTreeMap::new(),
            sources: HashMap::new(),
            most: config.max_sockets,
            next_id: 0,
            network: network.clone(),
            reports: reports.clone(),
            clock: Arc::clone(&ports.clock),
            cancel: cancel.clone(),
            allow_private: config.allow_private_sources,
            backoff: config.timing.backoff,
        }
    }

    /// Records that a stream takes these sources, and opens those that are not open yet. Returns the sources that are beyond this process's
    /// limit. They are not opened later by themselves, but are tried again when another stream is created that takes them.
    pub(super) fn add(&mut self, stream: StreamKey, sources: &[WebSocketSource]) -> Vec<WebSocketSource> {
        let mut refused = Vec::new();
        for source in sources {
            if !self.running.contains_key(source) && self.running.len() < self.most {
                self.open(source);
            }
            match self.running.get_mut(source) {
                Some(running) => drop(running.streams.insert(stream)),
                None => refused.push(source.clone()),
            }
        }
        refused
    }

    /// Records that a stream no longer takes these sources, and closes those that no other stream takes.
    pub(super) fn remove(&mut self, stream: StreamKey, sources: &[WebSocketSource]) {
        for source in sources {
            let Some(running) = self.running.get_mut(source) else { continue };
            running.streams.remove(&stream);
            if running.streams.is_empty() {
                running.cancel.cancel();
                self.sources.remove(&running.id);
                self.running.remove(source);
            }
        }
    }

    fn open(&mut self, source: &WebSocketSource) {
        let url = match Url::parse(&source.url) {
            Ok(url) => url,
            Err(error) => return tracing::error!(%error, "a stored source has no URL that can be read"),
        };
        self.next_id += 1;
        let id = SocketId(self.next_id);
        let cancel = self.cancel.child_token();
        let config = CustomConfig {
            id,
            url,
            map: source.map.clone().unwrap_or_default(),
            allow_private: self.allow_private,
            backoff: self.backoff,
        };
        let (reports, clock) = (self.reports.clone(), Arc::clone(&self.clock));
        let task = websocket::spawn(config, &self.network, reports, clock, cancel.clone());
        self.sources.insert(id, source.clone());
        self.running.insert(
            source.clone(),
            RunningSocket { id, streams: BTreeSet::new(), last_report: None, cancel, task },
        );
    }

    /// Records a report.
    pub(super) fn note(&mut self, id: SocketId, source: &SmolStr, health: &Health) {
        let running = self.sources.get(&id).and_then(|source| self.running.get_mut(source));
        running.into_iter().for_each(|running| running.last_report = Some((source.clone(), health.clone())));
    }

    /// The last report of `source`.
    pub(super) fn told(&self, source: &WebSocketSource) -> Option<(SmolStr, Health)> {
        self.running.get(source).and_then(|running| running.last_report.clone())
    }

    /// The streams that take the socket `id`.
    pub(super) fn streams(&self, id: SocketId) -> Vec<StreamKey> {
        let running = self.sources.get(&id).and_then(|source| self.running.get(source));
        running.into_iter().flat_map(|running| &running.streams).copied().collect()
    }

    /// Waits until all have ended, after they were cancelled.
    pub(super) async fn stopped(self) {
        for running in self.running.into_values() {
            if let Err(error) = running.task.await {
                tracing::error!(%error, "a source's task failed");
            }
        }
    }
}
