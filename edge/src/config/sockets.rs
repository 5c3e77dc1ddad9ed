//! The bounds of WebSockets, and how they are watched: the settings that BondX has under these names.

use std::time::Duration;

use bond_core::settings::Reader;

use crate::alerts::Thresholds;

/// The two names of one setting.
const HEARTBEAT: [&str; 2] = ["BOND_HEARTBEAT_SECONDS", "WS_HEARTBEAT_INTERVAL"];

/// Of how many ping intervals the silence is made after which a client is taken for gone.
const SILENCES: u32 = 3;

/// The bounds of WebSockets. Each field names the variable it is read from.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// `WS_MAX_CONNECTIONS`: the most WebSockets of the process.
    pub connections: usize,
    /// `WS_CONNECTION_TIMEOUT`: how long a client may give no sign of life, in seconds.
    pub timeout: Duration,
    /// `WS_MAX_QUEUE_SIZE`: how many events of a published topic a client may lag behind.
    pub queue: u64,
    /// `PROMETHEUS_PORT`: a port that answers with the metrics, whatever the path. 0 takes a free one; `None`: there is none.
    pub prometheus_port: Option<u16>,
    /// `ALERT_THRESHOLDS_JSON`: the bounds beyond which an alert is raised.
    pub thresholds: Thresholds,
}

impl SocketSettings {
    /// Takes settings from a reader, which notes what is wrong.
    pub(super) fn take(reader: &mut Reader<'_>) -> Self {
        let has_port = reader.text("PROMETHEUS_PORT").is_some();
        let port = reader.number("PROMETHEUS_PORT", 0, 0, u16::MAX);
        Self {
            connections: reader.number("WS_MAX_CONNECTIONS", 100_000, 1, 10_000_000),
            timeout: reader.seconds("WS_CONNECTION_TIMEOUT", 90, 3, 86_400),
            queue: reader.number("WS_MAX_QUEUE_SIZE", 1_000, 1, 1_000_000),
            prometheus_port: has_port.then_some(port),
            thresholds: thresholds(reader),
        }
    }

    /// How long a client may be silent before it is sent a ping.
    pub fn silence(&self) -> Duration {
        self.timeout / SILENCES
    }
}

/// How often clients get a heartbeat, by either of its names.
pub(super) fn heartbeat(reader: &mut Reader<'_>) -> Duration {
    let [ours, theirs] = HEARTBEAT;
    let both = HEARTBEAT.map(|name| reader.text(name));
    if let [Some(ours), Some(theirs)] = &both
        && ours != theirs
    {
        let [one, other] = HEARTBEAT;
        reader.problem(format!("{one} and {other} are the same setting: leave one out: {ours}, {theirs}"));
    }
    let [seconds, theirs_seconds] = [ours, theirs].map(|name| reader.seconds(name, 30, 1, 3600));
    if both[0].is_some() { seconds } else { theirs_seconds }
}

fn thresholds(reader: &mut Reader<'_>) -> Thresholds {
    let Some(text) = reader.text("ALERT_THRESHOLDS_JSON") else { return Thresholds::default() };
    Thresholds::parse(&text).unwrap_or_else(|problems| {
        problems.into_iter().for_each(|problem| reader.problem(problem));
        Thresholds::default()
    })
}

#[cfg(test)]
mod tests {
    use bond_core::settings::SettingsError;

    use super::*;
    use crate::config::Settings;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::read(&get)
    }

    #[test]
    fn the_names_of_bondx_work() {
        let unset = read(&[]).expect("settings");
        assert_eq!((unset.sockets.connections, unset.sockets.queue), (100_000, 1_000));
        assert_eq!(
            (unset.heartbeat, unset.sockets.silence()),
            (Duration::from_secs(30), Duration::from_secs(30))
        );
        assert_eq!((unset.sockets.prometheus_port, unset.sockets.thresholds), (None, Thresholds::default()));
        let set = read(&[
            ("WS_MAX_CONNECTIONS", "1000"),
            ("WS_HEARTBEAT_INTERVAL", "15"),
            ("WS_CONNECTION_TIMEOUT", "45"),
            ("WS_MAX_QUEUE_SIZE", "50"),
            ("PROMETHEUS_PORT", "8001"),
            ("ALERT_THRESHOLDS_JSON", r#"{"max_latency_p95":0.2}"#),
        ])
        .expect("settings");
        assert_eq!((set.sockets.connections, set.sockets.queue), (1000, 50));
        assert_eq!(
            (set.heartbeat, set.sockets.silence()),
            (Duration::from_secs(15), Duration::from_secs(15))
        );
        assert_eq!(set.sockets.prometheus_port, Some(8001));
        assert_eq!(set.sockets.thresholds, Thresholds { latency_p95: 0.2, ..Thresholds::default() });
    }

    #[test]
    fn the_heartbeat_has_two_names_that_must_agree() {
        let heartbeat = |ours, theirs| {
            read(&[("BOND_HEARTBEAT_SECONDS", ours), ("WS_HEARTBEAT_INTERVAL", theirs)])
                .map(|settings| settings.heartbeat.as_secs())
        };
        assert_eq!(heartbeat("10", "10").ok(), Some(10));
        assert_eq!([heartbeat("10", "").ok(), heartbeat("", "20").ok()], [Some(10), Some(20)]);
        let refused = heartbeat("10", "20").expect_err("contradictory").to_string();
        assert!(refused.contains("BOND_HEARTBEAT_SECONDS and WS_HEARTBEAT_INTERVAL"), "{refused}");
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let SettingsError(problems) = read(&[
            ("WS_MAX_CONNECTIONS", "0"),
            ("WS_HEARTBEAT_INTERVAL", "never"),
            ("WS_CONNECTION_TIMEOUT", "1"),
            ("WS_MAX_QUEUE_SIZE", "-1"),
            ("PROMETHEUS_PORT", "http"),
            ("ALERT_THRESHOLDS_JSON", r#"{"max_error_rate":2,"unknown":1}"#),
        ])
        .expect_err("problems");
        assert_eq!(problems.len(), 7, "{problems:?}");
        for (problem, name) in problems.iter().zip(["WS_HEARTBEAT_INTERVAL", "PROMETHEUS_PORT"]) {
            assert!(problem.contains(name), "{problems:?}");
        }
    }
}
