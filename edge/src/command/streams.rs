//! `bond streams` and `bond token`.

use serde_json::{Value, json};

use super::client::RestClient;
use super::printable::escaped_json;
use crate::cli::ServerArgs;
use crate::failure::Outcome;

/// Prints the caller's streams, one JSON object a line.
///
/// # Errors
/// Where the server cannot be reached or refuses.
pub async fn list(args: &ServerArgs) -> Outcome {
    let streams = RestClient::new(args)?.get("/v1/streams").await?;
    streams
        .as_array()
        .into_iter()
        .flatten()
        .for_each(|stream| println!("{}", escaped_json(&stream.to_string())));
    Ok(())
}

/// Prints a fresh token for a stream, and the URL it opens.
///
/// # Errors
/// Where the server cannot be reached, refuses, or has no such stream.
pub async fn token(stream_id: &str, args: &ServerArgs) -> Outcome {
    let path = format!("/v1/streams/{stream_id}/token");
    let answer: Value = RestClient::new(args)?.post(&path, &json!({})).await?;
    println!("{}", escaped_json(&answer.to_string()));
    Ok(())
}
