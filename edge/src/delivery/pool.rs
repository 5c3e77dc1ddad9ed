//! What all rings of an edge hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ring::Ring;

/// How much is freed below the bound once it is passed, so that not every append after that has to free something: a sixteenth.
const SLACK: u64 = 16;

/// A bound on the bytes of all rings together. The fullest gives way.
#[derive(Debug)]
pub(crate) struct Pool {
    most: u64,
    held: AtomicU64,
}

impl Pool {
    pub(crate) fn new(most: u64) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicU64::new(0) })
    }

    /// Takes note that a ring held `before` bytes and now holds `after`.
    pub(crate) fn note(&self, before: u64, after: u64) {
        if after >= before {
            self.held.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.held.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether more is held than should be.
    pub(crate) fn is_over(&self) -> bool {
        self.held() > self.most
    }

    /// Has the fullest of `rings`, one after the other, drop what is oldest.
    pub(crate) fn relieve(&self, rings: &[Arc<Ring>]) {
        let wanted = self.most - self.most / SLACK;
        while let Some(excess) = self.held().checked_sub(wanted + 1) {
            let Some((bytes, ring)) = rings.iter().map(|ring| (ring.bytes(), ring)).max_by_key(|(b, _)| *b)
            else {
                return;
            };
            // An eighth at most, so that rings of like size give way alike.
            ring.shrink_to(bytes.saturating_sub(excess + 1).max(bytes - bytes.div_ceil(8)));
            if ring.bytes() == bytes {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bond_core::log::{Entry, EventKind, Item, Record, Run};
    use bond_core::position::Epoch;
    use bond_core::time::UnixNanos;

    use super::*;
    use crate::delivery::cursor::Retention;

    const NOW: UnixNanos = UnixNanos::from_secs(1_000);

    fn ring(id: u64, symbol: &str, pool: &Arc<Pool>) -> Arc<Ring> {
        let topic = format!("trades.okx.{symbol}-USDT").parse().expect("topic");
        let retention = Retention { window: Duration::from_secs(60), bytes: 1 << 20 };
        Arc::new(Ring::new(id, topic, retention, Arc::clone(pool)))
    }

    fn fill(ring: &Ring, events: u64) {
        let event = |seq| {
            let body = format!("\"text\":\"{}\"", "x".repeat(1_000)).into();
            let record = Record { kind: EventKind::Trade, ts: NOW, order: NOW, body, changes: None };
            Item::Event(Entry { seq, at: NOW, record })
        };
        let items = (1..=events).map(event).collect();
        ring.append(&Run { epoch: Epoch::new("e").expect("epoch"), gap: None, items }, NOW, &mut 0);
    }

    #[test]
    fn the_fullest_give_way_until_all_rings_together_hold_what_they_may() {
        let pool = Pool::new(400_000);
        let rings = ["BTC", "ETH", "SOL"].map(|symbol| ring(1, symbol, &pool));
        [300, 200, 20].into_iter().zip(&rings).for_each(|(events, ring)| fill(ring, events));
        let before = rings[2].bytes();
        assert!(pool.is_over());
        pool.relieve(&rings);
        assert!(pool.held() <= 400_000 && pool.held() > 300_000, "{pool:?}");
        assert_eq!(pool.held(), rings.iter().map(|ring| ring.bytes()).sum::<u64>());
        assert_eq!(rings[2].bytes(), before, "who holds little keeps it");
        drop(rings);
        assert_eq!(pool.held(), 0);
    }
}
