//! What was refused, for those who sent it to look up.

use fred::error::Error;
use fred::types::Value;
use metrics::counter;

use crate::client::{Redis, Verb};

const KEY: &str = "bond:publish:rejected";

const ADD: Verb = Verb::new("XADD", 0);

/// How many are kept.
const KEPT: &str = "1000";

/// The most fields of one that are kept, and of each the most characters.
const FIELDS: usize = 8;
const FIELD_CHARS: usize = 1024;

/// Keeps what was refused, cut to a length, with the reason.
pub(crate) async fn reject(redis: &Redis, reason: &str, fields: &[(String, String)]) -> Result<(), Error> {
    counter!("bond_publish_rejected_total").increment(1);
    let cut = |text: &str| Value::from(text.chars().take(FIELD_CHARS).collect::<String>());
    let mut args: Vec<Value> = [KEY, "MAXLEN", KEPT, "*", "reason"].map(Value::from_static_str).to_vec();
    args.push(cut(reason));
    for (name, value) in fields.iter().take(FIELDS) {
        args.extend([cut(name), cut(value)]);
    }
    redis.call(ADD, args).await
}
