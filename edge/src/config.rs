//! Settings from the environment: read once, strictly, with all problems reported at once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use bond_core::instrument::Symbol;

/// The secret used on loopback when none is set. Anything else refuses to start with it.
pub const DEVELOPMENT_SECRET: &str = "bond-development-secret-for-loopback-only";

/// The shortest secret taken, in bytes.
const SECRET_BYTES: usize = 32;

/// A secret text that does not show in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for signing.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How `bond up` behaves. Each field names the variable it is read from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `BOND_SECRET`: signs tokens. Left out, the development secret is used, on loopback alone.
    pub secret: Option<Secret>,
    /// `BOND_SECRET_PREVIOUS`: signed tokens that are still to be taken, during a rotation.
    pub previous_secret: Option<Secret>,
    /// `BOND_TOKEN_TTL`: how long a token is good, in seconds.
    pub token_ttl: Duration,
    /// `BOND_LEGACY_TOKENS`: whether tokens of the legacy form are taken. Left out: by `bond broker` alone.
    pub legacy_tokens: Option<bool>,
    /// `BOND_MAX_STREAMS`: streams per owner.
    pub max_streams: usize,
    /// `BOND_RING_SECONDS`: how long events can be replayed.
    pub ring: Duration,
    /// `BOND_RING_MIB`: the most memory that the log's events take, in MiB.
    pub ring_bytes: usize,
    /// `BOND_MAX_LAG_MS`: how long a window waits for late events.
    pub max_lag: Duration,
    /// `BOND_FEED_SYMBOLS`: what `*` makes run, comma-separated.
    pub feed_symbols: BTreeSet<Symbol>,
    /// `BOND_HEARTBEAT_SECONDS`: how often clients get a heartbeat.
    pub heartbeat: Duration,
    /// `BOND_BACKOFF_FIRST_MS`: the first wait before a venue is reached again.
    pub backoff_first: Duration,
    /// `BOND_BACKOFF_MAX_MS`: the longest such wait.
    pub backoff_max: Duration,
    /// `BOND_PATIENCE_PERCENT`: how long venues may be silent or leave us without an answer, in percent of what each is granted.
    pub patience_percent: u32,
    /// `BOND_ALLOW_PRIVATE_SOURCES`: whether custom sources may be on private addresses.
    pub allow_private_sources: bool,
    /// `WS_HOST`: the host name in `ws_url`, where it is not that of the request.
    pub ws_host: Option<String>,
    /// `BOND_LOG`: what is logged: a level, or `target=level` pairs, comma-separated (`info,bond_ingest=debug`).
    pub log_filter: String,
    /// `BOND_LOG_FORMAT`: `text` for people, `json` for machines.
    pub log_json: bool,
}

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

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem there is.
    #[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads settings through `get`.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem there is.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader { get, problems: Vec::new() };
        let settings = Self {
            secret: reader.secret("BOND_SECRET"),
            previous_secret: reader.secret("BOND_SECRET_PREVIOUS"),
            token_ttl: reader.seconds("BOND_TOKEN_TTL", 3600, 1, 31_536_000),
            legacy_tokens: reader.choosable("BOND_LEGACY_TOKENS"),
            max_streams: reader.number("BOND_MAX_STREAMS", 5, 1, 100_000),
            ring: reader.seconds("BOND_RING_SECONDS", 60, 1, 86_400),
            ring_bytes: reader.number("BOND_RING_MIB", 512, 1, 1_048_576) << 20,
            max_lag: reader.millis("BOND_MAX_LAG_MS", 250, 1, 60_000),
            feed_symbols: reader.symbols("BOND_FEED_SYMBOLS", "BTC/USDT,ETH/USDT,SOL/USDT"),
            heartbeat: reader.seconds("BOND_HEARTBEAT_SECONDS", 30, 1, 3600),
            backoff_first: reader.millis("BOND_BACKOFF_FIRST_MS", 5000, 10, 300_000),
            backoff_max: reader.millis("BOND_BACKOFF_MAX_MS", 300_000, 10, 3_600_000),
            patience_percent: reader.number("BOND_PATIENCE_PERCENT", 100, 1, 10_000),
            allow_private_sources: reader.flag("BOND_ALLOW_PRIVATE_SOURCES"),
            ws_host: reader.text("WS_HOST"),
            log_filter: reader.text("BOND_LOG").unwrap_or_else(|| "info".to_owned()),
            log_json: reader.choice("BOND_LOG_FORMAT", ["text", "json"]) == 1,
        };
        reader.refuse_redis();
        if reader.problems.is_empty() { Ok(settings) } else { Err(ConfigError(reader.problems)) }
    }

    /// The secret to sign with when listening on `bind`.
    ///
    /// # Errors
    /// [`ConfigError`] where none is set and `bind` is not loopback.
    pub fn signing_secret(&self, bind: IpAddr) -> Result<Secret, ConfigError> {
        match &self.secret {
            Some(secret) => Ok(secret.clone()),
            None if bind.is_loopback() => Ok(Secret::new(DEVELOPMENT_SECRET.to_owned())),
            None => Err(ConfigError(vec![format!(
                "BOND_SECRET is not set, and the development secret works on loopback only, not on {bind}: \
                 set BOND_SECRET to at least {SECRET_BYTES} random bytes, such as the output of `openssl rand -hex 32`"
            )])),
        }
    }
}

/// Reads variables and gathers what is wrong with them.
struct Reader<G> {
    get: G,
    problems: Vec<String>,
}

impl<G: Fn(&str) -> Option<String>> Reader<G> {
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
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

    fn seconds(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_secs(self.number(name, default, least, most))
    }

    fn millis(&mut self, name: &str, default: u64, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.number(name, default, least, most))
    }

    fn choice<const N: usize>(&mut self, name: &str, names: [&str; N]) -> usize {
        let Some(text) = self.text(name) else { return 0 };
        names.iter().position(|known| known.eq_ignore_ascii_case(&text)).unwrap_or_else(|| {
            self.problems.push(format!("{name} must be one of {}: {text}", names.join(", ")));
            0
        })
    }

    /// A flag that may be left open.
    fn choosable(&mut self, name: &str) -> Option<bool> {
        self.text(name).map(|_| self.flag(name))
    }

    fn flag(&mut self, name: &str) -> bool {
        self.choice(name, ["false", "true"]) == 1
    }

    fn secret(&mut self, name: &str) -> Option<Secret> {
        let secret = self.text(name)?;
        if secret.len() < SECRET_BYTES {
            self.problems
                .push(format!("{name} is shorter than {SECRET_BYTES} bytes: use `openssl rand -hex 32`"));
        }
        Some(Secret::new(secret))
    }

    fn symbols(&mut self, name: &str, default: &str) -> BTreeSet<Symbol> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        let mut symbols = BTreeSet::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match Symbol::parse(part) {
                Ok(symbol) => drop(symbols.insert(symbol)),
                Err(error) => self.problems.push(format!("{name}: {error}")),
            }
        }
        symbols
    }

    fn refuse_redis(&mut self) {
        if self.text("REDIS_URL").is_some() {
            self.problems
                .push("REDIS_URL is set, but this version keeps its log in memory only: unset it".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        Settings::read(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        let settings = read(&[]).expect("defaults");
        assert_eq!(settings.token_ttl, Duration::from_secs(3600));
        assert_eq!((settings.max_streams, settings.ring.as_secs()), (5, 60));
        assert_eq!(settings.feed_symbols.len(), 3);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let problems =
            read(&[("BOND_MAX_STREAMS", "many"), ("BOND_SECRET", "short"), ("BOND_LOG_FORMAT", "xml")])
                .expect_err("three problems")
                .0;
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().all(|problem| problem.contains("BOND_")));
    }

    #[test]
    fn secrets_do_not_show() {
        let settings = read(&[("BOND_SECRET", "0123456789abcdef0123456789abcdef")]).expect("settings");
        assert!(!format!("{settings:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn the_development_secret_works_on_loopback_only() {
        let settings = read(&[]).expect("defaults");
        assert!(settings.signing_secret("127.0.0.1".parse().expect("address")).is_ok());
        assert!(settings.signing_secret("0.0.0.0".parse().expect("address")).is_err());
    }
}
