//! The connections there are.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::Connection;

/// Connections by id, those included whose `$connect` is under way.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    by_id: RwLock<HashMap<String, Arc<Connection>>>,
}

impl Connections {
    /// Adds one.
    pub(crate) fn add(&self, connection: Arc<Connection>) {
        self.by_id.write().insert(connection.id.clone(), connection);
    }

    /// Forgets one.
    pub(crate) fn remove(&self, id: &str) {
        self.by_id.write().remove(id);
    }

    /// One that is open.
    pub(crate) fn open(&self, id: &str) -> Option<Arc<Connection>> {
        self.by_id.read().get(id).filter(|connection| connection.is_open()).cloned()
    }

    /// All that are open.
    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.by_id.read().values().filter(|connection| connection.is_open()).cloned().collect()
    }

    /// Ends those that have reached a limit by now.
    pub(crate) fn sweep(&self, now_ms: u64) {
        for connection in self.all() {
            if let Some(closing) = connection.expired(now_ms) {
                connection.close(closing);
            }
        }
    }
}
