//! `bond publish`.

use bond_core::publish::{PublishBatch, PublishEvent};
use bond_core::topic::PublishedTopic;

use super::client::RestClient;
use super::printable::escaped_json;
use crate::cli::PublishArgs;
use crate::failure::{Exit, Failure, Outcome};

/// Publishes one event, and prints where it was appended.
///
/// # Errors
/// Where the event is not understood, or the server cannot be reached or refuses.
pub async fn run(args: &PublishArgs) -> Outcome {
    let topic: PublishedTopic =
        args.topic.parse().map_err(|error| Failure::new(Exit::NotUnderstood, error))?;
    let path = format!("/v1/topics/{topic}/events");
    let answer = RestClient::new(&args.server)?.post_text(&path, batch(args)?, args.key.as_deref()).await?;
    println!("{}", escaped_json(&answer.to_string()));
    Ok(())
}

/// The body, with the payload's digits as they were typed.
fn batch(args: &PublishArgs) -> Result<String, Failure> {
    let event = PublishEvent::new(&args.kind, &args.payload, args.meta.as_deref(), None);
    let batch = event.and_then(|event| PublishBatch::of(vec![event], args.if_seq));
    Ok(batch.map_err(|error| Failure::new(Exit::NotUnderstood, error))?.to_json())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn body(words: &[&str]) -> Result<String, String> {
        let words = ["bond", "publish", "prices.X"].iter().chain(words);
        let Command::Publish(args) = Cli::try_parse_from(words).map_err(|error| error.to_string())?.command
        else {
            return Err("another command".to_owned());
        };
        batch(&args).map_err(|failure| failure.message)
    }

    #[test]
    fn the_body_has_what_was_typed() {
        let delta = r#"{"events":[{"type":"delta","payload":{"bid":99.10},"meta":{},"correlation_id":null}],"if_seq":null}"#;
        assert_eq!(body(&[r#"{"bid": 99.10}"#]).as_deref(), Ok(delta));
        let alert = r#"{"events":[{"type":"alert","payload":-1,"meta":{"subtopic":"L1"},"correlation_id":null}],"if_seq":7}"#;
        let words =
            ["--type", "alert", "--meta", r#"{"subtopic":"L1"}"#, "--if-seq", "7", "--key", "a", "-1"];
        assert_eq!(body(&words).as_deref(), Ok(alert));
    }

    #[test]
    fn what_is_no_event_is_said_before_anything_is_sent() {
        for (words, part) in [
            (vec!["{"], "payload: not JSON"),
            (vec!["--type", "sing", "1"], "type is snapshot, delta or alert"),
            (vec!["--meta", "[]", "1"], "meta is an object"),
        ] {
            assert!(body(&words).is_err_and(|message| message.contains(part)), "{words:?}");
        }
    }
}
