//! Fills the rings from Redis: what a stream held when it was first asked for, and then what comes.

use std::sync::Arc;
use std::time::Duration;

use bond_redis::foreign::{ForeignError, ForeignReader, News};
use tracing::{info, warn};

use super::Shared;
use super::ring::{Ring, before};

/// How long to wait before Redis is asked again after a failure.
const RETRY: Duration = Duration::from_millis(250);

/// How often rings that nobody follows are dropped.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// Runs until the broker ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut reader = shared.streams.reader();
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.asked.notified() => fill_asked(&shared, &mut reader).await,
            news = reader.next() => match news {
                Ok(news) => take(&shared, news),
                Err(error) => {
                    warn!(%error, "streams cannot be read; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            },
            _ = housekeeping.tick() => let_go(&shared, &mut reader),
        }
    }
}

async fn fill_asked(shared: &Shared, reader: &mut ForeignReader) {
    let asked: Vec<(String, Arc<Ring>)> = {
        let rings = shared.rings.lock();
        rings
            .iter()
            .filter(|(_, ring)| !ring.is_filled())
            .map(|(id, ring)| (id.clone(), Arc::clone(ring)))
            .collect()
    };
    for (id, ring) in asked {
        if let Err(error) = fill(shared, reader, &id, &ring).await {
            warn!(stream = id, %error, "stream cannot be read yet");
            tokio::time::sleep(RETRY).await;
            return shared.asked.notify_one();
        }
    }
}

async fn fill(
    shared: &Shared,
    reader: &mut ForeignReader,
    id: &str,
    ring: &Ring,
) -> Result<(), ForeignError> {
    let window = u64::try_from(shared.config.window.as_millis()).unwrap_or(u64::MAX);
    let oldest = shared.streams.now_ms().await?.saturating_sub(window);
    let (entries, mark) = shared.streams.read_after(id, before(oldest)).await?;
    reader.follow(id, mark);
    ring.fill(entries);
    Ok(())
}

fn take(shared: &Shared, news: Vec<News>) {
    let rings = shared.rings.lock();
    for news in news {
        let Some(ring) = rings.get(&news.stream) else { continue };
        if news.is_broken {
            info!(
                stream = news.stream,
                "entries were trimmed or lost before they could be read: its clients are closed"
            );
            ring.break_off();
        }
        ring.push(news.entries);
    }
}

fn let_go(shared: &Shared, reader: &mut ForeignReader) {
    shared.rings.lock().retain(|id, ring| {
        let keep = !ring.is_idle();
        if !keep {
            reader.unfollow(id);
        }
        keep
    });
}
