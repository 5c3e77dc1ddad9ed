//! What the examples have in common: where the server is, and how many events are wanted.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The server's base URL: `BOND_URL`, else the one that `bond up` has.
#[allow(clippy::disallowed_methods, reason = "an example is told by the environment where the server is")]
pub fn server() -> String {
    std::env::var("BOND_URL").unwrap_or_else(|_| "http://localhost:8000".to_owned())
}

/// How many events are wanted: the first argument, else `default`.
///
/// # Errors
/// Where it is no number.
pub fn count(default: usize) -> Result<usize> {
    let argument = std::env::args().nth(1);
    argument.map_or(Ok(default), |text| text.parse().context("the argument is the number of events"))
}

/// Creates a stream from a sentence. The same sentence gives the same stream.
///
/// # Errors
/// Where the server cannot be reached, or does not understand it.
pub async fn create(http: &reqwest::Client, sentence: &str) -> Result<Value> {
    let request = http.post(format!("{}/v1/streams", server())).json(&json!({"natural_language": sentence}));
    Ok(request.send().await?.error_for_status()?.json().await?)
}
