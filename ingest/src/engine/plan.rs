//! What a stream needs of the outside, resolved against the venues this process serves.

use std::collections::BTreeSet;
use std::time::Duration;

use bond_core::event::Channel;
use bond_core::instrument::{Instrument, Symbol, Venue};
use bond_core::topic::StreamId;
use smol_str::SmolStr;

use crate::source::websocket::CustomSpec;

/// A stream as the engine runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamPlan {
    /// The stream.
    pub id: StreamId,
    /// The windows' length; `None` passes every source event through.
    pub interval: Option<Duration>,
    /// The symbols aggregates are made for.
    pub symbols: Vec<Symbol>,
    /// What is taken of which instrument.
    pub market: BTreeSet<MarketNeed>,
    /// Assets whose posts are taken.
    pub assets: BTreeSet<SmolStr>,
    /// Users' own sockets.
    pub custom: Vec<CustomSpec>,
}

/// One channel of one instrument that a stream takes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MarketNeed {
    /// The instrument.
    pub instrument: Instrument,
    /// The channel.
    pub channel: Channel,
    /// The symbol of the stream that its events count for.
    pub symbol: Symbol,
    /// For order books passed through: levels a side.
    pub depth: Option<u16>,
}
