//! Reads a market's list of instruments while something is wanted of the market: at first until it succeeds, then every hour, and when a
//! wanted instrument is missing in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bond_core::instrument::Symbol;
use bond_core::source::SourceState;
use bond_supervise::owned;
use smol_str::SmolStr;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::config::Timing;
use super::context::{ConnectionContext, join};
use super::transport::Transport;
use crate::venue::{Listings, ListingsPage};
use bond_core::backoff::Backoff;

/// The most pages of a list that are read. Instruments on later pages count as not listed.
const MAX_PAGES: usize = 32;

/// The result of reading the list.
#[derive(Debug)]
pub(super) enum Read {
    /// The list.
    Listings(Arc<Listings>),
    /// The list could not be read. It is tried again after `wait`.
    Failed { reason: String, wait: Duration },
}

/// Decides when to read the list, and holds the reading in progress.
#[derive(Debug)]
pub(super) struct ListingsReader {
    timing: Timing,
    backoff: Backoff,
    reading: JoinSet<Result<Whole, ReadError>>,
    due: Instant,
    /// When the list was last read.
    read: Option<Instant>,
    missing: BTreeSet<Symbol>,
    /// What was last logged about entries that cannot be read.
    logged: Unreadable,
}

/// All pages of a list, and the entries that could not be read.
#[derive(Debug, Default)]
struct Whole {
    listings: Listings,
    unreadable: Unreadable,
}

/// Entries that cannot be read: their number, and the reason of the first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unreadable {
    count: usize,
    reason: Option<String>,
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
            logged: Unreadable::default(),
        }
    }

    /// Whether the list was ever read.
    pub(super) const fn has_read(&self) -> bool {
        self.read.is_some()
    }

    /// The state of a market that has no list yet.
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

    /// Records that these instruments are wanted, but not in the list. For each of them the list is read once more, soon, because the
    /// instrument may have been listed since.
    pub(super) fn missed(&mut self, symbols: BTreeSet<Symbol>, now: Instant) {
        let is_news = !symbols.is_subset(&self.missing);
        self.missing = symbols;
        if let Some(read) = self.read.filter(|_| is_news) {
            self.due = self.due.min((read + self.timing.listings_retry).max(now));
        }
    }

    /// Logs entries that could not be read, if they differ from those logged last.
    fn log_unreadable(&mut self, unreadable: Unreadable) {
        if let Some(reason) = unreadable.reason.as_ref().filter(|_| unreadable != self.logged) {
            tracing::warn!(
                count = unreadable.count,
                reason,
                "entries of the list of instruments cannot be read"
            );
            metrics::counter!("bond_ingest_unreadable_listings_total").increment(unreadable.count as u64);
        }
        self.logged = unreadable;
    }

    /// Begins to read the list, if it is time and no reading is in progress.
    pub(super) fn read_when_due<T: Transport>(&mut self, context: &Arc<ConnectionContext<T>>, now: Instant) {
        if self.reading.is_empty() && self.due <= now {
            self.reading.spawn(owned("listings", read(Arc::clone(context))));
        }
    }

    /// Waits for the reading in progress. Never returns if there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> Read {
        let result = match self.reading.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(ReadError::unreadable(&error)),
            None => std::future::pending().await,
        };
        let now = Instant::now();
        match result {
            Ok(Whole { listings, unreadable }) => {
                self.backoff.reset();
                self.read = Some(now);
                self.due = now + self.timing.listings_refresh;
                self.log_unreadable(unreadable);
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

impl Whole {
    fn checked(self) -> Result<Self, ReadError> {
        if self.listings.is_empty() { Err(ReadError::unreadable(&"an empty list")) } else { Ok(self) }
    }

    fn take(&mut self, page: ListingsPage) {
        self.listings.extend(page.listings);
        self.unreadable.count += page.unreadable.len();
        if self.unreadable.reason.is_none() {
            self.unreadable.reason = page.unreadable.first().map(ToString::to_string);
        }
    }
}

/// Reads all pages. If one fails, the whole reading fails: with half a list, instruments would seem to be delisted.
async fn read<T: Transport>(context: Arc<ConnectionContext<T>>) -> Result<Whole, ReadError> {
    let mut whole = Whole::default();
    let mut after: Option<SmolStr> = None;
    for _ in 0..MAX_PAGES {
        let page = read_page(&context, after.as_deref()).await?;
        let next = page.next.clone().filter(|next| after.as_ref() != Some(next));
        whole.take(page);
        if next.is_none() {
            return whole.checked();
        }
        after = next;
    }
    tracing::warn!(venue = %context.venue, market = %context.market, pages = MAX_PAGES, "list of instruments cut: too many pages");
    whole.checked()
}

async fn read_page<T: Transport>(
    context: &Arc<ConnectionContext<T>>,
    after: Option<&str>,
) -> Result<ListingsPage, ReadError> {
    let request = (context.config.protocol)(Arc::default()).listings_request(after);
    let body = context
        .get(join(&context.config.rest_base, &request))
        .await
        .map_err(|error| ReadError { retry_after: error.retry_after(), reason: error.to_string() })?;
    // Decoding a list of some megabytes takes so long that it would block the runtime's thread.
    let context = Arc::clone(context);
    #[expect(clippy::disallowed_methods, reason = "the reader waits for it")]
    let decoding =
        tokio::task::spawn_blocking(move || (context.config.protocol)(Arc::default()).decode_listings(&body));
    let decoded = decoding.await.map_err(|error| ReadError::unreadable(&error))?;
    decoded.map_err(|error| ReadError::unreadable(&error))
}
