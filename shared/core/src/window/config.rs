//! What a stream's windows are to be.

use std::collections::BTreeSet;
use std::time::Duration;

use smol_str::SmolStr;

use super::WindowTakeover;
use crate::event::Channel;
use crate::event_clock::ClockPace;
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
    /// What drives the event clock.
    pub pace: ClockPace,
    /// What there is an aggregate of in every window.
    pub subjects: Vec<Subject>,
}

/// What a stream gives aggregates of.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// A symbol of the stream; `None` is `*`, for streams without symbols.
    pub symbol: Option<Symbol>,
    /// The channels of its sources, `Liquidations` included. Other data are ignored.
    pub channels: BTreeSet<Channel>,
    /// The names of its sources. Each counts as lacking until [`Windows::set_source`](super::Windows::set_source) says otherwise.
    pub sources: BTreeSet<SmolStr>,
    /// What an earlier writer of the stream left behind.
    pub carried: Option<WindowTakeover>,
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
