//! Topics of publishers: publishing to them, their states, and what was published.

mod caller;
mod publish;
mod read;

use bond_core::code::Code;
use bond_core::log::LogError;
use bond_core::publish::{PublishError, PublishRequest, PublishedAt, Publisher};
use bond_core::topic::PublishedTopic;
#[cfg(test)]
use utoipa::ToResponse;

#[cfg(test)]
use crate::problem::ProblemDetails;
use crate::problem::{Problem, ProblemHead};

pub(super) use self::publish::*;
pub(super) use self::read::*;

/// A publisher for hosts that have none: it refuses, and says what is needed.
#[derive(Clone, Copy, Debug)]
pub struct NoPublisher(pub &'static str);

#[async_trait::async_trait]
impl Publisher for NoPublisher {
    async fn publish(&self, _: PublishRequest) -> Result<PublishedAt, PublishError> {
        Err(PublishError::Unavailable(self.0.to_owned()))
    }

    async fn end(&self, _: &PublishedTopic) -> Result<bool, PublishError> {
        Err(PublishError::Unavailable(self.0.to_owned()))
    }
}

/// The topic of this name.
fn topic(name: &str) -> Result<PublishedTopic, Problem> {
    PublishedTopic::parse(name).ok_or_else(|| {
        let name: String = name.chars().take(80).collect();
        let detail = format!(
            "not a topic of publishers: name two to eight parts of letters, digits, _ and -, with dots between, as in prices.IN1234567890; trades, \
             streams and the like are Bond's own: {name}"
        );
        Problem::new(Code::InvalidTopic, detail)
    })
}

fn unknown(topic: &PublishedTopic) -> Problem {
    Problem::new(Code::NotFound, format!("nothing is kept of this topic: publish to it first: {topic}"))
}

pub(super) fn log_problem(error: &LogError) -> Problem {
    tracing::error!(%error, "a topic cannot be read");
    Problem::new(Code::ConnectionError, "the event log is unavailable: try again").with_retry_after(1)
}

pub(super) fn publish_problem(error: &PublishError) -> Problem {
    let problem = Problem::new(error.code(), error.to_string());
    match error {
        PublishError::Conflict(head) => problem.with_head(ProblemHead::of(head.as_ref())),
        PublishError::Unavailable(_) => problem.with_retry_after(1),
        _ => problem,
    }
}

/// The key may not do this with the topic.
#[cfg(test)]
#[derive(ToResponse)]
#[response(
    description = "The key or token does not cover the topic",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct TopicForbidden(ProblemDetails);

/// Nothing is kept of the topic.
#[cfg(test)]
#[derive(ToResponse)]
#[response(description = "Nothing is kept of this topic", content_type = "application/problem+json")]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct UnknownTopic(ProblemDetails);

/// The topic's head is another than `if_seq` says.
#[cfg(test)]
#[derive(ToResponse)]
#[response(
    description = "The topic's head is another than `if_seq` says: `head` has it. Nothing was appended",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct HeadMoved(ProblemDetails);

/// A body, an event or a state that is too large.
#[cfg(test)]
#[derive(ToResponse)]
#[response(
    description = "The body is over 64 KB, or an event or the topic's state would be over 24 KiB. Nothing was appended",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct EventsTooLarge(ProblemDetails);

/// The writer cannot be reached.
#[cfg(test)]
#[derive(ToResponse)]
#[response(
    description = "The writer, or the log, did not answer within 2 seconds. Whether a batch was appended is not known: send it again with the \
                   same `Idempotency-Key`",
    content_type = "application/problem+json"
)]
#[allow(dead_code, reason = "describes a response")]
pub(super) struct WriterAway(ProblemDetails);
