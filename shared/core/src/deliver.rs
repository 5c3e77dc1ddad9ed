//! From the relay to clients behind API Gateway: the request and the response of one invocation of the fan-out function.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::connection::ConnectionId;

/// The most bytes that an invocation carries: Lambda refuses a request of more than 6 MB (Lambda quotas, read 2026-11).
pub const INVOCATION_BYTES: usize = 5 * 1000 * 1000;

/// The most bytes of one WebSocket frame through API Gateway: 32 KB (API Gateway quotas, read 2026-11), less some room.
pub const FRAME_BYTES: usize = 31 * 1024;

/// How far the function's clock and the relay's may be apart.
///
/// By its own clock the function goes on for this long past `deadline_ms`, so that it does not stop early if its clock is fast. If its
/// clock is slow, it ends up to twice this late by the relay's clock. Relays stop one second before their lease ends, which covers
/// that. AWS keeps its clocks within about a millisecond (Amazon Time Sync Service, read 2026-11).
pub const CLOCK_SKEW: Duration = Duration::from_millis(400);

/// One invocation: messages, and who gets which of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invocation {
    /// The number of the lane, for logs.
    pub lane: u16,
    /// The invocation's number, counted per lane, for logs.
    pub number: u64,
    /// How long the function may post, in milliseconds from its start. Posts that are in flight then are abandoned; their outcome is
    /// unknown.
    pub budget_ms: u64,
    /// The function begins no post after this time, in Unix milliseconds by the relay's clock, give or take [`CLOCK_SKEW`]. An
    /// invocation that starts late so never posts at the same time as one of the next relay. `None`, as older relays send: only
    /// `budget_ms` counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<i64>,
    /// The messages, as JSON text. The runs of `parcels` are indexes into this list.
    pub messages: Vec<Box<RawValue>>,
    /// What each connection gets.
    pub parcels: Vec<Parcel>,
}

/// What one connection gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// The id of the connection.
    pub connection: String,
    /// The most messages in one frame, sent as a JSON array. 0: each message is a frame of its own, without an array.
    pub batch: usize,
    /// Which messages, in order: runs of `[first, count]`.
    pub runs: Vec<(u32, u32)>,
    /// Whether the connection is closed after the messages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub close: bool,
}

impl Parcel {
    /// The number of messages in the parcel.
    pub fn len(&self) -> usize {
        self.runs.iter().map(|(_, count)| *count as usize).sum()
    }

    /// Whether the parcel has no messages.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// The outcome of an invocation: one delivery for each parcel, in the order of parcels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// One for each parcel.
    pub deliveries: Vec<Delivery>,
}

/// The outcome of one parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// How many of the parcel's messages API Gateway accepted, counted from the first.
    pub taken: usize,
    /// Why delivery stopped before the last message; `None` if all were accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
}

/// Why a delivery stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The connection does not exist (410).
    Gone,
    /// The client reads more slowly than messages arrive (429 for this connection).
    Slow,
    /// The account's quota of posts is used up (429 for every connection).
    Quota,
    /// The next message does not fit a frame (413).
    TooLarge,
    /// The time was up. Whether the next message was accepted is unknown.
    Deadline,
    /// Any other failure. The same post may succeed later.
    Failed,
}

/// Counters of a deliverer since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Frames that were sent, accepted or not.
    pub posts: u64,
    /// The total time that frames waited because of the quota.
    pub waited: Duration,
}

/// The port that delivers messages to connections.
///
/// ```
/// # use bond_core::connection::ConnectionId;
/// # use bond_core::deliver::{Deliverer, Stop};
/// # use bytes::Bytes;
/// # async fn send(deliverer: &dyn Deliverer, connection: &ConnectionId, messages: &[Bytes]) {
/// let delivery = deliverer.deliver(connection, messages, 100).await;
/// match delivery.stop {
///     None => assert_eq!(delivery.taken, messages.len()),
///     Some(Stop::Gone) => println!("nobody is there any more"),
///     Some(stop) => println!("go on later after {} messages: {stop:?}", delivery.taken),
/// }
/// # }
/// ```
#[async_trait]
pub trait Deliverer: Send + Sync {
    /// Sends consecutive messages, in frames of at most `batch` messages (0: one message per frame, not as an array). A frame is sent
    /// only after the frame before it was accepted. Returns how many messages were accepted and why delivery stopped.
    async fn deliver(&self, connection: &ConnectionId, messages: &[Bytes], batch: usize) -> Delivery;

    /// Closes the connection. If it has closed already, that is not an error.
    async fn close(&self, connection: &ConnectionId);

    /// Whether the connection is open; `None` if this cannot be determined.
    async fn is_open(&self, connection: &ConnectionId) -> Option<bool>;

    /// The counters so far; all zero for a deliverer that does not count.
    fn tally(&self) -> DeliveryCounts {
        DeliveryCounts::default()
    }
}

/// Why an invocation returned no [`Receipt`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// The invocation did not start, because too many run already or the function cannot be reached. It is safe to try again.
    #[error("fan-out function not started: {0}")]
    NotStarted(String),
    /// The invocation started and failed. Some messages may have been accepted. None will be once `after` has passed.
    #[error("fan-out function failed: {reason}")]
    Failed {
        /// The error's text.
        reason: String,
        /// How long, from now, the invocation may still post, if it is still running.
        after: Duration,
    },
}

/// Runs the fan-out function.
#[async_trait]
pub trait Invoker: Send + Sync {
    /// Invokes the function once, without retries, and waits for its receipt.
    ///
    /// # Errors
    /// [`InvokeError`].
    async fn invoke(&self, invocation: &Invocation) -> Result<Receipt, InvokeError>;
}
