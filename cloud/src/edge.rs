//! `bond-cloud edge`: a dedicated edge beside the serverless one, on the same log and registry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use bond_api::auth::Access;
use bond_api::keys::Keys;
use bond_api::tokens::Tokens;
use bond_aws::{Aws, KeySecrets};
use bond_core::instrument::Venue;
use bond_core::key_source::KeySource;
use bond_edge::host::leading::Leading;
use bond_edge::host::{self, HostConfig, Started, vitals};
use bond_edge::jwks::Jwks;
use bond_edge::server::{self, ServerConfig};
use bond_edge::{logging, ready, signal, signing};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::adapters::Adapters;
use crate::cli::EdgeArgs;
use crate::config::EdgeSettings;
use crate::keys;

/// Serves until a signal asks to stop.
pub(crate) async fn run(args: &EdgeArgs) -> anyhow::Result<()> {
    let settings = EdgeSettings::from_env()?;
    let common = &settings.common;
    logging::start(&common.settings).map_err(|failure| anyhow!(failure.message))?;
    if !common.settings.jwt.static_tokens.is_empty() {
        bail!(signing::static_tokens_refused("others reach this process"));
    }
    let listener = TcpListener::bind(SocketAddr::new(args.bind, common.port)).await?;
    let address = listener.local_addr()?;
    let scraped = match common.settings.sockets.prometheus_port {
        Some(port) => Some(TcpListener::bind(SocketAddr::new(args.bind, port)).await?),
        None => None,
    };
    let Adapters { aws, parts, instance, .. } = Adapters::connect(common).await?;
    let source = Arc::new(key_source(&aws, &settings));
    let (tokens, keys) = tokio::try_join!(source.token_keys(), source.api_keys())?;
    let access = Access::new(Keys::given(keys), false).with_keys_in_urls(common.settings.keys_in_urls);
    let verifier = Arc::new(common.settings.jwt.verifier(None));
    let jwks = Jwks::open(common.settings.jwt.jwks.clone(), Arc::clone(&verifier)).await?;
    let (tokens, access) = (Arc::new(Tokens::new(tokens).with_topics(verifier)), Arc::new(access));
    let venues = Venue::ALL.into_iter().filter(|venue| venue.is_served()).collect();
    let config = HostConfig::new(&common.settings, instance.into(), venues, address.port());
    let started = host::start(config, parts.clone(), Arc::clone(&access), Arc::clone(&tokens))?;
    let Started { fanout, router, metrics } = started;
    let cancel = CancellationToken::new();
    let supervisor = parts.ports.supervisor.clone();
    let follow = follow(source, settings.keys_every, access, tokens, cancel.clone());
    let following = supervisor.spawn("keys", &cancel, follow);
    let fetching = supervisor.spawn("jwks", &cancel, jwks.follow(cancel.clone()));
    let tell = vitals::publish(parts, Leading::default(), cancel.clone());
    let telling = supervisor.spawn("vitals", &cancel, tell);
    let drain = async move { fanout.drain().await };
    let server = ServerConfig::of(&common.settings, &supervisor);
    if let Some(listener) = scraped {
        let scraping = server::serve_one(&server, listener, metrics, cancel.clone());
        supervisor.spawn("prometheus", &cancel, scraping);
    }
    let serving = server::serve(server, vec![listener], router, drain, cancel.clone());
    let serving = supervisor.spawn("server", &cancel, serving);
    let banner = format!("bond-cloud edge\n  REST       http://{address}\n  WebSocket  ws://{address}\n");
    ready::announce(args.ready_file.as_deref(), &banner)?;
    let stopping = signal::stop_or_death(&supervisor).await;
    cancel.cancel();
    let ended = (telling.await, following.await, serving.await, fetching.await);
    stopping.end().await?;
    ended.0.and(ended.1).and(ended.3)?;
    Ok(ended.2?)
}

fn key_source(aws: &Aws, settings: &EdgeSettings) -> KeySecrets {
    KeySecrets {
        secrets: aws.secrets(),
        token_keys: settings.token_keys_secret.clone(),
        api_keys: settings.api_keys_secret.clone(),
        legacy_tokens: settings.common.settings.legacy_tokens.unwrap_or(false),
        issuer_keys: None,
    }
}

/// Has what is checked by follow the secrets: connections of a revoked key are closed at the next tick after.
async fn follow(
    source: Arc<KeySecrets>,
    every: Duration,
    access: Arc<Access>,
    tokens: Arc<Tokens>,
    stop: CancellationToken,
) {
    tokio::join!(
        keys::follow(every, stop.clone(), || source.api_keys(), |keys| access.replace_keys(keys)),
        keys::follow(keys::TOKEN_KEYS_EVERY, stop, || source.token_keys(), |keys| tokens.replace(keys)),
    );
}
