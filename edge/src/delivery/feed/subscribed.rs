//! That a client follows a topic by name, counted for as long as it does.

use std::sync::Arc;

use bond_core::topic::Family;

use crate::delivery::figures::Figures;
use crate::delivery::ring::Ring;

/// One subscription. It is counted until it is dropped.
#[derive(Debug)]
pub(super) struct Subscribed {
    pub(super) family: Family,
    ring: Arc<Ring>,
    figures: Arc<Figures>,
}

impl Subscribed {
    pub(super) fn new(ring: &Arc<Ring>, figures: &Arc<Figures>) -> Self {
        let family = Family::of(&ring.name);
        figures.subscribe(family, ring.add_subscriber());
        Self { family, ring: Arc::clone(ring), figures: Arc::clone(figures) }
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.figures.unsubscribe(self.family, self.ring.remove_subscriber());
    }
}
