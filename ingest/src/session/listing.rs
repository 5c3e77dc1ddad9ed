//! Reads a market's list of instruments: at the start until it succeeds, every hour, and when an instrument is missed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bond_core::instrument::Symbol;
use bond_core::source::SourceState;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::Timing;
use super::connection::{Context, join};
use super::transport::Transport;
use crate::backoff::Backoff;
use crate::venue::Listings;

/// What came of reading the list.
#[derive(Debug)]
pub(super) enum Read {
    /// The list.
    Listings(Arc<Listings>),
    /// It could not be read; it is tried again after `wait`.
    Failed { reason: String, wait: Duration },
}

/// When to read the list, and the reading under way.
#[derive(Debug)]
pub(super) struct ListingsReader {
    timing: Timing,
    backoff: Backoff,
    reading: JoinSet<Result<Listings, ReadError>>,
    due: Instant,
    /// When it was last read.
    read: Option<Instant>,
    missing: BTreeSet<Symbol>,
}

#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
struct ReadError {
    reason: String,
    retry_after: Option<Duration>,
}

impl ReadError {
    fn unreadable(reason: &impl ToString) -> Self {
        Self { reason: reason.to_string(), retry_after: None }
    }
}

impl ListingsReader {
    pub(super) fn new(timing: Timing) -> Self {
        let backoff = Backoff::new(timing.backoff);
        Self {
            timing,
            backoff,
            reading: JoinSet::new(),
            due: Instant::now(),
            read: None,
            missing: BTreeSet::new(),
        }
    }

    /// Whether the list was ever read.
    pub(super) const fn has_read(&self) -> bool {
        self.read.is_some()
    }

    /// How a market fares that has no list yet.
    pub(super) const fn state(&self) -> SourceState {
        match self.backoff.failures() {
            0 => SourceState::Connecting,
            _ if self.backoff.has_failed() => SourceState::Failed,
            _ => SourceState::Reconnecting,
        }
    }

    /// When to call [`Self::read_when_due`]; `None` while reading.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.reading.is_empty().then_some(self.due)
    }

    /// These instruments are wanted, but not on the list. For each the list is read once more, soon: perhaps it was listed since.
    pub(super) fn missed(&mut self, symbols: BTreeSet<Symbol>, now: Instant) {
        let is_news = !symbols.is_subset(&self.missing);
        self.missing = symbols;
        if let Some(read) = self.read.filter(|_| is_news) {
            self.due = self.due.min((read + self.timing.listings_retry).max(now));
        }
    }

    /// Begins to read, if it is time and nothing is being read.
    pub(super) fn read_when_due<T: Transport>(&mut self, context: &Arc<Context<T>>, now: Instant) {
        if self.reading.is_empty() && self.due <= now {
            self.reading.spawn(read(Arc::clone(context)));
        }
    }

    /// Waits for the reading under way; for ever while there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Read {
        let result = match self.reading.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(ReadError::unreadable(&error)),
            None => std::future::pending().await,
        };
        let now = Instant::now();
        match result {
            Ok(listings) => {
                self.backoff.reset();
                self.read = Some(now);
                self.due = now + self.timing.listings_refresh;
                Read::Listings(Arc::new(listings))
            }
            Err(error) => {
                let wait = self.backoff.fail(rand::random()).max(error.retry_after.unwrap_or_default());
                self.due = now + wait;
                Read::Failed { reason: error.reason, wait }
            }
        }
    }
}

async fn read<T: Transport>(context: Arc<Context<T>>) -> Result<Listings, ReadError> {
    let protocol = (context.config.protocol)(Arc::default());
    let url = join(&context.config.rest_base, protocol.listings_request());
    drop(protocol);
    let body = context
        .get(url)
        .await
        .map_err(|error| ReadError { retry_after: error.retry_after(), reason: error.to_string() })?;
    // A list of some megabytes takes long enough to decode to hold up a busy thread.
    let decoding = tokio::task::spawn_blocking(move || {
        let protocol = (context.config.protocol)(Arc::default());
        protocol.decode_listings(&body)
    });
    let decoded = decoding
        .await
        .map_err(|error| ReadError::unreadable(&error))?
        .map_err(|error| ReadError::unreadable(&error))?;
    let mut listings = Listings::default();
    listings.extend(decoded);
    if listings.is_empty() { Err(ReadError::unreadable(&"an empty list")) } else { Ok(listings) }
}
