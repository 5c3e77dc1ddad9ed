//! Settings from the environment: read once, strictly, each function only what it needs, all problems reported at once.

use std::num::NonZeroU32;
use std::time::Duration;

use bond_api::jwt::ClaimRules;
use bond_core::settings::{Reader, SettingsError, Variables};

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `BOND_LOG`: a level, or `target=level` pairs, comma-separated.
    pub filter: String,
    /// `BOND_LOG_FORMAT`: `json` for machines (the default), `text` for people.
    pub json: bool,
}

/// What every function has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    /// What is logged.
    pub log: LogSettings,
    /// `BOND_DEPLOYMENT`: the name that metrics are told under; `bond` unless set.
    pub deployment: String,
}

/// How Redis is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// `REDIS_URL`: `redis://`, `rediss://`, `redis-cluster://` or `rediss-cluster://`.
    pub url: String,
    /// `BOND_REDIS_AUTH_SECRET`: the name of the secret whose text is the password.
    pub auth_secret: Option<String>,
}

/// Where keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// `BOND_TOKEN_KEYS_SECRET`: the name of the secret with the keys that sign tokens.
    pub token_keys_secret: String,
    /// `BOND_API_KEYS_SECRET`: the name of the secret whose text is the file of API keys.
    pub api_keys_secret: String,
    /// `BOND_LEGACY_TOKENS`: whether tokens of the legacy form are taken.
    pub legacy_tokens: bool,
    /// `BOND_JWT_KEYS_SECRET`: the name of the secret with the keys of the issuer of tokens for topics; none unless set.
    pub issuer_keys_secret: Option<String>,
    /// `BOND_JWT_ISSUER`, `BOND_JWT_AUDIENCE` and `BOND_ADMIN_READS_ALL`.
    pub claims: ClaimRules,
}

/// Settings of `api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiSettings {
    /// What every function has.
    pub common: Common,
    /// How Redis is reached.
    pub redis: RedisSettings,
    /// Where keys are.
    pub keys: KeySettings,
    /// `BOND_TABLE_STREAMS`.
    pub streams_table: String,
    /// `BOND_WS_URL`: the base of `ws_url`, stage included.
    pub ws_url: String,
    /// `BOND_TOKEN_TTL`: how long a token is good, in seconds.
    pub token_ttl: Duration,
    /// `BOND_MAX_STREAMS`: streams per owner.
    pub max_streams: usize,
    /// `BOND_REST_PER_SECOND`: requests a second that one owner may make of one instance, four times as many at once.
    pub rest_per_second: u32,
    /// `BOND_ALLOW_PRIVATE_SOURCES`: whether custom sources may be on private addresses.
    pub allow_private_sources: bool,
}

/// Settings of `ws_connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectSettings {
    /// What every function has.
    pub common: Common,
    /// How Redis is reached.
    pub redis: RedisSettings,
    /// Where keys are.
    pub keys: KeySettings,
    /// `BOND_TABLE_STREAMS`.
    pub streams_table: String,
    /// `BOND_TABLE_CONNECTIONS`.
    pub connections_table: String,
}

/// Settings of `ws_message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSettings {
    /// What every function has.
    pub common: Common,
    /// How Redis is reached.
    pub redis: RedisSettings,
    /// Where keys are.
    pub keys: KeySettings,
    /// `BOND_TABLE_CONNECTIONS`.
    pub connections_table: String,
}

/// Settings of `ws_disconnect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisconnectSettings {
    /// What every function has.
    pub common: Common,
    /// How Redis is reached.
    pub redis: RedisSettings,
    /// `BOND_TABLE_CONNECTIONS`.
    pub connections_table: String,
}

/// Settings of `fanout`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanoutSettings {
    /// What every function has.
    pub common: Common,
    /// `BOND_WS_CALLBACK_URL`: the base of `@connections`, stage included.
    pub callback_url: String,
    /// `BOND_POSTS_PER_SECOND`: the most posts a second of one execution environment.
    pub posts_per_second: NonZeroU32,
}

/// Reads the settings of one function.
///
/// # Errors
/// [`SettingsError`] with every problem there is.
#[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
pub fn from_env<T: Settings>() -> Result<T, SettingsError> {
    read(&|name| std::env::var(name).ok())
}

/// Reads the settings of one function through `get`.
///
/// # Errors
/// [`SettingsError`] with every problem there is.
pub fn read<T: Settings>(get: Variables<'_>) -> Result<T, SettingsError> {
    let mut reader = Reader::new(get);
    let settings = T::read(&mut reader);
    reader.finish(settings)
}

/// The settings of one function.
pub trait Settings: Sized {
    /// Takes them from a reader, which notes what is wrong.
    fn read(reader: &mut Reader<'_>) -> Self;
}

impl Settings for ApiSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            common: common(reader),
            redis: redis(reader),
            keys: keys(reader),
            streams_table: reader.required("BOND_TABLE_STREAMS"),
            ws_url: reader.url("BOND_WS_URL", &["wss", "ws"]),
            token_ttl: reader.seconds("BOND_TOKEN_TTL", 3600, 1, 31_536_000),
            max_streams: reader.number("BOND_MAX_STREAMS", 5, 1, 100_000),
            rest_per_second: reader.number("BOND_REST_PER_SECOND", 50, 1, 100_000),
            allow_private_sources: reader.flag("BOND_ALLOW_PRIVATE_SOURCES"),
        }
    }
}

impl Settings for ConnectSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            common: common(reader),
            redis: redis(reader),
            keys: keys(reader),
            streams_table: reader.required("BOND_TABLE_STREAMS"),
            connections_table: reader.required("BOND_TABLE_CONNECTIONS"),
        }
    }
}

impl Settings for MessageSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            common: common(reader),
            redis: redis(reader),
            keys: keys(reader),
            connections_table: reader.required("BOND_TABLE_CONNECTIONS"),
        }
    }
}

impl Settings for DisconnectSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            common: common(reader),
            redis: redis(reader),
            connections_table: reader.required("BOND_TABLE_CONNECTIONS"),
        }
    }
}

impl Settings for FanoutSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        let posts = reader.number("BOND_POSTS_PER_SECOND", 1000, 1, 1_000_000);
        Self {
            common: common(reader),
            callback_url: reader.url("BOND_WS_CALLBACK_URL", &["https", "http"]),
            posts_per_second: NonZeroU32::new(posts).unwrap_or(NonZeroU32::MIN),
        }
    }
}

fn common(reader: &mut Reader<'_>) -> Common {
    let filter = reader.text("BOND_LOG").unwrap_or_else(|| "info".to_owned());
    let json = reader.choice("BOND_LOG_FORMAT", ["json", "text"]) == 0;
    let deployment = reader.text("BOND_DEPLOYMENT").unwrap_or_else(|| "bond".to_owned());
    Common { log: LogSettings { filter, json }, deployment }
}

fn redis(reader: &mut Reader<'_>) -> RedisSettings {
    let url = reader.url("REDIS_URL", &bond_redis::SCHEMES);
    RedisSettings { url, auth_secret: reader.text("BOND_REDIS_AUTH_SECRET") }
}

fn keys(reader: &mut Reader<'_>) -> KeySettings {
    KeySettings {
        token_keys_secret: reader.required("BOND_TOKEN_KEYS_SECRET"),
        api_keys_secret: reader.required("BOND_API_KEYS_SECRET"),
        legacy_tokens: reader.flag("BOND_LEGACY_TOKENS"),
        issuer_keys_secret: reader.text("BOND_JWT_KEYS_SECRET"),
        claims: ClaimRules {
            issuer: reader.text("BOND_JWT_ISSUER"),
            audience: reader.text("BOND_JWT_AUDIENCE"),
            admin_reads_all: reader.flag("BOND_ADMIN_READS_ALL"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<T: Settings>(variables: &[(&str, &str)]) -> Result<T, SettingsError> {
        read(&|name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let settings =
            [("BOND_MAX_STREAMS", "many"), ("BOND_WS_URL", "example.org"), ("BOND_LOG_FORMAT", "xml")];
        let problems = given::<ApiSettings>(&settings).expect_err("problems").to_string();
        for name in [
            "BOND_MAX_STREAMS",
            "BOND_WS_URL",
            "BOND_LOG_FORMAT",
            "REDIS_URL",
            "BOND_TABLE_STREAMS",
            "BOND_TOKEN_KEYS_SECRET",
            "BOND_API_KEYS_SECRET",
        ] {
            assert!(problems.contains(name), "{name} in {problems}");
        }
    }

    #[test]
    fn a_function_asks_for_no_more_than_it_needs() {
        let fanout: FanoutSettings =
            given(&[("BOND_WS_CALLBACK_URL", "https://x.example/v1/")]).expect("settings");
        assert_eq!(fanout.callback_url, "https://x.example/v1");
        assert_eq!(fanout.posts_per_second.get(), 1000);
        let redis = [("REDIS_URL", "rediss://cache:6379"), ("BOND_TABLE_CONNECTIONS", "connections")];
        assert!(given::<DisconnectSettings>(&redis).is_ok());
        assert!(given::<MessageSettings>(&redis).is_err());
    }
}
