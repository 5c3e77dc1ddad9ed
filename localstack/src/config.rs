//! What the simulator runs: functions, routes and limits, from one JSON file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::throttle::Limits;
use crate::websocket::template;

/// What a function's environment values are searched for: it is replaced by the simulator's base URL.
pub const GATEWAY_PLACEHOLDER: &str = "${GATEWAY}";

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The WebSocket API's stage: its path is `/{stage}`.
    pub stage: String,
    /// The functions by name.
    pub functions: BTreeMap<String, FunctionConfig>,
    /// Which function a WebSocket route goes to, by route key.
    #[serde(default)]
    pub routes: BTreeMap<String, String>,
    /// Routes with a MOCK integration: the template of the reply, by route key.
    #[serde(default)]
    pub mock_routes: BTreeMap<String, String>,
    /// Routes with a route response: only their functions' replies reach the client.
    #[serde(default)]
    pub route_responses: Vec<String>,
    /// Which member of a message names its route: `$request.body.{path}`.
    #[serde(default = "Config::default_selection")]
    pub route_selection_expression: String,
    /// The function behind the HTTP API's `$default` route.
    #[serde(default)]
    pub http: Option<String>,
    /// How long each post to a connection takes, in milliseconds.
    #[serde(default)]
    pub post_ms: u64,
    /// The account's quota of `@connections` requests per second; none: unlimited.
    #[serde(default)]
    pub account_posts_per_second: Option<u32>,
    /// How much each route takes.
    #[serde(default)]
    pub throttles: Limits,
    /// What faults are drawn from.
    #[serde(default)]
    pub seed: u64,
}

/// One function.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionConfig {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its environment, besides what Lambda sets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// How long an invocation may take, in milliseconds; Lambda's default is 3 s and its most 15 min.
    #[serde(default = "FunctionConfig::default_timeout_ms")]
    pub timeout_ms: u64,
    /// How many invocations may run at once (reserved concurrency).
    #[serde(default = "FunctionConfig::default_concurrency")]
    pub concurrency: usize,
    /// Told to the function; not enforced.
    #[serde(default = "FunctionConfig::default_memory_mb")]
    pub memory_mb: u32,
}

impl FunctionConfig {
    fn default_timeout_ms() -> u64 {
        3000
    }

    fn default_concurrency() -> usize {
        10
    }

    fn default_memory_mb() -> u32 {
        128
    }

    /// How long an invocation may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// What is wrong with it, each problem beginning with `name`.
    pub(crate) fn problems(&self, name: &str) -> Vec<String> {
        let rules = [
            (self.command.is_empty(), "command is empty"),
            (!(1..=900_000).contains(&self.timeout_ms), "timeout_ms is not within 1 and 900000"),
            (self.concurrency == 0, "concurrency is 0"),
            (!(128..=10_240).contains(&self.memory_mb), "memory_mb is not within 128 and 10240"),
        ];
        rules
            .iter()
            .filter(|(broken, _)| *broken)
            .map(|(_, what)| format!("function {name}: {what}"))
            .collect()
    }
}

impl Config {
    fn default_selection() -> String {
        "$request.body.type".to_owned()
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// The file cannot be read or parsed, or what it says is not coherent; then all problems are reported at once.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("configuration cannot be read: {}", path.display()))?;
        let config: Self = serde_json::from_str(&text)
            .with_context(|| format!("configuration cannot be parsed: {}", path.display()))?;
        let problems = config.problems();
        ensure!(problems.is_empty(), "configuration is not coherent:\n  {}", problems.join("\n  "));
        Ok(config)
    }

    fn problems(&self) -> Vec<String> {
        let functions = self.functions.iter().flat_map(|(name, function)| function.problems(name));
        functions.chain(self.unknown_functions()).chain(self.route_problems()).collect()
    }

    fn unknown_functions(&self) -> impl Iterator<Item = String> {
        self.routes
            .values()
            .chain(&self.http)
            .filter(|name| !self.functions.contains_key(*name))
            .map(|name| format!("no such function: {name}"))
    }

    fn route_problems(&self) -> impl Iterator<Item = String> {
        let stage = (self.stage.is_empty() || self.stage.contains('/'))
            .then(|| format!("stage is not one path segment: {}", self.stage));
        let selection = (!self.route_selection_expression.starts_with("$request.body.")).then(|| {
            format!(
                "route_selection_expression does not begin with $request.body.: {}",
                self.route_selection_expression
            )
        });
        let twice = self.mock_routes.keys().filter(|key| self.routes.contains_key(*key));
        let twice = twice.map(|key| format!("route has two integrations: {key}"));
        let templates = self.mock_routes.iter().flat_map(|(key, text)| {
            template::unknown_variables(text)
                .map(move |name| format!("route {key}: unknown variable in template: {name}"))
        });
        stage.into_iter().chain(selection).chain(twice).chain(templates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_coherent_configuration_has_no_problems() {
        let config = parse(
            r#"{"stage": "v1", "functions": {"f": {"command": ["/bin/f"]}}, "routes": {"$connect": "f"},
                "mock_routes": {"ping": "{\"at\":$context.requestTimeEpoch}"}, "http": "f"}"#,
        );
        assert_eq!(config.problems(), Vec::<String>::new());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let config = parse(
            r#"{"stage": "a/b", "functions": {"f": {"command": [], "concurrency": 0}}, "routes": {"$connect": "g", "ping": "f"},
                "mock_routes": {"ping": "$context.weather"}, "http": "h", "route_selection_expression": "$.type"}"#,
        );
        assert_eq!(
            config.problems(),
            [
                "function f: command is empty",
                "function f: concurrency is 0",
                "no such function: g",
                "no such function: h",
                "stage is not one path segment: a/b",
                "route_selection_expression does not begin with $request.body.: $.type",
                "route has two integrations: ping",
                "route ping: unknown variable in template: $context.weather",
            ]
        );
    }

    #[test]
    fn a_misspelt_member_is_refused() {
        let text = r#"{"stage": "v1", "functions": {}, "post_mss": 10}"#;
        assert!(serde_json::from_str::<Config>(text).is_err());
    }
}
