//! A victim, an attacker and a bound: what a client who did nothing notices of what another one does.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::socket::Socket;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::site::{Site, unix_ms};

/// How long the victim is measured before an attack and after it.
const QUIET: Duration = Duration::from_secs(1);

/// How long it is measured at least while one lasts: some are over before an event was due.
const LEAST: Duration = Duration::from_millis(500);

/// How long a probe may take before it counts as unanswered.
const UNANSWERED: Duration = Duration::from_secs(20);

/// How often newcomers and `/health` are tried.
const PROBES: Duration = Duration::from_millis(200);

/// How long the server may take to give back what an attack took.
const SETTLE: Duration = Duration::from_secs(8);

/// What the victim may notice at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// The 99th percentile of the victim's latency while the attack lasts, in ms.
    pub(super) p99_ms: u64,
    /// By how much the server may grow, in MiB.
    pub(super) growth_mib: u64,
    /// How long a newcomer and `/health` may wait while the attack lasts.
    pub(super) wait: Duration,
    /// How many descriptors more it may have afterwards.
    pub(super) kept: usize,
}

impl Default for Bound {
    fn default() -> Self {
        // Of debug builds that share two cores with the attacker. Without the bounds of the server it is seconds and minutes.
        Self { p99_ms: 2_000, growth_mib: 100, wait: Duration::from_secs(3), kept: 16 }
    }
}

/// What was measured over one phase.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    events: usize,
    p50_ms: u64,
    p99_ms: u64,
    resident_mib: u64,
    descriptors: usize,
    /// The longest that `/health` took.
    health: Duration,
    /// The longest that a new client waited for its first frame.
    newcomer: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:>3} p99 {:>4} ms of {:>5} events, {:>4} MiB, {:>5} descriptors, /health {:>4} ms, newcomer {:>4} ms",
            self.p50_ms,
            self.p99_ms,
            self.events,
            self.resident_mib,
            self.descriptors,
            self.health.as_millis(),
            self.newcomer.as_millis()
        )
    }
}

/// A client that did nothing but subscribe: it notes how old each event is when it comes.
pub(super) struct Victim {
    ages_ms: Arc<Mutex<Vec<u64>>>,
    reading: JoinHandle<Result<()>>,
}

impl Victim {
    /// Connects, and waits for a first event.
    pub(super) async fn join(site: &Site) -> Result<Self> {
        let mut socket = site.victim().await?;
        let ages_ms = Arc::new(Mutex::new(Vec::new()));
        first(&mut socket).await?;
        let reading = tokio::spawn(read(socket, Arc::clone(&ages_ms)));
        Ok(Self { ages_ms, reading })
    }

    async fn seen(&self) -> usize {
        self.ages_ms.lock().await.len()
    }

    async fn since(&self, from: usize) -> Result<Vec<u64>> {
        ensure!(!self.reading.is_finished(), "the victim was disconnected");
        let mut ages = self.ages_ms.lock().await[from..].to_vec();
        ages.sort_unstable();
        Ok(ages)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Waits for an event.
pub(super) async fn first(socket: &mut Socket) -> Result<()> {
    while age(&socket.text().await?)?.is_none() {}
    Ok(())
}

async fn read(mut socket: Socket, ages: Arc<Mutex<Vec<u64>>>) -> Result<()> {
    loop {
        if let Some(age) = age(&socket.text().await?)? {
            ages.lock().await.push(age);
        }
    }
}

/// How old an event is, by the time that the venue or the producer put into it.
pub(super) fn age(frame: &str) -> Result<Option<u64>> {
    let event: Value = serde_json::from_str(frame).with_context(|| frame.to_owned())?;
    Ok(event["ts_exchange"].as_u64().map(|at| unix_ms().saturating_sub(at)))
}

/// Lets `attack` run, and holds what the victim notices against `bound`.
pub(super) async fn withstands(
    site: &Site,
    name: &str,
    bound: Bound,
    attack: impl Future<Output = Result<String>>,
) -> Result<()> {
    let victim = Box::pin(Victim::join(site)).await?;
    let mut phase = Phase::begin(site, &victim).await?;
    let _ = timeout(QUIET, phase.probe_for_ever()).await;
    let before = phase.end().await?;
    let mut phase = Phase::begin(site, &victim).await?;
    let lasting = async { tokio::join!(attack, sleep(LEAST)).0 };
    let said = phase.probe_while(lasting).await?;
    let during = phase.end().await?;
    let (memory, descriptors) = settle(site, &before, &bound).await?;
    let mut phase = Phase::begin(site, &victim).await?;
    let _ = timeout(QUIET, phase.probe_for_ever()).await;
    let after = Figures { resident_mib: memory, descriptors, ..phase.end().await? };
    println!("{:<14} {name}: {said}", site.name);
    for (when, figures) in [("before", before), ("during", during), ("after", after)] {
        println!("{:<14}   {when:<6} {figures}", site.name);
    }
    judge(&bound, &before, &during, &after).with_context(|| format!("{}: {name}", site.name))
}

fn judge(bound: &Bound, before: &Figures, during: &Figures, after: &Figures) -> Result<()> {
    for figures in [during, after] {
        ensure!(figures.events > 0, "the victim got nothing");
        ensure!(figures.p99_ms <= bound.p99_ms, "the victim waits: {figures}");
        ensure!(figures.health <= bound.wait, "/health does not answer: {figures}");
        ensure!(figures.newcomer <= bound.wait, "new clients do not get in: {figures}");
        let growth = figures.resident_mib.saturating_sub(before.resident_mib);
        ensure!(growth <= bound.growth_mib, "{growth} MiB more: {figures}");
    }
    let kept = after.descriptors.saturating_sub(before.descriptors);
    ensure!(kept <= bound.kept, "{kept} descriptors are not given back: {after}");
    Ok(())
}

/// Waits until the server has given back its descriptors, or has had time enough for it.
async fn settle(site: &Site, before: &Figures, bound: &Bound) -> Result<(u64, usize)> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let descriptors = site.descriptors()?;
        if descriptors <= before.descriptors + bound.kept / 2 || Instant::now() > deadline {
            return Ok((site.resident_mib()?, descriptors));
        }
        sleep(PROBES).await;
    }
}

/// One measurement under way.
struct Phase<'a> {
    site: &'a Site,
    victim: &'a Victim,
    from: usize,
    figures: Figures,
}

impl<'a> Phase<'a> {
    async fn begin(site: &'a Site, victim: &'a Victim) -> Result<Self> {
        let from = victim.seen().await;
        Ok(Self { site, victim, from, figures: Figures::default() })
    }

    async fn probe_while(&mut self, attack: impl Future<Output = Result<String>>) -> Result<String> {
        let mut attack = pin!(attack);
        tokio::select! {
            said = &mut attack => said,
            never = self.probe_for_ever() => never,
        }
    }

    async fn probe_for_ever(&mut self) -> Result<String> {
        loop {
            self.measure()?;
            // Boxed, as every row of a table of attacks has them on its test's stack.
            let health = Box::pin(took(self.site.health()));
            let newcomer = Box::pin(took(self.site.newcomer()));
            let (health, newcomer) = tokio::join!(health, newcomer);
            self.figures.health = self.figures.health.max(health);
            self.figures.newcomer = self.figures.newcomer.max(newcomer);
            sleep(PROBES).await;
        }
    }

    fn measure(&mut self) -> Result<()> {
        self.figures.resident_mib = self.figures.resident_mib.max(self.site.resident_mib()?);
        self.figures.descriptors = self.figures.descriptors.max(self.site.descriptors()?);
        Ok(())
    }

    async fn end(mut self) -> Result<Figures> {
        self.measure()?;
        let ages = self.victim.since(self.from).await?;
        let at = |percent: usize| ages.get((ages.len() * percent / 100).min(ages.len().saturating_sub(1)));
        self.figures.events = ages.len();
        self.figures.p50_ms = at(50).copied().unwrap_or_default();
        self.figures.p99_ms = at(99).copied().unwrap_or_default();
        Ok(self.figures)
    }
}

/// How long something took; what fails or does not end counts as [`UNANSWERED`].
async fn took(work: impl Future<Output = Result<()>>) -> Duration {
    let begun = Instant::now();
    match timeout(UNANSWERED, work).await {
        Ok(Ok(())) => begun.elapsed(),
        Ok(Err(_)) | Err(_) => UNANSWERED,
    }
}
