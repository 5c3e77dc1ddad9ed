//! The log of refused requests: all of known callers, and a few lines per second of unknown ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::response::Response;
use bond_core::connection::{Limit, RateState};
use bond_core::time::Clock;
use parking_lot::Mutex;

use crate::problem::Problem;

/// The most bytes of a path, and of a detail, in the log.
const LOGGED_BYTES: usize = 200;

/// How many refusals of unknown callers are logged. The others are counted, and the next line has their number.
const STRANGERS: Limit = Limit { interval: Duration::from_secs(1), burst: 10 };

/// Whether the caller of a request is known. The request carries a clone, which shares the value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known(Arc<AtomicBool>);

impl Known {
    /// Records that the caller has been identified.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The log of requests.
#[derive(Clone)]
pub struct Refusals {
    clock: Arc<dyn Clock>,
    strangers: Arc<Mutex<Strangers>>,
}

#[derive(Default)]
struct Strangers {
    pace: RateState,
    left_out: u64,
}

impl Refusals {
    /// An empty log.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, strangers: Arc::default() }
    }

    /// Logs the answer to a request.
    pub(crate) fn log(&self, response: &Response, known: &Known) {
        let status = response.status().as_u16();
        let Some(problem) = response.extensions().get::<Problem>() else {
            return tracing::debug!(status, "answered");
        };
        let (code, detail) = (problem.code().as_str(), shortened(problem.detail()));
        if known.get() || response.status().is_server_error() {
            return tracing::info!(status, code, detail, "refused");
        }
        match self.line_of_a_stranger() {
            Some(0) => tracing::info!(status, code, detail, "refused"),
            Some(left_out) => tracing::info!(status, code, detail, left_out, "refused"),
            None => tracing::debug!(status, code, detail, "refused"),
        }
    }

    /// How many refusals were left out before this one; `None` if this one is left out too.
    fn line_of_a_stranger(&self) -> Option<u64> {
        let mut strangers = self.strangers.lock();
        if strangers.pace.keep(STRANGERS, self.clock.now()) {
            return Some(std::mem::take(&mut strangers.left_out));
        }
        strangers.left_out += 1;
        None
    }
}

/// A text from outside, shortened for the log.
pub(crate) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LOGGED_BYTES)]
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use bond_core::code::Code;
    use bond_core::time::{ManualClock, UnixNanos};

    use super::*;

    #[test]
    fn of_strangers_a_few_lines_are_logged_and_the_rest_counted() {
        let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(1_700_000_000)));
        let refusals = Refusals::new(clock.clone());
        let lines: Vec<_> = (0..10_000).filter_map(|_| refusals.line_of_a_stranger()).collect();
        assert_eq!(lines, [0; 10]);
        clock.advance(Duration::from_secs(1));
        assert_eq!(refusals.line_of_a_stranger(), Some(9_990));
        assert_eq!(refusals.line_of_a_stranger(), None);
    }

    #[test]
    fn a_path_is_cut_between_characters() {
        let path = format!("/{}", "币".repeat(5_000));
        assert!(shortened(&path).len() <= LOGGED_BYTES && path.starts_with(shortened(&path)));
        assert_eq!(shortened("/short"), "/short");
    }

    #[test]
    fn a_known_callers_refusals_take_no_strangers_place() {
        let refusals = Refusals::new(Arc::new(ManualClock::new(UnixNanos::from_secs(1))));
        let known = Known::default();
        known.set();
        let response = Problem::new(Code::NotFound, "x").into_response();
        (0..100).for_each(|_| refusals.log(&response, &known));
        assert_eq!(refusals.line_of_a_stranger(), Some(0));
    }
}
