//! `bond-cloud ingest`: stands by for the lease, and ingests and relays while it holds it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::anyhow;
use bond_edge::failure::Failure;
use bond_edge::host::leading::Ingest;
use bond_edge::host::vitals;
use bond_edge::prometheus::Prometheus;
use bond_edge::{logging, ready, signal, venues};
use bond_ingest::leader;
use bond_redis::RedisLease;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::adapters::Adapters;
use crate::cli::IngestArgs;
use crate::config::IngestSettings;
use crate::figures::Figures;
use crate::http;
use crate::term::Terms;

/// Runs until a signal asks to stop: then what is in flight is taken in, positions are saved and the lease is given up.
pub(crate) async fn run(args: &IngestArgs) -> anyhow::Result<()> {
    let settings = IngestSettings::from_env()?;
    logging::start(&settings.common.settings).map_err(told)?;
    let prometheus = Prometheus::install()?;
    let listener = TcpListener::bind(SocketAddr::new(args.bind, settings.common.port)).await?;
    let address = listener.local_addr()?;
    let served = venues::serve(args.venues, &args.at).await.map_err(told)?;
    let Adapters { aws, redis, parts, instance } = Adapters::connect(&settings.common).await?;
    let seed = getrandom::u32()?.into();
    let ingest = Ingest::new(&settings.common.settings, served.markets.clone(), parts.ports.clone(), seed);
    let terms = Terms::new(&settings, &aws, redis.clone(), parts.clone(), ingest)?;
    let cancel = CancellationToken::new();
    let clock = Arc::clone(&parts.ports.clock);
    let router = http::router(parts.readiness.clone(), terms.leading.clone(), prometheus);
    let supervisor = parts.ports.supervisor.clone();
    // Open to the end: whoever asks meanwhile is told whether something has died.
    let door = CancellationToken::new();
    let serving = supervisor.spawn("server", &door, http::serve(listener, router, door.clone()));
    let tell = vitals::publish(parts, terms.leading.clone(), cancel.clone());
    let telling = supervisor.spawn("vitals", &cancel, tell);
    let figures = Figures {
        deployment: settings.deployment.clone(),
        leading: terms.leading.clone(),
        relay: Arc::clone(&terms.relay),
        clock,
    };
    let counting = supervisor.spawn("figures", &cancel, figures.tell(cancel.clone()));
    ready::announce(args.ready_file.as_deref(), &format!("bond-cloud ingest\n  health  http://{address}\n"))?;
    let lease = Arc::new(RedisLease::new(redis, instance));
    let (watch, stop) = (supervisor.clone(), cancel.clone());
    let leading = supervisor.spawn("leader", &cancel, async move {
        leader::lead(lease, &watch, stop, |deadline, over| terms.serve(deadline, over)).await;
    });
    let stopping = signal::stop_or_death(&supervisor).await;
    cancel.cancel();
    let ended = (leading.await, telling.await, counting.await);
    let stopped = stopping.end().await;
    door.cancel();
    stopped?;
    ended.0.and(ended.1).and(ended.2)?;
    serving.await??;
    drop(served);
    Ok(())
}

fn told(failure: Failure) -> anyhow::Error {
    anyhow!(failure.message)
}
