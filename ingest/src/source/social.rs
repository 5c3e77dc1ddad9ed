//! A simulated social network with plausible posts about assets. The same seed gives the same posts.
//!
//! Every post is marked as simulated. Posts of the real X would need its API and a bearer token, and are not served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::Tweet;
use bond_core::source::SourceState;
use bond_core::time::{Clock, UnixNanos};
use bond_supervise::Supervisor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rust_decimal::Decimal;
use smol_str::{SmolStr, format_smolstr};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::report::Report;

/// The source's name in statuses.
pub const SOURCE: &str = "social";

/// The least and the most milliseconds between two posts about an asset.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;

/// The texts of posts, with `{}` for the asset, and the average sentiment of each, in hundredths.
const PHRASES: [(&str, i64); 12] = [
    ("{} breaking out, volume confirms it", 70),
    ("Added to my {} position this morning", 50),
    ("{} funding is back to neutral, healthy reset", 30),
    ("Strong bid under {} all session", 45),
    ("Long-term {} holders are not selling", 35),
    ("{} doing absolutely nothing today", 0),
    ("Anyone else watching the {} order book?", 5),
    ("{} options expiry tomorrow, expect noise", -5),
    ("Took profit on {}, waiting for a retest", -15),
    ("{} rejected at resistance again", -45),
    ("Big {} transfer to an exchange, careful", -55),
    ("{} lost its support, next stop lower", -70),
];

const AUTHORS: [&str; 8] = [
    "tape_reader",
    "delta_neutral",
    "quiet_whale",
    "orderflow_ana",
    "macro_mila",
    "basis_bob",
    "vol_surface",
    "node_runner",
];

/// The posts about one asset.
#[derive(Debug)]
struct Script {
    asset: SmolStr,
    rng: ChaCha8Rng,
    count: u64,
}

impl Script {
    fn new(seed: u64, asset: SmolStr) -> Self {
        // FNV-1a of the name, so that an asset's posts do not depend on which other assets are wanted.
        let own = asset.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { asset, rng: ChaCha8Rng::seed_from_u64(seed ^ own), count: 0 }
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(PAUSE_MS))
    }

    fn post(&mut self, now: UnixNanos) -> Tweet {
        let (phrase, mood) = PHRASES[self.rng.random_range(0..PHRASES.len())];
        let author = AUTHORS[self.rng.random_range(0..AUTHORS.len())];
        let sentiment = mood + self.rng.random_range(-20..=20);
        self.count += 1;
        Tweet {
            id: format_smolstr!("sim-{}-{}", self.asset, self.count),
            author: SmolStr::new_static(author),
            text: phrase.replace("{}", &format!("${}", self.asset)),
            asset: self.asset.clone(),
            sentiment: Some(Decimal::new(sentiment, 2).normalize()),
            ts_event: now,
            ts_exchange: Some(now),
            simulated: true,
        }
    }
}

/// A running simulation.
#[derive(Debug)]
pub struct SocialHandle {
    assets: watch::Sender<BTreeSet<SmolStr>>,
    task: JoinHandle<()>,
}

impl SocialHandle {
    /// Sets the assets about which posts are wanted. Without any, no posts are made.
    pub fn set(&self, assets: BTreeSet<SmolStr>) {
        self.assets.send_if_modified(|current| {
            let changed = *current != assets;
            *current = assets;
            changed
        });
    }

    /// Waits until the source has ended, after it was cancelled.
    pub async fn stopped(self) {
        drop(self.task.await);
    }
}

/// Starts the simulation, which reports until `cancel`.
pub fn spawn(
    seed: u64,
    reports: mpsc::Sender<Report>,
    clock: Arc<dyn Clock>,
    cancel: CancellationToken,
    supervisor: &Supervisor,
) -> SocialHandle {
    let (assets, wanted) = watch::channel(BTreeSet::new());
    let network = SocialNetwork { seed, reports, clock, scripts: BTreeMap::new() };
    let stop = cancel.clone();
    let task = supervisor.spawn(SOURCE, &stop, async move {
        cancel.run_until_cancelled(network.run(wanted)).await;
    });
    SocialHandle { assets, task }
}

struct SocialNetwork {
    seed: u64,
    reports: mpsc::Sender<Report>,
    clock: Arc<dyn Clock>,
    /// For each wanted asset, when its next post is due, and the generator of its posts.
    scripts: BTreeMap<SmolStr, (Instant, Script)>,
}

impl SocialNetwork {
    /// Returns when nobody receives the reports, or the handle was dropped.
    async fn run(mut self, mut wanted: watch::Receiver<BTreeSet<SmolStr>>) {
        loop {
            let next = self.scripts.values().map(|(due, _)| *due).min();
            let done = tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => {
                        let wanted = wanted.borrow_and_update().clone();
                        self.want(wanted).await
                    }
                    Err(_) => return,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => self.write().await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    async fn want(&mut self, wanted: BTreeSet<SmolStr>) -> Result<(), mpsc::error::SendError<Report>> {
        let began = self.scripts.is_empty() && !wanted.is_empty();
        self.scripts.retain(|asset, _| wanted.contains(asset));
        for asset in wanted {
            let seed = self.seed;
            self.scripts.entry(asset).or_insert_with_key(|asset| {
                let mut script = Script::new(seed, asset.clone());
                (Instant::now() + script.pause(), script)
            });
        }
        if !began {
            return Ok(());
        }
        let since = self.clock.now();
        let (source, state) = (SmolStr::new_static(SOURCE), SourceState::Connected);
        self.reports.send(Report::Source { source, state, since, reason: "simulated".into() }).await
    }

    async fn write(&mut self) -> Result<(), mpsc::error::SendError<Report>> {
        let now = Instant::now();
        for (due, script) in self.scripts.values_mut().filter(|(due, _)| *due <= now) {
            *due = now + script.pause();
            let post = script.post(self.clock.now());
            self.reports.send(Report::Tweet(post)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bond_core::time::ManualClock;

    use super::*;

    fn posts(seed: u64, asset: &str) -> Vec<Tweet> {
        let mut script = Script::new(seed, asset.into());
        (0..50).map(|_| script.post(UnixNanos::EPOCH)).collect()
    }

    #[test]
    fn posts_follow_from_seed_and_asset_and_say_that_they_are_simulated() {
        assert_eq!(posts(1, "BTC"), posts(1, "BTC"));
        let texts =
            |posts: Vec<Tweet>| posts.into_iter().map(|p| p.text.replace("$ETH", "$BTC")).collect::<Vec<_>>();
        assert_ne!(texts(posts(1, "BTC")), texts(posts(2, "BTC")));
        assert_ne!(texts(posts(1, "BTC")), texts(posts(1, "ETH")));
        for post in posts(7, "BTC") {
            assert!(post.simulated && post.text.contains("$BTC"));
            assert!(post.sentiment.is_some_and(|mood| mood.abs() <= Decimal::ONE));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn posts_come_every_few_seconds_and_only_while_wanted() {
        let (reports, mut received) = mpsc::channel(8);
        let handle = spawn(
            1,
            reports,
            Arc::new(ManualClock::default()),
            CancellationToken::new(),
            &Supervisor::default(),
        );
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(received.try_recv().is_err(), "nobody asked");
        handle.set(BTreeSet::from(["BTC".into()]));
        assert!(matches!(received.recv().await, Some(Report::Source { state: SourceState::Connected, .. })));
        for _ in 0..10 {
            let asked = Instant::now();
            assert!(matches!(received.recv().await, Some(Report::Tweet(post)) if post.asset == "BTC"));
            assert!(asked.elapsed() <= Duration::from_secs(5));
        }
        handle.set(BTreeSet::new());
        tokio::time::sleep(Duration::from_secs(1)).await;
        while received.try_recv().is_ok() {}
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(received.try_recv().is_err(), "nobody asks any more");
    }
}
