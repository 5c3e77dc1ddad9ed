//! What a stream's windows are to be.

use std::collections::BTreeSet;
use std::time::Duration;

use smol_str::SmolStr;

use super::Carried;
use crate::event::Channel;
use crate::event_clock::Pace;
use crate::instrument::Symbol;

/// What a stream's windows are to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// The length of a window, above zero.
    pub interval: Duration,
    /// How long to wait for what is late.
    pub max_lag: Duration,
    /// At most so much time is made up for when the event clock leaps, or after a takeover: older windows without events are left out.
    pub ring: Duration,
    /// The channels of all sources, `Liquidations` included. Other data are ignored.
    pub channels: BTreeSet<Channel>,
    /// What drives the event clock.
    pub pace: Pace,
    /// What there is an aggregate of in every window.
    pub subjects: Vec<Subject>,
}

/// What a stream gives aggregates of.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// A symbol of the stream; `None` is `*`, for streams without symbols.
    pub symbol: Option<Symbol>,
    /// The names of its sources. Each counts as lacking until [`Windows::set_source`](super::Windows::set_source) says otherwise.
    pub sources: BTreeSet<SmolStr>,
    /// What an earlier writer of the stream left behind.
    pub carried: Option<Carried>,
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// It concerns no window of this stream, or came before there was a clock.
    Ignored,
    /// It is in its window.
    Counted,
    /// Its window was closed.
    Late,
    /// Its figures are too large to be summed exactly; nothing has changed.
    TooLarge,
}

/// The channels, as asked for at every event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    pub(super) trades: bool,
    pub(super) ticker: bool,
    pub(super) order_book: bool,
    pub(super) funding: bool,
    pub(super) liquidations: bool,
}

impl Channels {
    pub(super) fn new(channels: &BTreeSet<Channel>) -> Self {
        let has = |channel| channels.contains(&channel);
        Self {
            trades: has(Channel::Trades),
            ticker: has(Channel::Ticker),
            order_book: has(Channel::OrderBook),
            funding: has(Channel::Funding),
            liquidations: has(Channel::Liquidations),
        }
    }

    /// Whether any of them tells a price.
    pub(super) const fn have_a_price(self) -> bool {
        self.trades || self.ticker || self.order_book
    }
}
