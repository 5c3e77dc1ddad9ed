//! Reading a stream on a connection that waits for it.

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::ClientLike;
use fred::types::Value;
use fred::types::config::Options;
use tokio::time::Duration;

use crate::client::{COMMAND_TIMEOUT, Verb, call, millis};

const READ: Verb = Verb::waiting("XREAD", 5);

/// How long a read waits on the server. It must be less than the time after which a connection counts as dead.
const WAIT: Duration = Duration::from_secs(1);

/// Up to `count` entries of the stream `key` after the id `after`; none where none come for a second.
pub(crate) async fn read_after(
    client: &Client,
    key: &'static str,
    after: &str,
    count: i64,
) -> Result<Vec<Value>, Error> {
    let options = Options { timeout: Some(WAIT + COMMAND_TIMEOUT), fail_fast: true, ..Options::default() };
    let args = vec![
        "COUNT".into(),
        count.into(),
        "BLOCK".into(),
        i64::from(millis(WAIT)).into(),
        "STREAMS".into(),
        key.into(),
        after.into(),
    ];
    Ok(entries(call(&client.with_options(&options), READ, args).await?))
}

/// The entries of the one stream in an answer of XREAD.
fn entries(found: Value) -> Vec<Value> {
    let stream = match found {
        Value::Array(streams) => streams.into_iter().next(),
        Value::Map(streams) => {
            return streams.inner().into_values().next().map(Value::into_array).unwrap_or_default();
        }
        _ => None,
    };
    let Some(Value::Array(parts)) = stream else { return Vec::new() };
    parts.into_iter().nth(1).map(Value::into_array).unwrap_or_default()
}

/// The id of an entry.
pub(crate) fn id(entry: &Value) -> Option<String> {
    let Value::Array(parts) = entry else { return None };
    parts.first()?.as_string()
}

/// The fields of an entry, as they were added.
pub(crate) fn fields(entry: Value) -> Vec<(String, String)> {
    let Value::Array(parts) = entry else { return Vec::new() };
    let mut fields = parts.into_iter().nth(1).map(Value::into_array).unwrap_or_default().into_iter();
    let mut pairs = Vec::new();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        pairs.push((name.as_string().unwrap_or_default(), value.as_string().unwrap_or_default()));
    }
    pairs
}
