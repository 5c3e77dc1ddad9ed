//! Exchanges health reports between the processes on one log, once a second.

use bond_core::log::LogError;
use bond_core::vitals::{PUBLISH_EVERY, Vitals};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::leading::Leading;

/// How many of a stream's latest latencies are published: enough for a 95th percentile, and few enough to be sent each second.
const TOLD_LATENCIES: usize = 128;

/// Publishes the health report of this process, and reads from the others the states of sources and whether any of them ingests. Runs until
/// `cancel`.
pub async fn publish(parts: Parts, leading: Leading, cancel: CancellationToken) {
    let mut ticks = interval(PUBLISH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_away = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let outcome = exchange(&parts, &leading).await;
        if let Err(error) = &outcome {
            parts.readiness.set(false);
            if !is_away {
                tracing::warn!(%error, "other processes cannot be told how this one fares");
            }
        }
        is_away = outcome.is_err();
    }
}

async fn exchange(parts: &Parts, leading: &Leading) -> Result<(), LogError> {
    parts.vitals.publish(&own(parts, leading.get())).await?;
    let mut all = parts.vitals.all().await?;
    parts.readiness.set(all.take_writer());
    if !leading.get() {
        parts.ports.board.replace(all.sources);
    }
    Ok(())
}

/// The report of this process. A process that does not lead leaves out the sources, since its table shows what another process published.
fn own(parts: &Parts, leads: bool) -> Vitals {
    let mut vitals = parts.local.now();
    if leads {
        vitals.mark_writer(parts.ports.clock.now());
    } else {
        vitals.sources.clear();
    }
    for figures in vitals.streams.values_mut() {
        let older = figures.latencies.len().saturating_sub(TOLD_LATENCIES);
        figures.latencies.drain(..older);
    }
    vitals
}
