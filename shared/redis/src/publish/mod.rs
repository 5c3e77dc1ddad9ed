//! Publishing over a stream: `bond:publish`, which whoever holds the lease reads.
//!
//! Producers add events themselves; processes beside the writer add whole batches and wait for the answer. An entry is removed once it was
//! answered. Whoever takes over reads what is left from the beginning, and the head of each topic remembers the last entry that it took, so that
//! none is taken twice.

mod entry;
mod intake;
mod publisher;
mod rejected;

pub use self::intake::take_in;
pub use self::publisher::RedisPublisher;
pub(crate) use self::rejected::reject;

/// The stream.
const STREAM: &str = "bond:publish";
