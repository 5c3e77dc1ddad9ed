//! Which connections of one listener follow which rings.

use std::collections::HashMap;
use std::sync::Arc;

use super::ring::Ring;

/// A ring and the connections that follow it.
#[derive(Debug)]
struct Followed {
    ring: Arc<Ring>,
    connections: Vec<usize>,
}

/// The followed rings of one listener, which must hear of their news.
#[derive(Debug)]
pub(crate) struct Followers {
    listener: usize,
    followed: HashMap<u64, Followed>,
}

impl Followers {
    /// Those of the listener of this index, none yet.
    pub(crate) fn new(listener: usize) -> Self {
        Self { listener, followed: HashMap::new() }
    }

    /// Has a connection's turn come when `ring` has news.
    pub(crate) fn attend(&mut self, connection: usize, ring: &Arc<Ring>) {
        let followed = self
            .followed
            .entry(ring.id)
            .or_insert_with(|| Followed { ring: Arc::clone(ring), connections: Vec::new() });
        followed.connections.push(connection);
        ring.interest(self.listener, true);
    }

    /// Undoes [`Followers::attend`].
    pub(crate) fn leave(&mut self, connection: usize, ring: u64) {
        let Some(followed) = self.followed.get_mut(&ring) else { return };
        if let Some(place) = followed.connections.iter().position(|other| *other == connection) {
            followed.connections.swap_remove(place);
        }
        if followed.connections.is_empty() {
            followed.ring.interest(self.listener, false);
            self.followed.remove(&ring);
        }
    }

    /// The ring and who follows it, to be given back; news from here on are told again.
    pub(crate) fn take(&mut self, ring: u64) -> Option<(Arc<Ring>, Vec<usize>)> {
        let followed = self.followed.get_mut(&ring)?;
        followed.ring.look(self.listener);
        Some((Arc::clone(&followed.ring), std::mem::take(&mut followed.connections)))
    }

    /// Gives back what [`Followers::take`] gave. Nobody may come or go in between.
    pub(crate) fn put_back(&mut self, ring: u64, connections: Vec<usize>) {
        if let Some(followed) = self.followed.get_mut(&ring) {
            followed.connections = connections;
        }
    }
}
