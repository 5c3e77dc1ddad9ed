//! Settings from the environment: read once, strictly, with all problems reported at once.

mod jwt;
mod sockets;

use std::collections::BTreeSet;
use std::time::Duration;

use bond_core::instrument::Symbol;
use bond_core::secret::Secret;
use bond_core::settings::{Reader, SettingsError, Variables};
use bond_core::token::check_secret;
use url::{Host, Url};

pub use self::jwt::{JwksSource, JwtSettings};
pub use self::sockets::SocketSettings;

/// How `bond up` behaves. Each field names the variable it is read from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `BOND_SECRET`: the secret that signs tokens. It may be left out only in open mode.
    pub secret: Option<Secret>,
    /// `BOND_SECRET_PREVIOUS`: the previous secret. Tokens signed with it are still accepted during a rotation.
    pub previous_secret: Option<Secret>,
    /// `BOND_TOKEN_TTL`: how long a token is valid, in seconds.
    pub token_ttl: Duration,
    /// `BOND_LEGACY_TOKENS`: whether tokens of the legacy form are accepted. `None`: only `bond broker` accepts them.
    pub legacy_tokens: Option<bool>,
    /// What is taken as a token for topics.
    pub jwt: JwtSettings,
    /// `BOND_MAX_STREAMS`: streams per owner.
    pub max_streams: usize,
    /// `BOND_REST_PER_SECOND`: how many REST requests per second one owner may make; in a burst, four times as many.
    pub rest_per_second: u32,
    /// `BOND_OPEN_METRICS`: whether `/metrics` needs no key where keys are required.
    pub open_metrics: bool,
    /// `BOND_MAX_CONNECTIONS_PER_ADDRESS`: WebSockets of one address, except on loopback.
    pub connections_per_address: usize,
    /// `BOND_MAX_CONNECTIONS_PER_KEY`: WebSockets opened with one API key.
    pub connections_per_key: usize,
    /// `BOND_MAX_HTTP_PER_ADDRESS`: connections of one address that are not WebSockets yet, except on loopback.
    pub http_per_address: usize,
    /// The most subscriptions to venues at one time.
    pub max_subscriptions: usize,
    /// The most users' own sockets at one time.
    pub max_sockets: usize,
    /// `BOND_RING_SECONDS`: how long events can be replayed.
    pub ring: Duration,
    /// `BOND_TOPIC_TTL`: how long a topic of publishers is kept after it was published to, in seconds.
    pub topic_ttl: Duration,
    /// `BOND_BONDX_PUBSUB`: whether the leader publishes what BondX says on its own channels on the same Redis.
    pub bondx_pubsub: bool,
    /// `BOND_RING_MIB`: the most memory that the log's events take, in MiB.
    pub ring_bytes: usize,
    /// `BOND_MAX_LAG_MS`: how long a window waits for late events.
    pub max_lag: Duration,
    /// `BOND_FEED_SYMBOLS`: the symbols that a feed gets which names none, comma-separated.
    pub feed_symbols: BTreeSet<Symbol>,
    /// `BOND_HEARTBEAT_SECONDS` or `WS_HEARTBEAT_INTERVAL`: how often clients get a heartbeat.
    pub heartbeat: Duration,
    /// The bounds of WebSockets, and how they are watched.
    pub sockets: SocketSettings,
    /// `BOND_BACKOFF_FIRST_MS`: the first wait before connecting to a venue again.
    pub backoff_first: Duration,
    /// `BOND_BACKOFF_MAX_MS`: the longest such wait.
    pub backoff_max: Duration,
    /// `BOND_PATIENCE_PERCENT`: how long venues may be silent or take to answer, in percent of the defaults.
    pub patience_percent: u32,
    /// `BOND_ALLOW_PRIVATE_SOURCES`: whether custom sources may be on private addresses.
    pub allow_private_sources: bool,
    /// `BOND_KEYS_IN_URLS`: whether API keys are accepted in the URLs of feeds.
    pub keys_in_urls: bool,
    /// `WS_HOST`: the beginning of `ws_url`, if it is not the request's host: `name` or `name:port`, or a URL with `ws://` or `wss://` and
    /// optionally a path.
    pub ws_host: Option<String>,
    /// `BOND_LOG`: what is logged: a level, or `target=level` pairs, comma-separated (`info,bond_ingest=debug`).
    pub log_filter: String,
    /// `BOND_LOG_FORMAT`: `text` for people, `json` for machines.
    pub log_json: bool,
}

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`SettingsError`] with every problem there is.
    #[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::read(&|name| std::env::var(name).ok())
    }

    /// Reads settings through `get`.
    ///
    /// # Errors
    /// [`SettingsError`] with every problem there is.
    pub fn read(get: Variables<'_>) -> Result<Self, SettingsError> {
        let mut reader = Reader::new(get);
        let settings = Self::take(&mut reader);
        reader.finish(settings)
    }

    /// Reads settings through `reader`, which collects the problems.
    pub fn take(reader: &mut Reader<'_>) -> Self {
        Self {
            secret: secret(reader, "BOND_SECRET"),
            previous_secret: secret(reader, "BOND_SECRET_PREVIOUS"),
            token_ttl: reader.seconds("BOND_TOKEN_TTL", 3600, 1, 31_536_000),
            legacy_tokens: choosable(reader, "BOND_LEGACY_TOKENS"),
            jwt: JwtSettings::take(reader),
            max_streams: reader.number("BOND_MAX_STREAMS", 5, 1, 100_000),
            rest_per_second: reader.number("BOND_REST_PER_SECOND", 50, 1, 100_000),
            open_metrics: reader.flag("BOND_OPEN_METRICS"),
            connections_per_address: reader.number("BOND_MAX_CONNECTIONS_PER_ADDRESS", 200, 1, 1_000_000),
            connections_per_key: reader.number("BOND_MAX_CONNECTIONS_PER_KEY", 200, 1, 1_000_000),
            http_per_address: reader.number("BOND_MAX_HTTP_PER_ADDRESS", 64, 1, 1_000_000),
            max_subscriptions: reader.number("BOND_MAX_SUBSCRIPTIONS", 20_000, 1, 1_000_000),
            max_sockets: reader.number("BOND_MAX_SOCKETS", 1_000, 0, 100_000),
            ring: reader.seconds("BOND_RING_SECONDS", 60, 1, 86_400),
            topic_ttl: reader.seconds("BOND_TOPIC_TTL", 86_400, 60, 31_536_000),
            ring_bytes: reader.number("BOND_RING_MIB", 512, 1, 1_048_576) << 20,
            max_lag: reader.millis("BOND_MAX_LAG_MS", 250, 1, 60_000),
            feed_symbols: symbols(reader, "BOND_FEED_SYMBOLS", "BTC/USDT,ETH/USDT,SOL/USDT"),
            heartbeat: sockets::heartbeat(reader),
            sockets: SocketSettings::take(reader),
            backoff_first: reader.millis("BOND_BACKOFF_FIRST_MS", 5000, 10, 300_000),
            backoff_max: reader.millis("BOND_BACKOFF_MAX_MS", 300_000, 10, 3_600_000),
            patience_percent: reader.number("BOND_PATIENCE_PERCENT", 100, 1, 10_000),
            bondx_pubsub: reader.flag("BOND_BONDX_PUBSUB"),
            allow_private_sources: reader.flag("BOND_ALLOW_PRIVATE_SOURCES"),
            keys_in_urls: reader.flag("BOND_KEYS_IN_URLS"),
            ws_host: ws_host(reader),
            log_filter: reader.text("BOND_LOG").unwrap_or_else(|| "info".to_owned()),
            log_json: reader.choice("BOND_LOG_FORMAT", ["text", "json"]) == 1,
        }
    }

    /// Whether clients connect by TLS, which a proxy in front of Bond terminates.
    pub fn has_tls(&self) -> bool {
        self.ws_host.as_ref().is_some_and(|host| host.starts_with("wss://"))
    }

    /// Whether clients are told to come to another host than this machine, as where a proxy on it lets them in.
    pub fn serves_outside(&self) -> bool {
        let is_outside = |host: &String| {
            let (_, rest) = host.split_once("://").unwrap_or(("", host));
            Url::parse(&format!("ws://{rest}")).map_or(true, |url| !jwt::is_loopback(&url))
        };
        self.ws_host.as_ref().is_some_and(is_outside)
    }
}

/// A flag that may be unset.
fn choosable(reader: &mut Reader<'_>, name: &str) -> Option<bool> {
    reader.text(name).map(|_| reader.flag(name))
}

fn secret(reader: &mut Reader<'_>, name: &str) -> Option<Secret> {
    let secret = reader.text(name)?;
    if let Err(weak) = check_secret(&secret) {
        reader.problem(format!("{name} {weak}"));
    }
    Some(Secret::new(secret))
}

/// Reads `WS_HOST`. `https` and `http` are replaced by `wss` and `ws`.
fn ws_host(reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text("WS_HOST")?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", &text));
    let scheme = match scheme {
        "wss" | "https" => "wss://",
        "ws" | "http" => "ws://",
        _ => "",
    };
    let known = scheme.is_empty() != text.contains("://");
    if !known || !is_base(rest, !scheme.is_empty()) {
        let forms = "a host as in feed.example, feed.example:8080 or wss://feed.example";
        reader.problem(format!("WS_HOST must be {forms}: {text}"));
    }
    Some(format!("{scheme}{}", rest.trim_end_matches('/')))
}

/// Whether `text` is a host, optionally with a port, and with a path if it `may_have` one.
fn is_base(text: &str, may_have: bool) -> bool {
    let Ok(url) = Url::parse(&format!("ws://{text}")) else { return false };
    let is_plain = url.username().is_empty() && url.password().is_none() && !text.contains(['?', '#', '@']);
    let is_host = matches!(url.host(), Some(Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_)));
    is_plain && is_host && (may_have || !text.contains('/'))
}

fn symbols(reader: &mut Reader<'_>, name: &str, default: &str) -> BTreeSet<Symbol> {
    let text = reader.text(name).unwrap_or_else(|| default.to_owned());
    let mut symbols = BTreeSet::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        match Symbol::parse(part) {
            Ok(symbol) => drop(symbols.insert(symbol)),
            Err(error) => reader.problem(format!("{name}: {error}")),
        }
    }
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        Settings::read(&|name| {
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
    fn a_secret_that_can_be_guessed_is_refused_whichever_it_is() {
        for name in ["BOND_SECRET", "BOND_SECRET_PREVIOUS"] {
            for (secret, named) in [
                ("tiny", "shorter than 32 bytes"),
                ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "fewer than 12 different bytes"),
                ("bond-development-secret-for-loopback-only", "was published"),
            ] {
                let refused = read(&[(name, secret)]).expect_err(secret).to_string();
                assert!(refused.contains(name) && refused.contains(named), "{refused}");
                assert!(!refused.contains(secret), "{refused}");
            }
        }
    }

    #[test]
    fn the_host_of_clients_is_read_with_and_without_a_scheme() {
        for (text, host, has_tls) in [
            ("feed.example", "feed.example", false),
            ("feed.example:8080", "feed.example:8080", false),
            ("[2001:db8::1]:8080", "[2001:db8::1]:8080", false),
            ("ws://feed.example", "ws://feed.example", false),
            ("http://feed.example/", "ws://feed.example", false),
            ("wss://feed.example/bond/", "wss://feed.example/bond", true),
            ("https://feed.example:8443", "wss://feed.example:8443", true),
        ] {
            let settings = read(&[("WS_HOST", text)]).expect(text);
            assert_eq!((settings.ws_host.as_deref(), settings.has_tls()), (Some(host), has_tls), "{text}");
            assert!(settings.serves_outside(), "{text}");
        }
        for text in ["localhost", "127.0.0.1:8080", "ws://[::1]:8080", "wss://localhost/bond"] {
            assert!(!read(&[("WS_HOST", text)]).expect(text).serves_outside(), "{text}");
        }
        for text in
            ["ftp://feed.example", "://x", "wss://", "feed.example/path", "user@feed.example", "a b", "x?y=1"]
        {
            let refused = read(&[("WS_HOST", text)]).expect_err(text).to_string();
            assert!(refused.contains("WS_HOST"), "{refused}");
        }
    }
}
