//! Where frames come from: a capture or the seeded market.

use crate::capture::Capture;
use crate::clock::UnixNanos;
use crate::config::{Config, Feed};
use crate::fault::Filter;
use crate::frame::Outlet;
use crate::rest::{Answer, Request};
use crate::seeded::Seeded;

/// What happened to a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) started: bool,
    pub(crate) finished: bool,
}

#[derive(Debug)]
pub(crate) enum Source {
    Capture(Box<Capture>),
    Seeded(Box<Seeded>),
}

impl Source {
    /// Opens the feed; a capture is read from its file.
    pub(crate) fn open(config: &Config, now: UnixNanos) -> anyhow::Result<Self> {
        Ok(match &config.feed {
            Feed::Capture { path, speed, looped } => {
                Self::Capture(Box::new(Capture::open(path, config.venue, config.market, *speed, *looped)?))
            }
            Feed::Seeded { seed, rate } => {
                Self::Seeded(Box::new(Seeded::new(config.venue, config.market, *seed, *rate, now)))
            }
        })
    }

    /// When the next frame may be due.
    pub(crate) fn due(&self) -> Option<UnixNanos> {
        match self {
            Self::Capture(capture) => capture.due(),
            Self::Seeded(seeded) => Some(seeded.due()),
        }
    }

    /// Puts what is due until `now` into the outlet. A replay stops after `room` frames; a market does not wait.
    pub(crate) fn advance(&mut self, now: UnixNanos, room: usize, outlet: &mut Outlet<'_>) -> Progress {
        match self {
            Self::Capture(capture) => capture.advance(now, room, outlet),
            Self::Seeded(seeded) => {
                seeded.advance(now, outlet);
                Progress::default()
            }
        }
    }

    /// A subscription exists: a capture not yet under way begins at `at`.
    pub(crate) fn start(&mut self, at: UnixNanos) {
        if let Self::Capture(capture) = self {
            capture.start(at);
        }
    }

    /// What a new subscriber to the stream gets first.
    pub(crate) fn greet(&mut self, stream: &str, now: UnixNanos, outlet: &mut Outlet<'_>) {
        if let Self::Seeded(seeded) = self {
            seeded.greet(stream, now, outlet);
        }
    }

    /// Whether the venue lists the instrument.
    pub(crate) fn lists(&self, symbol: &str) -> bool {
        match self {
            Self::Capture(capture) => capture.lists(symbol),
            Self::Seeded(seeded) => seeded.lists(symbol),
        }
    }

    pub(crate) fn answer(&mut self, request: &Request, now: UnixNanos) -> Answer {
        match self {
            Self::Capture(capture) => capture.answer(request, now),
            Self::Seeded(seeded) => seeded.answer(request, now),
        }
    }

    /// Moves the ids of the books ahead.
    pub(crate) fn jump(&mut self, by: u64, filter: &Filter) {
        match self {
            Self::Capture(capture) => capture.jump(by),
            Self::Seeded(seeded) => seeded.jump(by, filter),
        }
    }

    /// Whether a capture has come to its end.
    pub(crate) fn finished(&self) -> bool {
        matches!(self, Self::Capture(capture) if capture.finished())
    }
}
