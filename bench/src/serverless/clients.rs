//! Clients of one stream, which count what comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use bond_e2e::gateway::Cloud;
use bond_e2e::numbers::Head;
use bond_e2e::socket::{Came, Socket};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::figure;

/// How long the gateway may take to end all connections.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked.
const POLL: Duration = Duration::from_millis(50);

/// What came to all of them.
#[derive(Debug, Default)]
pub struct Tally {
    events: AtomicU64,
    gaps: AtomicU64,
}

/// Open connections; they end with this value.
pub struct Clients {
    tally: Arc<Tally>,
    readers: JoinSet<Result<()>>,
}

impl Clients {
    /// Opens so many connections, one after another.
    ///
    /// # Errors
    /// One is refused.
    pub async fn open(url: &str, connections: usize) -> Result<Self> {
        let mut clients = Self { tally: Arc::default(), readers: JoinSet::new() };
        for _ in 0..connections {
            clients.readers.spawn(read(Socket::open(url).await?, Arc::clone(&clients.tally)));
        }
        Ok(clients)
    }

    /// Events that came so far.
    pub fn events(&self) -> u64 {
        self.tally.events.load(Ordering::Relaxed)
    }

    /// Announcements so far of events that are left out.
    pub fn gaps(&self) -> u64 {
        self.tally.gaps.load(Ordering::Relaxed)
    }

    /// How many are still open.
    pub fn open_now(&mut self) -> usize {
        while self.readers.try_join_next().is_some() {}
        self.readers.len()
    }

    /// Ends all, and waits until `$disconnect` was handled or refused for each.
    ///
    /// # Errors
    /// The gateway does not answer, or not in time.
    pub async fn close(mut self, cloud: &Cloud) -> Result<()> {
        self.readers.shutdown().await;
        forgotten(cloud).await
    }
}

/// Waits until nobody is connected, and `$disconnect` was handled or refused for each.
///
/// # Errors
/// The gateway does not answer, or not in time.
pub(super) async fn forgotten(cloud: &Cloud) -> Result<()> {
    timeout(PATIENCE, async {
        while !is_empty(&cloud.gateway.stats().await?)? {
            sleep(POLL).await;
        }
        Ok(())
    })
    .await?
}

fn is_empty(stats: &Value) -> Result<bool> {
    let told = figure(stats, "/functions/ws_disconnect/duration_ms/count")?
        + figure(stats, "/functions/ws_disconnect/throttles")?;
    Ok(figure(stats, "/connections/open")? == 0.0 && told >= figure(stats, "/connections/closed")?)
}

async fn read(mut socket: Socket, tally: Arc<Tally>) -> Result<()> {
    while let Came::Frame(text) = socket.next_within(Duration::from_secs(600)).await? {
        for head in heads(&text)? {
            tally.events.fetch_add(u64::from(head.is_event()), Ordering::Relaxed);
            tally.gaps.fetch_add(u64::from(head.kind == "gap"), Ordering::Relaxed);
        }
    }
    Ok(())
}

/// What a frame carries: one message, or an array of them.
fn heads(frame: &str) -> Result<Vec<Head>> {
    if frame.starts_with('[') { Ok(serde_json::from_str(frame)?) } else { Ok(vec![Head::read(frame)?]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_many_events_as_it_holds() {
        let event = r#"{"type":"trade","epoch":"a","seq":1}"#;
        assert_eq!(heads(event).expect("an event").len(), 1);
        assert_eq!(heads(&format!("[{event},{event}]")).expect("a batch").len(), 2);
    }
}
