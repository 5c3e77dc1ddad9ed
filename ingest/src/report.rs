//! What sessions and sources report to the engine.

use std::sync::Arc;

use bond_core::event::{Custom, MarketEvent, Tweet};
use bond_core::instrument::{Instrument, MarketType, Venue};
use bond_core::source::SourceState;
use bond_core::time::UnixNanos;
use bytes::Bytes;
use smol_str::SmolStr;

use crate::venue::Subscription;

/// A report, sent through a bounded channel. A full channel holds up the session's reading, and so the venue.
#[derive(Debug, Clone)]
pub enum Report {
    /// What one frame of a venue meant. Order books have passed the venue's continuity rule: a snapshot first, then contiguous
    /// deltas, and a snapshot again after every break.
    Events {
        /// The events, in the frame's order; may be empty when only `raw` is of interest.
        events: Vec<MarketEvent>,
        /// The frame itself, where it was asked for.
        raw: Option<RawFrame>,
    },
    /// A print that is no trade took a number of the trades': it was not lost.
    Print {
        /// Of which instrument.
        instrument: Arc<Instrument>,
        /// The number.
        number: u64,
    },
    /// A subscription changed state.
    Subscription {
        /// Which.
        subscription: Subscription,
        /// How it fares now.
        state: SourceState,
        /// When that began.
        since: UnixNanos,
        /// Why, for people: `ack timed out`, `sequence jump 5 -> 9`.
        reason: SmolStr,
    },
    /// A venue's market changed state as a whole: the worst of its connections, or that it has none to make.
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
    /// Frames that could not be understood since the last such report.
    Rejected {
        /// The venue.
        venue: Venue,
        /// Its market.
        market: MarketType,
        /// How many.
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
    /// A source that is no venue (`social`, a custom socket's URL) changed state.
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

/// A user's own socket, unique within the process: two may differ in nothing but the secret part of their URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
