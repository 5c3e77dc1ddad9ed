//! `bond-cloud edge`: a dedicated edge beside the serverless one, on the same log and registry.

use std::net::SocketAddr;

use anyhow::anyhow;
use bond_api::auth::Access;
use bond_api::keys::Keys;
use bond_aws::Aws;
use bond_core::api_key::KeyFile;
use bond_core::instrument::Venue;
use bond_edge::host::leading::Leading;
use bond_edge::host::{self, HostConfig, vitals};
use bond_edge::server::{self, ServerConfig};
use bond_edge::{logging, ready, signal};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::adapters::Adapters;
use crate::cli::EdgeArgs;
use crate::config::EdgeSettings;

/// Serves until a signal asks to stop.
pub(crate) async fn run(args: &EdgeArgs) -> anyhow::Result<()> {
    let settings = EdgeSettings::from_env()?;
    let common = &settings.common;
    logging::start(&common.settings).map_err(|failure| anyhow!(failure.message))?;
    let listener = TcpListener::bind(SocketAddr::new(args.bind, common.port)).await?;
    let address = listener.local_addr()?;
    let Adapters { aws, parts, instance, .. } = Adapters::connect(common).await?;
    let tokens = aws.secrets().token_keys(&settings.token_keys_secret).await?;
    let tokens = tokens.with_legacy(common.settings.legacy_tokens.unwrap_or(false));
    let access = Access::new(Keys::given(api_keys(&aws, &settings).await?), false);
    let venues = Venue::ALL.into_iter().filter(|venue| venue.is_served()).collect();
    let config = HostConfig::new(&common.settings, instance.into(), venues, address.port());
    let (fanout, router) = host::start(config, parts.clone(), access, tokens)?;
    let cancel = CancellationToken::new();
    let supervisor = parts.ports.supervisor.clone();
    let tell = vitals::tell(parts, Leading::default(), cancel.clone());
    let telling = supervisor.spawn("vitals", &cancel, tell);
    let drain = async move { fanout.drain().await };
    let server = ServerConfig::new(&supervisor);
    let serving = server::serve(server, vec![listener], router, drain, cancel.clone());
    let serving = supervisor.spawn("server", &cancel, serving);
    let banner = format!("bond-cloud edge\n  REST       http://{address}\n  WebSocket  ws://{address}\n");
    ready::announce(args.ready_file.as_deref(), &banner)?;
    let outcome = signal::stop_or_death(&supervisor).await;
    tracing::info!("stopping");
    cancel.cancel();
    let ended = (telling.await, serving.await);
    outcome?;
    ended.0?;
    Ok(ended.1?)
}

/// The file of API keys, which `bond key` writes, as the text of a secret.
async fn api_keys(aws: &Aws, settings: &EdgeSettings) -> anyhow::Result<KeyFile> {
    let text = aws.secrets().text(&settings.api_keys_secret).await?;
    Ok(KeyFile::from_json(&text)?)
}
