//! Settings from the environment: read once, strictly, with all problems reported at once.

use std::time::Duration;

use bond_edge::config::{ConfigError, Settings};

/// The port of health checks and metrics where none is set.
const PORT: u16 = 8080;

/// How often clients behind API Gateway get a heartbeat where nothing is set: each is a billed message.
const HEARTBEAT_SECONDS: &str = "300";

/// After how many seconds without a post API Gateway is asked whether a connection is still open, where nothing is set.
const PROBE_SECONDS: u64 = 300;

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
}

impl IngestSettings {
    /// Reads the process's environment.
    pub(crate) fn from_env() -> Result<Self, ConfigError> {
        Self::read(&environment)
    }

    fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(get);
        let connections_table = reader.needed("BOND_TABLE_CONNECTIONS");
        let callback_url = reader.needed("BOND_WS_CALLBACK_URL");
        let fanout_function = reader.needed("BOND_FANOUT_FUNCTION");
        let deployment = reader.text("BOND_DEPLOYMENT").unwrap_or_else(|| "bond".to_owned());
        let probe = reader.probe();
        let common = reader.common(Some(HEARTBEAT_SECONDS))?;
        Ok(Self { common, connections_table, callback_url, fanout_function, deployment, probe })
    }
}

impl EdgeSettings {
    /// Reads the process's environment.
    pub(crate) fn from_env() -> Result<Self, ConfigError> {
        Self::read(&environment)
    }

    fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(get);
        let token_keys_secret = reader.needed("BOND_TOKEN_KEYS_SECRET");
        let api_keys_secret = reader.needed("BOND_API_KEYS_SECRET");
        let common = reader.common(None)?;
        Ok(Self { common, token_keys_secret, api_keys_secret })
    }
}

/// The port of a process on this machine.
pub(crate) fn port() -> Result<u16, ConfigError> {
    let mut reader = Reader::new(&environment);
    let port = reader.port();
    if reader.problems.is_empty() { Ok(port) } else { Err(ConfigError(reader.problems)) }
}

#[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads variables and gathers what is wrong with them.
struct Reader<'g> {
    get: &'g dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl<'g> Reader<'g> {
    const fn new(get: &'g dyn Fn(&str) -> Option<String>) -> Self {
        Self { get, problems: Vec::new() }
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|text| !text.is_empty())
    }

    fn needed(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.problems.push(format!("{name} is not set"));
            String::new()
        })
    }

    fn port(&mut self) -> u16 {
        let Some(text) = self.text("BOND_PORT") else { return PORT };
        text.parse().unwrap_or_else(|_| {
            self.problems.push(format!("BOND_PORT must be a port: {text}"));
            PORT
        })
    }

    fn probe(&mut self) -> Duration {
        let seconds = self.text("BOND_PROBE_SECONDS").map_or(Ok(PROBE_SECONDS), |text| text.parse());
        let seconds = seconds.ok().filter(|seconds| (1..=3600).contains(seconds)).unwrap_or_else(|| {
            self.problems.push("BOND_PROBE_SECONDS must be a number of seconds from 1 to 3600".to_owned());
            PROBE_SECONDS
        });
        Duration::from_secs(seconds)
    }

    /// What both processes need, or everything that is wrong.
    fn common(mut self, heartbeat: Option<&str>) -> Result<Common, ConfigError> {
        let redis_url = self.needed("REDIS_URL");
        let streams_table = self.needed("BOND_TABLE_STREAMS");
        let (redis_auth_secret, port) = (self.text("BOND_REDIS_AUTH_SECRET"), self.port());
        let unset = |name: &str| heartbeat.filter(|_| name == "BOND_HEARTBEAT_SECONDS").map(str::to_owned);
        let settings = Settings::read(|name| self.text(name).or_else(|| unset(name)));
        match settings {
            Ok(settings) if self.problems.is_empty() => {
                Ok(Common { settings, redis_url, redis_auth_secret, streams_table, port })
            }
            Ok(_) => Err(ConfigError(self.problems)),
            Err(ConfigError(others)) => Err(ConfigError(self.problems.into_iter().chain(others).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [(&str, &str); 5] = [
        ("REDIS_URL", "rediss://cache:6379"),
        ("BOND_TABLE_STREAMS", "streams"),
        ("BOND_TABLE_CONNECTIONS", "connections"),
        ("BOND_WS_CALLBACK_URL", "https://example.org/live"),
        ("BOND_FANOUT_FUNCTION", "fanout"),
    ];

    fn ingest(variables: &[(&str, &str)]) -> Result<IngestSettings, ConfigError> {
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
        let chosen = [&WHOLE[..], &[("BOND_HEARTBEAT_SECONDS", "60")]].concat();
        assert_eq!(ingest(&chosen).expect("settings").common.settings.heartbeat, Duration::from_secs(60));
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let variables = [("BOND_PORT", "http"), ("BOND_MAX_STREAMS", "many"), ("BOND_PROBE_SECONDS", "0")];
        let ConfigError(problems) = ingest(&variables).expect_err("problems");
        assert_eq!(problems.len(), WHOLE.len() + variables.len(), "{problems:?}");
    }
}
