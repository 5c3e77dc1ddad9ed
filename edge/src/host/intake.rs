//! What the leader takes in for publishers elsewhere: the stream of producers and of other processes, and BondX's channels.

use std::sync::Arc;

use bond_ingest::engine::{EngineHandle, Ports};
use bond_redis::{BridgeParts, Redis, bridge, take_in};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;

/// What is taken in, term by term.
#[derive(Clone)]
pub struct Intake {
    redis: Redis,
    ports: Ports,
    hears_bondx: bool,
}

impl Intake {
    /// Takes in from this Redis, as `settings` say.
    pub const fn new(redis: Redis, ports: Ports, settings: &Settings) -> Self {
        Self { redis, ports, hears_bondx: settings.bondx_pubsub }
    }

    /// Has `engine` publish what comes in, until `over`.
    pub fn begin(&self, engine: &EngineHandle, over: &CancellationToken) -> Vec<JoinHandle<()>> {
        let (stop, taking) = (over.clone(), take_in(self.redis.clone(), engine.publisher()));
        let taking = self.ports.supervisor.spawn("publish-intake", over, async move {
            stop.run_until_cancelled(taking).await;
        });
        let hearing = self.hears_bondx.then(|| self.hear_bondx(engine, over));
        [taking].into_iter().chain(hearing).collect()
    }

    fn hear_bondx(&self, engine: &EngineHandle, over: &CancellationToken) -> JoinHandle<()> {
        let parts = BridgeParts {
            publisher: engine.publisher(),
            log: Arc::clone(&self.ports.log),
            fence: engine.fence(),
            clock: Arc::clone(&self.ports.clock),
        };
        let (stop, bridging) = (over.clone(), bridge(self.redis.clone(), parts));
        self.ports.supervisor.spawn("bondx", over, async move {
            stop.run_until_cancelled(bridging).await;
        })
    }
}
