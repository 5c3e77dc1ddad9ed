//! The behaviour suites of the registries' ports on servers that speak DynamoDB.

mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bond_core::connection::ConnectionStore;
use bond_core::store::StreamStore;
use bond_core::suites::{connection_store, stream_store};

use self::server::Server;

/// Each case has a table of its own on one server.
struct Tables {
    server: Server,
    made: AtomicUsize,
}

impl Tables {
    fn on(server: Server) -> Self {
        Self { server, made: AtomicUsize::new(0) }
    }

    async fn make(&self) {
        let n = self.made.fetch_add(1, Ordering::Relaxed) + 1;
        self.server.create_table(&format!("table{n}")).await;
    }

    fn last(&self) -> String {
        format!("table{}", self.made.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl stream_store::Harness for Tables {
    async fn empty(&self) -> Arc<dyn StreamStore> {
        self.make().await;
        stream_store::Harness::open(self).await
    }

    /// A client of its own, with connections of its own.
    async fn open(&self) -> Arc<dyn StreamStore> {
        Arc::new(self.server.aws().await.streams(self.last()))
    }

    async fn restart(&self) -> Option<Arc<dyn StreamStore>> {
        None
    }
}

#[async_trait]
impl connection_store::Harness for Tables {
    async fn empty(&self) -> Arc<dyn ConnectionStore> {
        self.make().await;
        connection_store::Harness::open(self).await
    }

    async fn open(&self) -> Arc<dyn ConnectionStore> {
        Arc::new(self.server.aws().await.connections(self.last()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registries_behave_on_dynamodb_local() {
    run_suites(Server::dynamodb_local().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registries_behave_on_the_emulator() {
    run_suites(Server::emulator().await).await;
}

async fn run_suites(server: Server) {
    let tables = Tables::on(server);
    stream_store::run(&tables).await;
    connection_store::run(&tables).await;
}
