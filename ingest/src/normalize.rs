//! Venue frames in, normalised events out: the library behind `bond normalize`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _, Write};
use std::sync::Arc;

use bond_core::event::{BookUpdate, BookUpdateKind, MarketData, MarketEvent};
use bond_core::instrument::{Instrument, MarketType, Venue};
use bond_core::log::EventKind;
use bond_core::time::{Clock, UnixNanos};
use bond_core::wire::{self, BookView, Stamp};

use crate::venue::{self, ContinuityRule, Decoded, Listings, NoTrade, Protocol, Reject};

/// The most bytes of a line.
const MAX_LINE: u64 = 16 << 20;

/// The most different reasons that are counted, so that a hostile file cannot fill the memory with them.
const MAX_REASONS: usize = 1_000;

/// Why a file of frames cannot be normalised at all.
#[derive(Debug, thiserror::Error)]
pub enum NormalizeError {
    /// This build has no connector for the venue.
    #[error("venue not served: {0}")]
    Venue(Venue),
    /// The list of instruments is not the venue's.
    #[error("unreadable list of instruments: {0}; save the venue's own answer")]
    Instruments(Reject),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How many frames led to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that held a frame.
    pub frames: u64,
    /// Events written, by `type`.
    pub events: BTreeMap<&'static str, u64>,
    /// Frames that carry no event, by their kind.
    pub other: BTreeMap<&'static str, u64>,
    /// Frames, or items in them, that were not understood, by reason.
    pub rejects: BTreeMap<String, u64>,
}

impl Counts {
    fn reject(&mut self, reject: &Reject) {
        let reason = reject.to_string();
        let full = self.rejects.len() >= MAX_REASONS && !self.rejects.contains_key(&reason);
        *self.rejects.entry(if full { "other reasons".to_owned() } else { reason }).or_default() += 1;
    }
}

/// Reads frames of `venue`, one per line, and writes their events as JSON, one per line. A line is either a bare frame, which counts as
/// received when it is read, by `clock`; or `recv_ns frame`, with the receive time in Unix nanoseconds.
///
/// `instruments` is the venue's own list of instruments, as its REST API answers. Instruments that are not in it are recognised by the
/// spelling of their names. OKX swaps are then rejected, because their contract size is not known.
///
/// # Errors
/// [`NormalizeError`]. A frame that is not understood is not an error; it is counted.
pub fn normalize(
    (venue, market): (Venue, MarketType),
    instruments: Option<&[u8]>,
    clock: &dyn Clock,
    mut input: impl BufRead,
    output: impl Write,
) -> Result<Counts, NormalizeError> {
    let (protocol, unreadable) = open(venue, market, instruments)?;
    let mut normalizer = Normalizer::new(protocol, output);
    unreadable.iter().for_each(|reject| normalizer.counts.reject(reject));
    let mut line = Vec::new();
    while next_line(&mut input, &mut line)? {
        normalizer.line(&line, clock)?;
    }
    normalizer.output.flush()?;
    Ok(normalizer.counts)
}

fn open(
    venue: Venue,
    market: MarketType,
    instruments: Option<&[u8]>,
) -> Result<(Box<dyn Protocol>, Vec<Reject>), NormalizeError> {
    let protocol = |listings| venue::protocol(venue, market, listings).ok_or(NormalizeError::Venue(venue));
    let mut listings = Listings::by_spelling();
    let mut unreadable = Vec::new();
    if let Some(body) = instruments {
        let page = protocol(Arc::default())?.decode_listings(body).map_err(NormalizeError::Instruments)?;
        listings.extend(page.listings);
        unreadable = page.unreadable;
    }
    Ok((protocol(Arc::new(listings))?, unreadable))
}

/// Reads a line into `line`, up to slightly more than [`MAX_LINE`] bytes. Returns `false` at the end of the input.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input.by_ref().take(MAX_LINE + 1).read_until(b'\n', line)?;
    if line.last() != Some(&b'\n') && read as u64 > MAX_LINE {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

/// Which order books were seen so far.
enum Seen {
    Nobody,
    One(Arc<Instrument>),
    Many,
}

struct Normalizer<W> {
    protocol: Box<dyn Protocol>,
    output: W,
    counts: Counts,
    seen: Seen,
    decoded: Vec<Decoded>,
    rejects: Vec<Reject>,
    text: Vec<u8>,
}

impl<W: Write> Normalizer<W> {
    fn new(protocol: Box<dyn Protocol>, output: W) -> Self {
        Self {
            protocol,
            output,
            counts: Counts::default(),
            seen: Seen::Nobody,
            decoded: Vec::new(),
            rejects: Vec::new(),
            text: Vec::new(),
        }
    }

    fn line(&mut self, line: &[u8], clock: &dyn Clock) -> io::Result<()> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(());
        }
        self.counts.frames += 1;
        match std::str::from_utf8(line) {
            Ok(line) if line.len() as u64 <= MAX_LINE => {
                let (received, frame) = split_capture(line);
                self.frame(frame, received.unwrap_or_else(|| clock.now()))
            }
            Ok(_) => self.refuse("longer than 16 MiB"),
            Err(_) => self.refuse("not UTF-8"),
        }
    }

    fn refuse(&mut self, why: &str) -> io::Result<()> {
        self.counts.reject(&Reject::Malformed(why.to_owned()));
        Ok(())
    }

    fn frame(&mut self, frame: &str, received: UnixNanos) -> io::Result<()> {
        let (mut decoded, mut rejects) =
            (std::mem::take(&mut self.decoded), std::mem::take(&mut self.rejects));
        self.protocol.decode(frame, received, &mut decoded, &mut rejects);
        for item in decoded.drain(..) {
            self.item(item)?;
        }
        for reject in rejects.drain(..) {
            match reject {
                Reject::Unattributed => self.snapshot(frame, received)?,
                reject => self.counts.reject(&reject),
            }
        }
        (self.decoded, self.rejects) = (decoded, rejects);
        Ok(())
    }

    fn item(&mut self, item: Decoded) -> io::Result<()> {
        let what = match item {
            Decoded::Event(event) => return self.event(&event),
            Decoded::Acknowledged(_) => "acknowledged",
            Decoded::Refused { .. } => "refused",
            Decoded::Reconnect { .. } => "reconnect",
            Decoded::Alive | Decoded::Unchanged(..) => "alive",
            Decoded::AskApart { .. } => "refused together",
            Decoded::Print { kind, .. } => print_name(kind),
            Decoded::Ignored(why) => why,
        };
        *self.counts.other.entry(what).or_default() += 1;
        Ok(())
    }

    /// Handles a REST snapshot among the frames. It names no symbol, so it is accepted only if a single symbol was seen.
    fn snapshot(&mut self, frame: &str, received: UnixNanos) -> io::Result<()> {
        let Seen::One(instrument) = &self.seen else {
            self.counts.reject(&Reject::Unattributed);
            return Ok(());
        };
        let instrument = Arc::clone(instrument);
        match self.protocol.decode_snapshot(&instrument, frame.as_bytes()) {
            Ok(book) => {
                let data = MarketData::Book(book);
                self.event(&MarketEvent { instrument, ts_event: received, ts_exchange: None, data })
            }
            Err(reject) => {
                self.counts.reject(&reject);
                Ok(())
            }
        }
    }

    fn event(&mut self, event: &MarketEvent) -> io::Result<()> {
        self.see(&event.instrument);
        let kind = kind(&event.data);
        *self.counts.events.entry(kind.name()).or_default() += 1;
        self.text.clear();
        self.text.extend_from_slice(b"{\"type\":\"");
        self.text.extend_from_slice(kind.name().as_bytes());
        self.text.extend_from_slice(b"\",");
        write_body(event, self.protocol.continuity(), &mut self.text);
        self.text.extend_from_slice(b"}\n");
        self.output.write_all(&self.text)
    }

    fn see(&mut self, instrument: &Arc<Instrument>) {
        match &self.seen {
            Seen::Nobody => self.seen = Seen::One(Arc::clone(instrument)),
            Seen::One(one) if one == instrument => {}
            Seen::One(_) | Seen::Many => self.seen = Seen::Many,
        }
    }
}

const fn print_name(kind: NoTrade) -> &'static str {
    match kind {
        NoTrade::NotAboveZero => "print without a price or an amount",
        NoTrade::InsuranceFund => "print of an insurance fund",
        NoTrade::AutoDeleveraging => "print of an auto-deleveraging",
        NoTrade::Unnamed => "print that is no trade",
    }
}

/// Splits `recv_ns frame`. The time is `None` for a bare frame.
fn split_capture(line: &str) -> (Option<UnixNanos>, &str) {
    let timed = line.split_once(' ').and_then(|(time, frame)| {
        let digits = time.bytes().all(|byte| byte.is_ascii_digit());
        let nanos: i64 = time.parse().ok().filter(|_| digits)?;
        Some((Some(UnixNanos::from_nanos(nanos)), frame.trim_ascii_start()))
    });
    timed.unwrap_or((None, line))
}

const fn kind(data: &MarketData) -> EventKind {
    match data {
        MarketData::Trade(_) => EventKind::Trade,
        MarketData::Ticker(_) => EventKind::Ticker,
        MarketData::Book(_) => EventKind::OrderBook,
        MarketData::Funding(_) => EventKind::Funding,
        MarketData::Liquidation(_) => EventKind::Liquidation,
    }
}

fn write_body(event: &MarketEvent, rule: ContinuityRule, out: &mut Vec<u8>) {
    let stamp = Stamp::from(event);
    match &event.data {
        MarketData::Trade(trade) => wire::trade(&stamp, trade, out),
        MarketData::Ticker(ticker) => wire::ticker(&stamp, ticker, out),
        MarketData::Book(book) => wire::order_book(&stamp, &view(book, rule), out),
        MarketData::Funding(funding) => wire::funding(&stamp, funding, out),
        MarketData::Liquidation(liquidation) => wire::liquidation(&stamp, liquidation, out),
    }
}

/// An update as the venue sent it, not the book that results from it.
fn view(book: &BookUpdate, rule: ContinuityRule) -> BookView<'_> {
    BookView {
        update_type: book.kind,
        changes_only: false,
        depth: book.bids.len().max(book.asks.len()),
        sequence: book.last_id,
        prev_sequence: previous(book, rule),
        bids: &book.bids,
        asks: &book.asks,
    }
}

/// The id that an update says it follows.
fn previous(book: &BookUpdate, rule: ContinuityRule) -> Option<u64> {
    match (book.kind, rule) {
        (BookUpdateKind::Snapshot, _) => None,
        (_, ContinuityRule::Range) => book.first_id.and_then(|first| first.checked_sub(1)),
        (_, ContinuityRule::RangeThenPrevious | ContinuityRule::Previous) => book.prev_id,
        (_, ContinuityRule::PlusOne) => book.last_id.checked_sub(1),
    }
}
