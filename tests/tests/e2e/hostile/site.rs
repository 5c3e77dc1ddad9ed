//! Where an attack goes, and how the others fare there.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bond_e2e::api::Api;
use bond_e2e::socket::Socket;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::harness::first;

/// How long a client waits for its first event before it connects again.
const SERVED: Duration = Duration::from_secs(3);

/// How long one that was refused waits.
const RETRY: Duration = Duration::from_millis(100);

/// A host under attack.
pub(super) struct Site {
    /// Its name in reports.
    pub(super) name: &'static str,
    /// Whoever attacks calls this, with a key where the host wants one.
    pub(super) mallory: Api,
    /// The victim's.
    pub(super) alice: Api,
    /// Where WebSockets are opened.
    pub(super) ws: SocketAddr,
    /// The path of the victim's feed, and of the attacker's: with a query begun.
    pub(super) feed: String,
    /// What the victim sends to be served, if anything.
    pub(super) wish: Option<Value>,
    /// The path of a stream that refuses whoever comes with a bad token.
    pub(super) refusing: String,
    /// The processes whose memory and descriptors count.
    pub(super) pids: Vec<u32>,
    /// Whether a platform stands before it, whose limits are for all clients together: who is refused tries again, and who floods is
    /// refused and not closed.
    pub(super) is_behind_platform: bool,
}

impl Site {
    /// The victim's connection, which gets events that carry `ts_exchange`.
    pub(super) async fn victim(&self) -> Result<Socket> {
        let mut socket = self.open(&self.alice).await?;
        if let Some(wish) = &self.wish {
            socket.send(wish).await?;
        }
        Ok(socket)
    }

    /// A feed of the attacker's.
    pub(super) async fn attacker(&self) -> Result<Socket> {
        self.open(&self.mallory).await
    }

    async fn open(&self, who: &Api) -> Result<Socket> {
        let url = format!("ws://{}{}", self.ws, self.feed);
        match &who.key {
            Some(key) => Socket::open_with(&url, &[("authorization", &format!("Bearer {key}"))]).await,
            None => Socket::open(&url).await,
        }
    }

    /// Whether a new client gets in and is served.
    pub(super) async fn newcomer(&self) -> Result<()> {
        if !self.is_behind_platform {
            return self.victim().await?.text().await.map(drop);
        }
        self.tried_again(async || {
            let mut socket = self.victim().await?;
            timeout(SERVED, first(&mut socket)).await?
        })
        .await
    }

    /// Whether `/health` answers.
    pub(super) async fn health(&self) -> Result<()> {
        if self.is_behind_platform {
            self.tried_again(async || self.ask().await).await
        } else {
            self.ask().await
        }
    }

    async fn tried_again(&self, attempt: impl AsyncFn() -> Result<()>) -> Result<()> {
        while attempt().await.is_err() {
            sleep(RETRY).await;
        }
        Ok(())
    }

    async fn ask(&self) -> Result<()> {
        // A connection of its own: one that is kept alive would have its place already.
        let (status, _) = Api::open(self.alice.rest.clone())?.get("/health").await?;
        ensure!(status == 200, "{status}");
        Ok(())
    }

    /// Resident memory of all processes, in MiB.
    pub(super) fn resident_mib(&self) -> Result<u64> {
        let kib: Result<Vec<u64>> = self.pids.iter().map(|pid| resident_kib(*pid)).collect();
        Ok(kib?.iter().sum::<u64>() / 1024)
    }

    /// Open descriptors of all processes.
    pub(super) fn descriptors(&self) -> Result<usize> {
        let each = self.pids.iter().map(|pid| Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count()));
        each.sum()
    }
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS: it has ended")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

/// Now, in Unix milliseconds.
#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// What the victim wants: trades of simulated venues.
pub(super) fn trades() -> Value {
    json!({"type": "subscribe", "channels": ["trades"], "symbols": ["BTC/USDT", "ETH/USDT"]})
}
