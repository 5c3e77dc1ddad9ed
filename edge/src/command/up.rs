//! `bond up`: ingest and the edge in one process, alone or among others on one Redis.

use std::collections::BTreeSet;
use std::sync::Arc;

use bond_api::rest::Readiness;
use bond_core::clock::SystemClock;
use bond_core::instrument::Venue;
use bond_core::memory::{MemoryLog, Retention};
use bond_core::meter::Meters;
use bond_core::source::SourceBoard;
use bond_core::time::Clock;
use bond_core::vitals::LocalVitals;
use bond_ingest::engine::Ports;
use bond_supervise::Supervisor;
use smol_str::format_smolstr;
use tokio_util::sync::CancellationToken;

use super::serve::{self, Listeners, Rules, random};
use crate::cli::{UpArgs, Venues};
use crate::config::Settings;
use crate::failure::{Exit, Failure, Outcome};
use crate::host::leading::Ingest;
use crate::host::redis::RedisHost;
use crate::host::{HostConfig, Parts};
use crate::store::RedbStore;
use crate::venues::{self, Served};

/// Serves until a signal asks to stop. On Redis, ingest runs while this process leads.
///
/// # Errors
/// Where settings, ports, data directory, Redis or venues cannot be used.
pub async fn run(args: &UpArgs, settings: &Settings) -> Outcome {
    // An empty variable counts as not set.
    let redis = args.redis.as_deref().filter(|url| !url.is_empty());
    let rules = Rules::of(&args.serve, settings, redis.is_some())?;
    let shared = match redis {
        Some(url) => Some(serve::join(url, settings).await?),
        None => None,
    };
    let door = Listeners::open(&args.serve, settings, rules, shared.as_ref()).await?;
    let served = venues::serve(args.venues, &args.at).await?;
    let outcome = match &shared {
        None => alone(args, settings, door, &served).await,
        Some(shared) => among_others(args, settings, shared, door, &served).await,
    };
    drop(served);
    outcome
}

async fn alone(args: &UpArgs, settings: &Settings, door: Listeners, served: &Served) -> Outcome {
    let ports = ports(args, settings)?;
    let cancel = CancellationToken::new();
    let ingest = Ingest::new(settings, served.markets.clone(), ports.clone(), random()?.into());
    let failed = |error| Failure::new(Exit::Failed, error);
    let engine = ingest.start(cancel.clone()).await.map_err(failed)?;
    let local = Arc::new(LocalVitals::new(ports.meters.clone(), ports.board.clone()));
    let supervisor = ports.supervisor.clone();
    let readiness = Readiness::of(&supervisor);
    readiness.set(true);
    let (control, publisher) = (engine.control(), engine.publisher());
    let parts =
        Parts { ports, control, publisher, user_limits: None, vitals: local.clone(), local, readiness };
    let engine = supervisor.spawn("ingest", &cancel, engine.stopped());
    let instance = format_smolstr!("{:08x}", random()?);
    let config = HostConfig::new(settings, instance, venues_of(served), door.ws_port());
    let banner = banner(args, &door);
    door.serve(config, parts, &banner, &cancel).await?;
    engine.await.map_err(|error| Failure::new(Exit::Failed, error))?.map_err(failed)
}

fn ports(args: &UpArgs, settings: &Settings) -> Result<Ports, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = RedbStore::open(&args.serve.data_dir).map_err(|error| Failure::new(Exit::Failed, error))?;
    let retention = Retention {
        ring: settings.ring,
        topic_bytes: settings.ring_bytes / 4,
        total_bytes: settings.ring_bytes,
    };
    let log = MemoryLog::with_topic_ttl(retention, Arc::clone(&clock), random()?, settings.topic_ttl);
    Ok(Ports {
        log: Arc::new(log),
        store: Arc::new(store),
        board: SourceBoard::default(),
        meters: Meters::default(),
        clock,
        supervisor: Supervisor::default(),
    })
}

async fn among_others(
    args: &UpArgs,
    settings: &Settings,
    shared: &RedisHost,
    door: Listeners,
    served: &Served,
) -> Outcome {
    let ports = shared.parts.ports.clone();
    let ingest = Ingest::new(settings, served.markets.clone(), ports, random()?.into());
    let cancel = CancellationToken::new();
    let config = HostConfig::new(settings, shared.instance.clone(), venues_of(served), door.ws_port());
    let banner = banner(args, &door);
    let RedisHost { parts, .. } = shared;
    let beside = [shared.ingest(ingest, settings, &cancel), shared.publish_vitals(&cancel)];
    let outcome = door.serve(config, parts.clone(), &banner, &cancel).await;
    // The supervisor knows of panics.
    futures_util::future::join_all(beside).await;
    outcome
}

fn venues_of(served: &Served) -> BTreeSet<Venue> {
    served.markets.iter().map(|market| market.venue).collect()
}

fn banner(args: &UpArgs, door: &Listeners) -> String {
    let all = Venue::names(&Venue::SERVED);
    let venues = match (args.at.venue_urls.is_empty(), args.venues) {
        (false, _) => format!("venues: {}", args.at.venue_urls.join(", ")),
        (true, Venues::Sim) => format!("venues: SIMULATED ({all}); all prices are made up"),
        (true, Venues::Live) => format!("venues: live ({all})"),
    };
    let example = r#"-d '{"natural_language":"BTC price + tweets every 5s"}'"#;
    format!(
        "{served}  {venues}\n  tweets: SIMULATED\n\
         try: curl -X POST http://{rest}/v1/streams -H 'content-type: application/json' {example}\n",
        served = door.banner(),
        rest = door.addresses()[0],
    )
}
