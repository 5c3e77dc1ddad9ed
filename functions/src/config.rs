//! Settings from the environment: read once, strictly, each function only what it needs, all problems reported at once.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "settings cannot be used:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for ConfigError {}

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
/// [`ConfigError`] with every problem there is.
#[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
pub fn from_env<T: Settings>() -> Result<T, ConfigError> {
    read(&|name| std::env::var(name).ok())
}

/// Reads the settings of one function through `get`.
///
/// # Errors
/// [`ConfigError`] with every problem there is.
pub fn read<T: Settings>(get: &dyn Fn(&str) -> Option<String>) -> Result<T, ConfigError> {
    let mut reader = Reader { get, problems: Vec::new() };
    let settings = T::read(&mut reader);
    if reader.problems.is_empty() { Ok(settings) } else { Err(ConfigError(reader.problems)) }
}

/// The settings of one function.
pub trait Settings: Sized {
    /// Takes them from a reader, which notes what is wrong.
    fn read(reader: &mut Reader<'_>) -> Self;
}

impl Settings for ApiSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            common: reader.common(),
            redis: reader.redis(),
            keys: reader.keys(),
            streams_table: reader.required("BOND_TABLE_STREAMS"),
            ws_url: reader.url("BOND_WS_URL", &["wss://", "ws://"]),
            token_ttl: Duration::from_secs(reader.number("BOND_TOKEN_TTL", 3600, 1, 31_536_000)),
            max_streams: reader.number("BOND_MAX_STREAMS", 5, 1, 100_000),
            allow_private_sources: reader.flag("BOND_ALLOW_PRIVATE_SOURCES"),
        }
    }
}

impl Settings for ConnectSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            common: reader.common(),
            redis: reader.redis(),
            keys: reader.keys(),
            streams_table: reader.required("BOND_TABLE_STREAMS"),
            connections_table: reader.required("BOND_TABLE_CONNECTIONS"),
        }
    }
}

impl Settings for MessageSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            common: reader.common(),
            redis: reader.redis(),
            keys: reader.keys(),
            connections_table: reader.required("BOND_TABLE_CONNECTIONS"),
        }
    }
}

impl Settings for DisconnectSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            common: reader.common(),
            redis: reader.redis(),
            connections_table: reader.required("BOND_TABLE_CONNECTIONS"),
        }
    }
}

impl Settings for FanoutSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        let posts = reader.number("BOND_POSTS_PER_SECOND", 1000, 1, 1_000_000);
        Self {
            common: reader.common(),
            callback_url: reader.url("BOND_WS_CALLBACK_URL", &["https://", "http://"]),
            posts_per_second: NonZeroU32::new(posts).unwrap_or(NonZeroU32::MIN),
        }
    }
}

/// Reads variables and gathers what is wrong with them.
pub struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn required(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.problems.push(format!("{name} is not set"));
            String::new()
        })
    }

    fn url(&mut self, name: &str, schemes: &[&str]) -> String {
        let url = self.required(name);
        if !url.is_empty() && !schemes.iter().any(|scheme| url.starts_with(scheme)) {
            self.problems.push(format!("{name} must begin with {}: {url}", schemes.join(" or ")));
        }
        url.trim_end_matches('/').to_owned()
    }

    fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        name: &str,
        default: T,
        least: T,
        most: T,
    ) -> T {
        let Some(text) = self.text(name) else { return default };
        match text.parse::<T>() {
            Ok(value) if value >= least && value <= most => value,
            _ => {
                self.problems.push(format!("{name} must be a number from {least} to {most}: {text}"));
                default
            }
        }
    }

    fn choice<const N: usize>(&mut self, name: &str, names: [&str; N]) -> usize {
        let Some(text) = self.text(name) else { return 0 };
        names.iter().position(|known| known.eq_ignore_ascii_case(&text)).unwrap_or_else(|| {
            self.problems.push(format!("{name} must be one of {}: {text}", names.join(", ")));
            0
        })
    }

    fn flag(&mut self, name: &str) -> bool {
        self.choice(name, ["false", "true"]) == 1
    }

    fn common(&mut self) -> Common {
        let filter = self.text("BOND_LOG").unwrap_or_else(|| "info".to_owned());
        let json = self.choice("BOND_LOG_FORMAT", ["json", "text"]) == 0;
        let deployment = self.text("BOND_DEPLOYMENT").unwrap_or_else(|| "bond".to_owned());
        Common { log: LogSettings { filter, json }, deployment }
    }

    fn redis(&mut self) -> RedisSettings {
        let schemes = ["redis://", "rediss://", "redis-cluster://", "rediss-cluster://"];
        let url = self.url("REDIS_URL", &schemes);
        RedisSettings { url, auth_secret: self.text("BOND_REDIS_AUTH_SECRET") }
    }

    fn keys(&mut self) -> KeySettings {
        KeySettings {
            token_keys_secret: self.required("BOND_TOKEN_KEYS_SECRET"),
            api_keys_secret: self.required("BOND_API_KEYS_SECRET"),
            legacy_tokens: self.flag("BOND_LEGACY_TOKENS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given<T: Settings>(variables: &[(&str, &str)]) -> Result<T, ConfigError> {
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
