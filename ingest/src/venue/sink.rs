//! Where what a frame means is put.

use std::sync::Arc;

use bond_core::event::{MarketData, MarketEvent};
use bond_core::time::UnixNanos;

use super::{Decoded, Listing, Reject};

/// The two lists that a decoder fills.
pub(super) struct Sink<'a> {
    received: UnixNanos,
    out: &'a mut Vec<Decoded>,
    rejects: &'a mut Vec<Reject>,
}

impl<'a> Sink<'a> {
    pub(super) const fn new(
        received: UnixNanos,
        out: &'a mut Vec<Decoded>,
        rejects: &'a mut Vec<Reject>,
    ) -> Self {
        Self { received, out, rejects }
    }

    /// Reads one frame. Whatever comes in leaves a trace: a frame of which nothing is said was a sign of life.
    pub(super) fn frame(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Reject>) {
        let before = self.out.len() + self.rejects.len();
        if let Err(reject) = read(self) {
            self.rejects.push(reject);
        }
        if self.out.len() + self.rejects.len() == before {
            self.out.push(Decoded::Alive);
        }
    }

    pub(super) fn event(&mut self, listing: &Listing, ts_exchange: Option<UnixNanos>, data: MarketData) {
        let instrument = Arc::clone(&listing.instrument);
        self.out.push(Decoded::Event(MarketEvent { instrument, ts_event: self.received, ts_exchange, data }));
    }

    pub(super) fn push(&mut self, decoded: Decoded) {
        self.out.push(decoded);
    }

    pub(super) fn reject(&mut self, reject: Reject) {
        self.rejects.push(reject);
    }
}
