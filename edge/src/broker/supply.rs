//! Fills the rings from Redis: what a stream held when it was first asked for, and then what comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bond_core::share;
use bond_redis::external::{EntryMark, ForeignError, ForeignReader, News, What};
use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tracing::{info, warn};

use super::BrokerShared;
use super::ring::{BrokerRing, before};

/// How long to wait before Redis is asked again after a failure.
const RETRY: Duration = Duration::from_millis(250);

/// How often rings that nobody follows are dropped.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// How often the same trouble is logged at most.
const PUBLISH_EVERY: Duration = Duration::from_secs(10);

/// How many troubles are remembered as logged. Of more, only the first are.
const TROUBLES: usize = 1_000;

/// How many streams are filled at once.
const AT_ONCE: usize = 16;

/// Runs until the broker ends.
pub(super) async fn run(shared: Arc<BrokerShared>) {
    let reader = shared.streams.reader();
    Supply { shared, reader, told: Announced::default(), retry_at: None }.run().await;
}

struct Supply {
    shared: Arc<BrokerShared>,
    reader: ForeignReader,
    told: Announced,
    /// When streams that could not be filled are tried again.
    retry_at: Option<Instant>,
}

impl Supply {
    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            let retry_at = self.retry_at;
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = shared.asked.notified() => self.fill_asked().await,
                () = until(retry_at) => self.fill_asked().await,
                news = self.reader.next() => match news {
                    Ok(news) => self.take(news),
                    Err(error) => {
                        self.told.warn("", &error, "streams cannot be read; trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                },
                _ = housekeeping.tick() => self.let_go(),
            }
        }
    }

    /// Fills what is asked for. A stream that cannot be read holds up no other.
    async fn fill_asked(&mut self) {
        self.retry_at = None;
        let asked = self.shared.unfilled();
        let shared = &self.shared;
        let fills = asked.into_iter().map(async |(id, ring)| {
            let filled = fill(shared, &id, &ring).await;
            (id, ring, filled)
        });
        let fills: Vec<_> = stream::iter(fills).buffer_unordered(AT_ONCE).collect().await;
        for (id, ring, filled) in fills {
            match filled {
                Ok(mark) => {
                    self.reader.follow(&id, mark);
                    ring.set_filled();
                }
                Err(error) if error.may_pass() => {
                    self.told.warn(&id, &error, "stream cannot be read yet");
                    ring.break_off();
                    self.retry_at = Some(Instant::now() + RETRY);
                }
                Err(error) => self.give_up(&id, &error),
            }
        }
        self.shared.make_room();
    }

    fn take(&mut self, news: Vec<News>) {
        let now = Instant::now();
        for News { stream, what } in news {
            let Some(ring) = self.shared.rings.lock().get(&stream).map(Arc::clone) else { continue };
            match what {
                What::Entries(entries) => ring.push(&entries, now),
                What::Broken(entries) => {
                    info!(
                        stream,
                        "entries were trimmed or lost before they could be read: its clients are closed"
                    );
                    ring.break_off();
                    ring.push(&entries, now);
                }
                What::Unreadable(error) => self.give_up(&stream, &error),
            }
        }
        self.shared.make_room();
    }

    /// Closes the clients of a stream that cannot be read. Whoever comes after them has it tried anew.
    fn give_up(&mut self, id: &str, error: &ForeignError) {
        self.told.warn(id, error, "stream cannot be read: its clients are closed");
        self.reader.unfollow(id);
        if let Some(ring) = self.shared.rings.lock().remove(id) {
            ring.give_up();
        }
    }

    fn let_go(&mut self) {
        let reader = &mut self.reader;
        self.shared.rings.lock().retain(|id, ring| {
            let keep = !ring.is_idle();
            if !keep {
                reader.unfollow(id);
            }
            keep
        });
    }
}

/// Waits for a moment, or for ever where there is none.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn fill(shared: &BrokerShared, id: &str, ring: &BrokerRing) -> Result<EntryMark, ForeignError> {
    let window = u64::try_from(shared.config.window.as_millis()).unwrap_or(u64::MAX);
    let oldest = shared.streams.now_ms().await?.saturating_sub(window);
    shared.streams.read_after(id, before(oldest), |entries| ring.push(&entries, Instant::now())).await
}

impl BrokerShared {
    fn unfilled(&self) -> Vec<(String, Arc<BrokerRing>)> {
        let rings = self.rings.lock();
        let unfilled = rings.iter().filter(|(_, ring)| !ring.is_filled());
        unfilled.map(|(id, ring)| (id.clone(), Arc::clone(ring))).collect()
    }

    /// Brings the sum of all rings within its bound: the fullest give way.
    fn make_room(&self) {
        let rings: Vec<Arc<BrokerRing>> = self.rings.lock().values().map(Arc::clone).collect();
        let sizes: Vec<usize> = rings.iter().map(|ring| ring.bytes()).collect();
        if let Some(level) = share::level(&sizes, self.config.total_bytes) {
            rings.iter().for_each(|ring| ring.shrink_to(level));
        }
    }
}

/// What was logged lately.
#[derive(Default)]
struct Announced(HashMap<String, Instant>);

impl Announced {
    /// Logs trouble with stream `id`, or with all of them (empty), unless that was done lately.
    fn warn(&mut self, id: &str, error: &ForeignError, what: &str) {
        if self.is_due(id, Instant::now()) {
            warn!(stream = id, %error, "{what}");
        }
    }

    fn is_due(&mut self, id: &str, now: Instant) -> bool {
        self.0.retain(|_, told| now.duration_since(*told) < PUBLISH_EVERY);
        if self.0.contains_key(id) || self.0.len() >= TROUBLES {
            return false;
        }
        self.0.insert(id.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_logged_once_in_a_while_for_each_stream() {
        let (mut told, now) = (Announced::default(), Instant::now());
        assert!(told.is_due("a", now) && told.is_due("b", now));
        assert!(!told.is_due("a", now + PUBLISH_EVERY / 2));
        assert!(told.is_due("a", now + PUBLISH_EVERY));
        let many = (0..2 * TROUBLES).filter(|n| told.is_due(&format!("{n}"), now + PUBLISH_EVERY)).count();
        assert_eq!(many, TROUBLES - 1, "what is remembered is bounded, and so is what is logged");
    }
}
