//! Connections in memory: for tests, and the model that the other adapter is held to.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::connection::{Connection, ConnectionId, ConnectionStore};
use crate::store::StoreError;
use crate::time::UnixNanos;

/// A [`ConnectionStore`] in memory. A clone is another handle on the same connections.
#[derive(Clone, Default)]
pub struct MemoryConnections(Arc<Mutex<BTreeMap<ConnectionId, Connection>>>);

impl MemoryConnections {
    /// No connections.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl ConnectionStore for MemoryConnections {
    async fn put(&self, connection: &Connection) -> Result<bool, StoreError> {
        let mut kept = self.0.lock();
        let newer = kept.get(&connection.id).is_some_and(|kept| kept.asked_at > connection.asked_at);
        if !newer {
            kept.insert(connection.id.clone(), connection.clone());
        }
        Ok(!newer)
    }

    async fn replace(&self, connection: &Connection, was: UnixNanos) -> Result<bool, StoreError> {
        let mut kept = self.0.lock();
        let is_same = kept.get(&connection.id).is_some_and(|kept| kept.asked_at == was);
        if is_same {
            kept.insert(connection.id.clone(), connection.clone());
        }
        Ok(is_same)
    }

    async fn get(&self, id: &ConnectionId, now: UnixNanos) -> Result<Option<Connection>, StoreError> {
        let found = self.0.lock().get(id).cloned();
        Ok(found.filter(|connection| !connection.is_over(now)))
    }

    async fn remove(&self, id: &ConnectionId) -> Result<bool, StoreError> {
        Ok(self.0.lock().remove(id).is_some())
    }

    async fn lane(&self, lane: u16, now: UnixNanos) -> Result<Vec<Connection>, StoreError> {
        let mut kept = self.0.lock();
        kept.retain(|_, connection| !connection.is_over(now));
        Ok(kept.values().filter(|connection| connection.id.lane() == lane).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suites::connection_store::{self, Harness};

    #[derive(Default)]
    struct InMemory(Mutex<MemoryConnections>);

    #[async_trait]
    impl Harness for InMemory {
        async fn empty(&self) -> Arc<dyn ConnectionStore> {
            *self.0.lock() = MemoryConnections::new();
            self.open().await
        }

        async fn open(&self) -> Arc<dyn ConnectionStore> {
            Arc::new(self.0.lock().clone())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn behaves_as_a_connection_store() {
        connection_store::run(&InMemory::default()).await;
    }
}
