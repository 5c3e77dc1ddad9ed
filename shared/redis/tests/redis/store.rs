//! The registry against its suite.

use std::sync::Arc;

use async_trait::async_trait;
use bond_core::store::StreamStore;
use bond_core::suites::stream_store::{self, Harness};
use bond_redis::RedisStore;
use tokio::sync::Mutex;

use crate::server::Server;

struct OnRedis(Mutex<Server>);

#[async_trait]
impl Harness for OnRedis {
    async fn empty(&self) -> Arc<dyn StreamStore> {
        self.0.lock().await.command(&["FLUSHALL"]);
        self.open().await
    }

    async fn open(&self) -> Arc<dyn StreamStore> {
        Arc::new(RedisStore::new(self.0.lock().await.connect().await))
    }

    async fn restart(&self) -> Option<Arc<dyn StreamStore>> {
        self.0.lock().await.restart().await;
        Some(self.open().await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behaves_as_a_registry() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    stream_store::run(&OnRedis(Mutex::new(server))).await;
}
