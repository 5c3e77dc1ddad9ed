//! Faults that a script or a test can order.

mod active;
mod text;

use std::time::Duration;

pub(crate) use active::{ActiveFaults, Moment};
pub use text::ParseFaultError;

use crate::frame::Class;

/// Names one injected fault in the journal.
pub type FaultId = u64;

/// What goes wrong, on which streams, and how often.
///
/// The text form is `effect[=value][:filter[:count]]`, for example `drop:trade:1/100`, `delay=250ms:book:3`, `silence:ticker`,
/// `close=1001` or `refuse=10s`. A filter is `*`, a class (`trade`, `quote`, `book`, `ticker`, `funding`, `liquidation`) or a
/// stream's own name; a count is a number, `1/n` for every n-th, or `all`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub effect: Effect,
    /// On which streams. For [`Effect::Close`], [`Effect::Reset`], [`Effect::Freeze`] and [`Effect::Notice`]: on connections subscribed to one.
    pub filter: Filter,
    /// How often. Without meaning for what happens at once.
    pub count: Count,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// `drop`: the frame is not sent.
    Drop,
    /// `repeat`: the frame is sent twice.
    Repeat,
    /// `swap`: the frame is sent after the next one of its stream.
    Swap,
    /// `delay=250ms`: the frame is sent later; those after it overtake it.
    Delay(Duration),
    /// `split`: the frame is sent in several WebSocket fragments.
    Split,
    /// `malformed`: the frame is cut off in the middle.
    Malformed,
    /// `ack-late=500ms`: a subscription is acknowledged late; its data is not held back.
    AckLate(Duration),
    /// `ack-after-data`: a subscription is acknowledged after its first data.
    AckAfterData,
    /// `ack-never`: a subscription takes effect without acknowledgement.
    AckNever,
    /// `refuse-subscription`: a subscription is answered by the venue's error and has no effect.
    RefuseSubscription,
    /// `silence` or `silence=10s`: data stops, the socket and its pings go on.
    Silence(Option<Duration>),
    /// `refuse` or `refuse=10s`: a TCP connection is accepted and closed.
    Refuse(Option<Duration>),
    /// `unavailable` or `unavailable=10s`: HTTP 503 to everything, also to upgrades.
    Unavailable(Option<Duration>),
    /// `close=1001`: connections are closed with this code, at once.
    Close(u16),
    /// `reset`: connections are torn down by a TCP reset, at once.
    Reset,
    /// `freeze`: connections stay open and say nothing any more, not even pongs, as where a router has forgotten them; at once.
    Freeze,
    /// `jump=5`: the book's ids jump ahead by so many, at once, as if updates had been lost.
    Jump(u64),
    /// `slow-rest=2s`: a REST answer comes late.
    SlowRest(Duration),
    /// `rest-429=5s`: a REST request is answered 429 with this `Retry-After`.
    TooManyRequests(Duration),
    /// `notice`: connections are told that they will be closed, at once (OKX 64008, Binance `serverShutdown`).
    Notice,
}

/// Which streams a fault concerns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Filter {
    /// All.
    #[default]
    Any,
    /// Those of one class.
    Class(Class),
    /// One by the venue's name: Binance stream, OKX `channel/instId`, Bybit topic.
    Stream(String),
}

/// How often a fault takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// On the next so many matching frames (or answers), then never again.
    Next(u64),
    /// On every n-th.
    Every(u64),
    /// On all, until cleared.
    All,
}

impl Fault {
    /// The effect once, on any stream; lasting effects last until cleared.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        let count = if effect.lasts() { Count::All } else { Count::Next(1) };
        Self { effect, filter: Filter::Any, count }
    }

    /// Only on streams of this class.
    #[must_use]
    pub fn on(mut self, class: Class) -> Self {
        self.filter = Filter::Class(class);
        self
    }

    /// Only on this stream.
    #[must_use]
    pub fn on_stream(mut self, stream: impl Into<String>) -> Self {
        self.filter = Filter::Stream(stream.into());
        self
    }

    /// So often.
    #[must_use]
    pub fn count(mut self, count: Count) -> Self {
        self.count = count;
        self
    }
}

impl Effect {
    fn lasts(&self) -> bool {
        matches!(self, Effect::Silence(_) | Effect::Refuse(_) | Effect::Unavailable(_))
    }

    /// For how long, where the effect has an end of its own.
    fn lifetime(&self) -> Option<Duration> {
        match self {
            Effect::Silence(time) | Effect::Refuse(time) | Effect::Unavailable(time) => *time,
            _ => None,
        }
    }

    /// Effects that happen when injected and leave nothing behind.
    pub(crate) fn is_immediate(&self) -> bool {
        matches!(self, Effect::Close(_) | Effect::Reset | Effect::Freeze | Effect::Jump(_) | Effect::Notice)
    }
}

impl Filter {
    /// Whether a stream is concerned.
    pub(crate) fn matches(&self, stream: &str, class: Class) -> bool {
        match self {
            Filter::Any => true,
            Filter::Class(wanted) => *wanted == class,
            Filter::Stream(name) => name == stream,
        }
    }
}
