//! What publishers send to topics of their own, and the state that it adds up to.
//!
//! **State.** Within an epoch the state is absent at first. A `snapshot` replaces it by its payload. A `delta` is a merge patch of it
//! (RFC 7396). An `alert` leaves it as it is. The single writer computes the state, and the log keeps it with the events in one step. Whoever
//! follows a topic folds on by the same [`fold`], and so has the writer's state at each number.

mod batch;
mod json;

use async_trait::async_trait;
use bytes::Bytes;
use smol_str::SmolStr;

pub use self::batch::{BODY_BYTES, EVENT_BYTES, MOST_EVENTS, PublishBatch, PublishEvent, PublishedFields};
pub use self::json::{MOST_DEPTH, compact, merge_patch};
use crate::code::Code;
use crate::log::{EventKind, PublishKey};
use crate::message::MessageError;
use crate::position::{Epoch, Position};
use crate::topic::PublishedTopic;

/// The most bytes of a topic's state.
pub const STATE_BYTES: usize = 24 * 1024;

/// What an event of this kind and payload makes of a topic's state.
pub fn fold(state: Option<Bytes>, kind: EventKind, payload: &str) -> Option<Bytes> {
    match kind {
        EventKind::Snapshot => Some(Bytes::copy_from_slice(payload.as_bytes())),
        EventKind::Delta => {
            let before = state.as_deref().and_then(|state| std::str::from_utf8(state).ok());
            Some(merge_patch(before, payload).into())
        }
        _ => state,
    }
}

/// A batch on its way to the writer.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishRequest {
    /// To which topic.
    pub topic: PublishedTopic,
    /// What is to be appended.
    pub batch: PublishBatch,
    /// By what it is known when it is sent again.
    pub key: Option<PublishKey>,
    /// The entry of a foreign stream that it was read from. Entries of one topic come in order, and each is taken once.
    pub entry: Option<SmolStr>,
}

/// Where a batch was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedAt {
    /// The topic's history.
    pub epoch: Epoch,
    /// The number of the first event.
    pub first_seq: u64,
    /// The number of the last event.
    pub last_seq: u64,
}

/// Why a batch was not appended. Nothing of it was, but for [`PublishError::Unavailable`], where that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic's head is another than `if_seq` says.
    #[error("the topic's head is {} and not the one in if_seq: read it again, and decide anew", head_text(.0.as_ref()))]
    Conflict(Option<Position>),
    /// Another batch was published by the same key.
    #[error("another batch was published by this idempotency key within five minutes: use a new key")]
    KeyReused,
    /// The entry that it was read from was taken before.
    #[error("taken before: {0}")]
    Taken(SmolStr),
    /// The state would be larger than [`STATE_BYTES`].
    #[error(
        "the topic's state would be larger than {STATE_BYTES} bytes: delete keys by null, or spread it over topics"
    )]
    StateTooLarge,
    /// The writer cannot be reached, or did not answer in time.
    #[error("the writer cannot be reached: {0}; send it again with the same idempotency key")]
    Unavailable(String),
}

fn head_text(head: Option<&Position>) -> String {
    head.map_or_else(|| "0".to_owned(), |head| head.seq.to_string())
}

impl PublishError {
    /// The code that publishers match on.
    pub const fn code(&self) -> Code {
        match self {
            Self::Conflict(_) => Code::Conflict,
            Self::KeyReused | Self::Taken(_) => Code::InvalidMessage,
            Self::StateTooLarge => Code::TooLarge,
            Self::Unavailable(_) => Code::ConnectionError,
        }
    }
}

impl From<PublishError> for MessageError {
    fn from(error: PublishError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// The way of batches to the single writer.
///
/// An answer is a promise: the events have their numbers, and stay in the log. A batch without an answer may have been appended. Sent again
/// with the same key it is appended once, and answered as it was the first time.
///
/// ```
/// # use bond_core::publish::{PublishBatch, PublishError, PublishRequest, Publisher};
/// # async fn publish(publisher: &dyn Publisher) -> Result<(), PublishError> {
/// let batch = PublishBatch::parse(r#"{"events":[{"type":"delta","payload":{"bid":99.5}}]}"#).expect("a batch");
/// let topic = "prices.IN1234567890".parse().expect("a topic");
/// let at = publisher.publish(PublishRequest { topic, batch, key: None, entry: None }).await?;
/// assert_eq!(at.first_seq, at.last_seq);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Appends a batch, all of it or nothing.
    ///
    /// # Errors
    /// [`PublishError`].
    async fn publish(&self, request: PublishRequest) -> Result<PublishedAt, PublishError>;

    /// Ends a topic: its events and its state go. Published to again it begins a new epoch. Whether there was anything.
    ///
    /// # Errors
    /// [`PublishError::Unavailable`].
    async fn end(&self, topic: &PublishedTopic) -> Result<bool, PublishError>;
}
