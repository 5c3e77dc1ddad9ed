//! Settings from the environment: read once, strictly, with all problems reported at once.

use std::time::Duration;

use bond_core::settings::{Reader, SettingsError, Variables};
use bond_edge::config::Settings;

/// The port of health checks and metrics where none is set.
const PORT: u16 = 8080;

/// How often clients behind API Gateway get a heartbeat where nothing is set: each is a billed message.
const HEARTBEAT_SECONDS: &str = "300";

/// What both processes need.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// The settings that `bond up` has too, under the same names.
    pub(crate) settings: Settings,
    /// `REDIS_URL`: `redis://`, `rediss://`, `redis-cluster://` or `rediss-cluster://`.
    pub(crate) redis_url: String,
    /// `BOND_REDIS_AUTH_SECRET`: name or ARN of the secret whose text is the password.
    pub(crate) redis_auth_secret: Option<String>,
    /// `BOND_TABLE_STREAMS`: the table of the registry.
    pub(crate) streams_table: String,
    /// `BOND_PORT`.
    pub(crate) port: u16,
}

/// What `bond-cloud ingest` needs.
#[derive(Clone, Debug)]
pub(crate) struct IngestSettings {
    pub(crate) common: Common,
    /// `BOND_TABLE_CONNECTIONS`: the table of connections.
    pub(crate) connections_table: String,
    /// `BOND_WS_CALLBACK_URL`: the base of `@connections`, stage included.
    pub(crate) callback_url: String,
    /// `BOND_FANOUT_FUNCTION`: name or ARN of the fan-out function.
    pub(crate) fanout_function: String,
    /// `BOND_DEPLOYMENT`: what metrics are found by.
    pub(crate) deployment: String,
    /// `BOND_API_KEYS_SECRET`: name or ARN of the secret whose text is the file of API keys.
    pub(crate) api_keys_secret: String,
    /// `BOND_KEYS_SECONDS`: how often API keys are read again.
    pub(crate) keys_every: Duration,
    /// `BOND_PROBE_SECONDS`: after how long without a post API Gateway is asked whether a connection is still open.
    pub(crate) probe: Duration,
}

/// What `bond-cloud edge` needs.
#[derive(Clone, Debug)]
pub(crate) struct EdgeSettings {
    pub(crate) common: Common,
    /// `BOND_TOKEN_KEYS_SECRET`: name or ARN of the secret with the keys that sign tokens.
    pub(crate) token_keys_secret: String,
    /// `BOND_API_KEYS_SECRET`: name or ARN of the secret whose text is the file of API keys.
    pub(crate) api_keys_secret: String,
    /// `BOND_KEYS_SECONDS`: how often API keys are read again.
    pub(crate) keys_every: Duration,
}

impl IngestSettings {
    /// Reads the process's environment.
    pub(crate) fn from_env() -> Result<Self, SettingsError> {
        Self::read(&environment)
    }

    fn read(get: Variables<'_>) -> Result<Self, SettingsError> {
        let set = |name: &str| get(name).filter(|text| !text.trim().is_empty());
        let is_unset = set("WS_HEARTBEAT_INTERVAL").is_none();
        let unset =
            |name: &str| (is_unset && name == "BOND_HEARTBEAT_SECONDS").then(|| HEARTBEAT_SECONDS.to_owned());
        let get = |name: &str| set(name).or_else(|| unset(name));
        let mut reader = Reader::new(&get);
        let settings = Self {
            common: Common::take(&mut reader),
            connections_table: reader.required("BOND_TABLE_CONNECTIONS"),
            callback_url: reader.url("BOND_WS_CALLBACK_URL", &["https", "http"]),
            fanout_function: reader.required("BOND_FANOUT_FUNCTION"),
            deployment: reader.text("BOND_DEPLOYMENT").unwrap_or_else(|| "bond".to_owned()),
            api_keys_secret: reader.required("BOND_API_KEYS_SECRET"),
            keys_every: keys_every(&mut reader),
            probe: reader.seconds("BOND_PROBE_SECONDS", 300, 1, 3600),
        };
        reader.finish(settings)
    }
}

impl EdgeSettings {
    /// Reads the process's environment.
    pub(crate) fn from_env() -> Result<Self, SettingsError> {
        let mut reader = Reader::new(&environment);
        let settings = Self {
            common: Common::take(&mut reader),
            token_keys_secret: reader.required("BOND_TOKEN_KEYS_SECRET"),
            api_keys_secret: reader.required("BOND_API_KEYS_SECRET"),
            keys_every: keys_every(&mut reader),
        };
        reader.finish(settings)
    }
}

/// A key that was revoked is noticed within this time, and a second. Each reading is a billed request.
fn keys_every(reader: &mut Reader<'_>) -> Duration {
    reader.seconds("BOND_KEYS_SECONDS", 3, 1, 3600)
}

impl Common {
    fn take(reader: &mut Reader<'_>) -> Self {
        Self {
            settings: Settings::take(reader),
            redis_url: reader.url("REDIS_URL", &bond_redis::SCHEMES),
            redis_auth_secret: reader.text("BOND_REDIS_AUTH_SECRET"),
            streams_table: reader.required("BOND_TABLE_STREAMS"),
            port: own_port(reader),
        }
    }
}

/// The port of a process on this machine.
pub(crate) fn port() -> Result<u16, SettingsError> {
    let mut reader = Reader::new(&environment);
    let port = own_port(&mut reader);
    reader.finish(port)
}

fn own_port(reader: &mut Reader<'_>) -> u16 {
    reader.number("BOND_PORT", PORT, 0, u16::MAX)
}

#[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [(&str, &str); 6] = [
        ("REDIS_URL", "rediss://cache:6379"),
        ("BOND_TABLE_STREAMS", "streams"),
        ("BOND_TABLE_CONNECTIONS", "connections"),
        ("BOND_WS_CALLBACK_URL", "https://example.org/live"),
        ("BOND_FANOUT_FUNCTION", "fanout"),
        ("BOND_API_KEYS_SECRET", "api-keys"),
    ];

    fn ingest(variables: &[(&str, &str)]) -> Result<IngestSettings, SettingsError> {
        let find = |name: &str| {
            let found = variables.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        IngestSettings::read(&find)
    }

    #[test]
    fn heartbeats_are_rare_where_each_is_billed() {
        let common = ingest(&WHOLE).expect("settings").common;
        assert_eq!((common.settings.heartbeat, common.port), (Duration::from_secs(300), 8080));
        for name in ["BOND_HEARTBEAT_SECONDS", "WS_HEARTBEAT_INTERVAL"] {
            let chosen = [&WHOLE[..], &[(name, "60")]].concat();
            assert_eq!(ingest(&chosen).expect(name).common.settings.heartbeat, Duration::from_secs(60));
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let variables = [("BOND_PORT", "http"), ("BOND_MAX_STREAMS", "many"), ("BOND_PROBE_SECONDS", "0")];
        let SettingsError(problems) = ingest(&variables).expect_err("problems");
        assert_eq!(problems.len(), WHOLE.len() + variables.len(), "{problems:?}");
    }
}
