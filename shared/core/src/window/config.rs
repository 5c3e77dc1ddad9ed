//! The configuration of a stream's windows.

use std::collections::BTreeSet;
use std::time::Duration;

use smol_str::SmolStr;

use super::WindowTakeover;
use crate::event::Channel;
use crate::event_clock::ClockPace;
use crate::instrument::Symbol;

/// The configuration of a stream's windows.
#[derive(Clone, Debug)]
pub struct Config {
    /// The length of a window, above zero.
    pub interval: Duration,
    /// How long to wait for late events.
    pub max_lag: Duration,
    /// The most time for which empty windows are published afterwards, when the event clock leaps or after a takeover. Older windows without
    /// events are left out.
    pub ring: Duration,
    /// What drives the event clock.
    pub pace: ClockPace,
    /// The symbols of which every window has an aggregate.
    pub subjects: Vec<Subject>,
}

/// One symbol of a stream, of which there is an aggregate in every window.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// A symbol of the stream; `None` is `*`, for streams without symbols.
    pub symbol: Option<Symbol>,
    /// The channels of its sources, `Liquidations` included. Other data are ignored.
    pub channels: BTreeSet<Channel>,
    /// The names of the symbol's sources. Each counts as missing until [`Windows::set_source`](super::Windows::set_source) sets its state.
    pub sources: BTreeSet<SmolStr>,
    /// The state that is taken over from the previous writer of the stream.
    pub carried: Option<WindowTakeover>,
}

/// How an event was counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// The event concerns no window of this stream, or came before the event clock existed.
    Ignored,
    /// The event was added to its window.
    Counted,
    /// The event's window was closed already.
    Late,
    /// The event's figures are too large to be summed exactly. Nothing has changed.
    TooLarge,
}
