//! What sessions and sources report to the engine.

use std::sync::Arc;

use bond_core::event::{Custom, MarketEvent, Tweet};
use bond_core::instrument::{Instrument, MarketType, Venue};
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use bytes::Bytes;
use smol_str::SmolStr;

use crate::venue::Subscription;

/// A report, sent through a bounded channel. If the channel is full, the session stops reading its socket, and the venue has to wait.
#[derive(Debug, Clone)]
pub enum Report {
    /// What one frame of a venue meant. Order books have passed the venue's continuity rule: a snapshot first, then contiguous
    /// deltas, and a snapshot again after every break.
    Events {
        /// The events, in the frame's order; may be empty when only `raw` is of interest.
        events: Vec<MarketEvent>,
        /// The frame itself, if raw frames are wanted.
        raw: Option<RawFrame>,
    },
    /// A print that is not a trade has used one of the trade numbers, so this number was not lost.
    Print {
        /// The instrument.
        instrument: Arc<Instrument>,
        /// The number.
        number: u64,
    },
    /// Subscriptions that changed state, in order.
    Subscriptions(Vec<SubscriptionState>),
    /// A venue's market changed state as a whole. The state is that of its worst connection, or says why it has none.
    Market {
        /// The venue.
        venue: Venue,
        /// Its market.
        market: MarketType,
        /// How it fares now.
        state: SourceState,
        /// When that began.
        since: UnixNanos,
        /// Why, for people.
        reason: SmolStr,
    },
    /// Frames that were not understood since the last such report.
    Rejected {
        /// The venue.
        venue: Venue,
        /// Its market.
        market: MarketType,
        /// The number of such frames.
        count: u64,
        /// The last one's reason.
        reason: SmolStr,
    },
    /// A post on a social network.
    Tweet(Tweet),
    /// An event of a user's own source.
    Custom {
        /// Which source.
        socket: SocketId,
        /// The event.
        event: Custom,
    },
    /// A user's own source changed state. Only the streams that take it are notified.
    Socket {
        /// Which source.
        socket: SocketId,
        /// The source's name in its events.
        source: SmolStr,
        /// How it fares now.
        state: SourceState,
        /// When that began.
        since: UnixNanos,
        /// Why, for people.
        reason: SmolStr,
    },
    /// A source other than a venue (`social`) changed state.
    Source {
        /// Its name.
        source: SmolStr,
        /// How it fares now.
        state: SourceState,
        /// When that began.
        since: UnixNanos,
        /// Why, for people.
        reason: SmolStr,
    },
}

/// The state of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// The subscription.
    pub subscription: Subscription,
    /// How it fares now.
    pub state: SourceState,
    /// When that began.
    pub since: UnixNanos,
    /// Why, for people: `ack timed out`, `sequence jump 5 -> 9`.
    pub reason: SmolStr,
}

impl From<SubscriptionState> for Report {
    fn from(state: SubscriptionState) -> Self {
        Self::Subscriptions(vec![state])
    }
}

/// Identifies a user's own socket within the process. Its URL cannot, because two may differ only in the secret part, which is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// A venue's own frame about one instrument.
#[derive(Debug, Clone)]
pub struct RawFrame {
    /// The instrument.
    pub instrument: Arc<Instrument>,
    /// The channel's name at the venue.
    pub channel: SmolStr,
    /// The frame's text, JSON.
    pub data: Bytes,
    /// When we received it.
    pub received: UnixNanos,
}
