//! Users' own sockets: one connection for each source that any stream names, however many do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bond_core::source::SourceBoard;
use bond_core::spec::WebSocketSource;
use bond_core::time::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{EngineConfig, Ports};
use crate::backoff::BackoffPolicy;
use crate::report::{Report, SocketId};
use crate::session::Network;
use crate::source::websocket::{self, CustomConfig, source_name};

/// The running sources.
pub(super) struct Sockets {
    running: BTreeMap<WebSocketSource, Running>,
    next_id: u64,
    network: Network,
    reports: mpsc::Sender<Report>,
    board: SourceBoard,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    allow_private: bool,
    backoff: BackoffPolicy,
}

struct Running {
    id: SocketId,
    url: Url,
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
            next_id: 0,
            network: network.clone(),
            reports: reports.clone(),
            board: ports.board.clone(),
            clock: Arc::clone(&ports.clock),
            cancel: cancel.clone(),
            allow_private: config.allow_private_sources,
            backoff: config.timing.backoff,
        }
    }

    /// Says which sources are wanted from now on, all of them.
    pub(super) fn set<'a>(&mut self, wanted: impl Iterator<Item = &'a WebSocketSource>) {
        let wanted: BTreeSet<&WebSocketSource> = wanted.collect();
        self.running.retain(|source, running| {
            let stays = wanted.contains(source);
            if !stays {
                running.cancel.cancel();
                self.board.remove(&source_name(&running.url));
            }
            stays
        });
        for source in wanted {
            if !self.running.contains_key(source) {
                self.open(source);
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
            url: url.clone(),
            map: source.map.clone().unwrap_or_default(),
            allow_private: self.allow_private,
            backoff: self.backoff,
        };
        let (reports, clock) = (self.reports.clone(), Arc::clone(&self.clock));
        let task = websocket::spawn(config, &self.network, reports, clock, cancel.clone());
        self.running.insert(source.clone(), Running { id, url, cancel, task });
    }

    /// The source that reports as `id`; `None` where it is wanted no more.
    pub(super) fn source(&self, id: SocketId) -> Option<&WebSocketSource> {
        self.running.iter().find(|(_, running)| running.id == id).map(|(source, _)| source)
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
