//! A topic's place in the log: its history, if it has one, and who waits for more.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::ring::Ring;
use super::tail::Follower;

/// A topic that has history or followers.
#[derive(Default)]
pub(super) struct Slot(Mutex<SlotState>);

#[derive(Default)]
pub(super) struct SlotState {
    pub(super) ring: Option<Ring>,
    followers: Vec<Arc<Follower>>,
}

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock()
    }
}

impl SlotState {
    pub(super) fn add_follower(&mut self, follower: Arc<Follower>) {
        self.followers.push(follower);
    }

    pub(super) fn remove_follower(&mut self, follower: &Arc<Follower>) {
        self.followers.retain(|other| !Arc::ptr_eq(other, follower));
    }

    pub(super) const fn has_followers(&self) -> bool {
        !self.followers.is_empty()
    }

    /// Whether nothing is left that the topic would have to be remembered for.
    pub(super) const fn is_vacant(&self) -> bool {
        self.ring.is_none() && self.followers.is_empty()
    }

    pub(super) fn wake_followers(&self) {
        self.followers.iter().for_each(Follower::wake);
    }
}
