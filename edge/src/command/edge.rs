//! `bond edge`: a further edge on the Redis of processes that ingest.

use bond_core::instrument::Venue;
use tokio_util::sync::CancellationToken;

use super::serve::{self, Listeners, Rules};
use crate::cli::EdgeArgs;
use crate::config::Settings;
use crate::failure::Outcome;
use crate::host::HostConfig;

/// Serves until a signal asks to stop.
///
/// # Errors
/// Where settings, ports, data directory or Redis cannot be used.
pub async fn run(args: &EdgeArgs, settings: &Settings) -> Outcome {
    let rules = Rules::of(&args.serve, settings, true)?;
    let shared = serve::join(&args.redis, settings).await?;
    let door = Listeners::open(&args.serve, settings, rules, Some(&shared)).await?;
    let venues = Venue::SERVED.into();
    let config = HostConfig::new(settings, shared.instance.clone(), venues, door.ws_port());
    let cancel = CancellationToken::new();
    let banner = door.banner();
    let telling = shared.publish_vitals(&cancel);
    let outcome = door.serve(config, shared.parts.clone(), &banner, &cancel).await;
    // The supervisor knows of panics.
    let _ = telling.await;
    outcome
}
