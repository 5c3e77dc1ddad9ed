//! The session loop: everything that a venue's market has in common with any other.
//!
//! One task per market ([`market`]) keeps the list of instruments and assigns subscriptions to connections. One task per connection
//! connects, sends and receives, watches the deadlines, and connects again. A [`Protocol`] decodes the frames. A state machine without
//! socket or timer (`protocol_state`) decides what follows from them, so that the rules can be tested without either.
//!
//! [`Protocol`]: crate::venue::Protocol

mod books;
mod config;
mod connection;
mod context;
pub(crate) mod link;
mod listing;
mod liveness;
pub mod market;
mod outages;
mod plan;
mod protocol_state;
mod rate_limiter;
mod session_loop;
mod standing;
mod statuses;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transport;

pub use books::BookResync;
pub use config::{MarketConfig, ProtocolFactory, Timing};
pub use market::MarketHandle;
pub use outages::OutageLog;
pub use transport::{MAX_MESSAGE_BYTES, Network, Received, Socket, SocketError, Transport};
