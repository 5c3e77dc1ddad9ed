//! The handlers with adapters on AWS and Redis. The clients are made once, before the first event. Those that need the network are made
//! concurrently.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use bond_api::authorizer::{Checks, ConnectionAuthorizer};
use bond_api::paces::Paces;
use bond_api::rest::{Backing, Probed, RestSettings, RestState, Traffic, UrlForm};
use bond_aws::{Aws, KeySecrets};
use bond_core::clock::SystemClock;
use bond_core::deliver::Deliverer;
use bond_core::instrument::Venue;
use bond_core::secret::Secret;
use bond_core::time::Clock;
use bond_redis::{
    Redis, RedisConfig, RedisControl, RedisLease, RedisLog, RedisPublisher, RedisUserLimits, RedisVitals,
    Retention,
};
use lambda_runtime::Error;

use crate::api::{self, ApiContext};
use crate::config::{
    ApiSettings, Common, ConnectSettings, DisconnectSettings, FanoutSettings, KeySettings, MessageSettings,
    RedisSettings, from_env,
};
use crate::connect::Connect;
use crate::disconnect::Disconnect;
use crate::emf::Emf;
use crate::fanout::Fanout;
use crate::logging;
use crate::message::Messages;
use crate::secrets::Vault;

/// Of a log that is read alone.
const UNWRITTEN: Retention = Retention { ring: Duration::ZERO, topic_bytes: 0, total_bytes: 0 };

/// The REST interface.
///
/// # Errors
/// Where settings, secrets or Redis cannot be used.
pub async fn api() -> Result<Router, Error> {
    let settings: ApiSettings = from_env()?;
    logging::start(&settings.common.log)?;
    let aws = Aws::load().await;
    let vault = vault(&aws, &settings.keys);
    let (keyring, redis) = tokio::join!(vault.keyring(), redis(&aws, &settings.redis));
    let (keyring, redis) = (keyring?, redis?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let state = RestState {
        store: Arc::new(aws.streams(&settings.streams_table)),
        control: Arc::new(RedisControl::new(redis.clone())),
        log: Arc::new(RedisLog::new(redis.clone(), UNWRITTEN, Arc::clone(&clock), 0)),
        publisher: Arc::new(RedisPublisher::new(redis.clone(), &format!("api-{:08x}", getrandom::u32()?))),
        backing: Arc::new(RedisBacking(redis.clone())),
        vitals: Arc::new(RedisVitals::new(redis, "api")),
        traffic: Traffic::default(),
        ended: OnceLock::new(),
        access: Arc::clone(&keyring.access),
        tokens: Arc::clone(&keyring.tokens),
        started_at: clock.now(),
        clock: Arc::clone(&clock),
        // The functions' own metrics are in CloudWatch.
        prometheus: Box::new(String::new),
        paces: Paces::new(settings.rest_per_second),
        probed: Probed::default(),
        settings: rest_settings(&settings),
    };
    let surroundings = ApiContext { vault, clock, emf: emf(&settings.common, "api") };
    Ok(api::router(Arc::new(state), Arc::new(surroundings)))
}

/// `$connect`.
///
/// # Errors
/// Where settings, secrets or Redis cannot be used.
pub async fn connect() -> Result<Connect, Error> {
    let settings: ConnectSettings = from_env()?;
    logging::start(&settings.common.log)?;
    let aws = Aws::load().await;
    let vault = vault(&aws, &settings.keys);
    let (keyring, redis) = tokio::join!(vault.keyring(), redis(&aws, &settings.redis));
    let keyring = keyring?;
    let checks = Checks {
        access: Arc::clone(&keyring.access),
        tokens: Arc::clone(&keyring.tokens),
        clock: Arc::new(SystemClock),
    };
    Ok(Connect {
        admission: Arc::new(ConnectionAuthorizer {
            checks,
            store: Arc::new(aws.streams(&settings.streams_table)),
        }),
        vault,
        connections: Arc::new(aws.connections(&settings.connections_table)),
        control: Arc::new(RedisControl::new(redis?)),
        emf: emf(&settings.common, "ws_connect"),
    })
}

/// `$default`.
///
/// # Errors
/// Where settings or Redis cannot be used.
pub async fn messages() -> Result<Messages, Error> {
    let settings: MessageSettings = from_env()?;
    logging::start(&settings.common.log)?;
    let aws = Aws::load().await;
    let redis = redis(&aws, &settings.redis).await?;
    Ok(Messages {
        connections: Arc::new(aws.connections(&settings.connections_table)),
        control: Arc::new(RedisControl::new(redis.clone())),
        users: Arc::new(RedisUserLimits::new(redis)),
        vault: vault(&aws, &settings.keys),
        clock: Arc::new(SystemClock),
        emf: emf(&settings.common, "ws_message"),
    })
}

/// `$disconnect`.
///
/// # Errors
/// Where settings or Redis cannot be used.
pub async fn disconnect() -> Result<Disconnect, Error> {
    let settings: DisconnectSettings = from_env()?;
    logging::start(&settings.common.log)?;
    let aws = Aws::load().await;
    Ok(Disconnect {
        connections: Arc::new(aws.connections(&settings.connections_table)),
        control: Arc::new(RedisControl::new(redis(&aws, &settings.redis).await?)),
    })
}

/// The fan-out.
///
/// # Errors
/// Where settings or credentials cannot be used.
pub async fn fanout() -> Result<Fanout, Error> {
    let settings: FanoutSettings = from_env()?;
    logging::start(&settings.common.log)?;
    let gateway = Aws::load().await.api_gateway(&settings.callback_url, settings.posts_per_second.get())?;
    Ok(Fanout {
        until: Box::new(move |deadline| Arc::new(gateway.until(deadline)) as Arc<dyn Deliverer>),
        clock: Arc::new(SystemClock),
        emf: emf(&settings.common, "fanout"),
    })
}

fn emf(common: &Common, function: &'static str) -> Emf {
    Emf::new(common.deployment.clone(), function)
}

fn rest_settings(settings: &ApiSettings) -> RestSettings {
    RestSettings {
        max_streams: settings.max_streams,
        per_second: settings.rest_per_second,
        open_metrics: false,
        token_ttl: settings.token_ttl,
        ws_host: Some(settings.ws_url.clone()),
        ws_port: 443,
        url_form: UrlForm::Query,
        allow_private_sources: settings.allow_private_sources,
        venues: Venue::SERVED.into(),
    }
}

async fn redis(aws: &Aws, settings: &RedisSettings) -> Result<Redis, Error> {
    let password = match &settings.auth_secret {
        Some(name) => Some(Secret::new(aws.secrets().password(name).await?)),
        None => None,
    };
    Ok(Redis::connect(&RedisConfig { url: settings.url.clone(), password }).await?)
}

fn vault(aws: &Aws, settings: &KeySettings) -> Vault {
    let source = KeySecrets {
        secrets: aws.secrets(),
        token_keys: settings.token_keys_secret.clone(),
        api_keys: settings.api_keys_secret.clone(),
        legacy_tokens: settings.legacy_tokens,
        issuer_keys: settings.issuer_keys_secret.clone(),
    };
    Vault::new(Box::new(source)).with_rules(settings.claims.clone())
}

/// Redis, and the ingest process that writes to it.
struct RedisBacking(Redis);

#[async_trait]
impl Backing for RedisBacking {
    async fn log_answers(&self) -> bool {
        self.0.ping().await.is_ok()
    }

    async fn ingest_runs(&self) -> bool {
        RedisLease::is_held(&self.0).await.unwrap_or(false)
    }
}
