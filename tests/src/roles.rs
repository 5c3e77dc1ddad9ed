//! The users of Redis that `iac` deploys, on a Redis of tests: who needs more than it is given fails here as there.

use serde_json::{Map, Value};

/// Which user each process is: functions, and the processes of `bond-cloud`.
const USERS: [(&str, &str); 6] = [
    ("api", "api"),
    ("ws_connect", "functions"),
    ("ws_disconnect", "functions"),
    ("ws_message", "functions"),
    ("ingest", "ingest"),
    ("edge", "edge"),
];

/// The arguments of `redis-server` that make the users, each with its name for a password.
pub(crate) fn arguments() -> Vec<String> {
    let access: Map<String, Value> =
        serde_json::from_str(include_str!("../../iac/lib/redis-access.json")).unwrap_or_default();
    let user = |(name, rules): (&String, &Value)| {
        let mut words = vec!["--user".to_owned(), name.clone(), format!(">{name}")];
        words.extend(rules.as_str().unwrap_or_default().split(' ').map(str::to_owned));
        words
    };
    access.iter().flat_map(user).collect()
}

/// The URL of a Redis as the process of this name is given it; as it is for one that is not given any.
pub(crate) fn url(url: &str, process: &str) -> String {
    let user = USERS.iter().find(|(name, _)| *name == process).map(|(_, user)| *user);
    user.map_or_else(|| url.to_owned(), |user| url.replacen("://", &format!("://{user}:{user}@"), 1))
}
