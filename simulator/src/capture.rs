//! Replay of recorded frames.

mod book;
mod read;
mod shift;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use self::book::RecordedBook;
use self::read::{Record, read};
use self::shift::{Ids, Shift};
use crate::clock::{MILLI, UnixNanos};
use crate::config::{Market, Venue};
use crate::frame::Outlet;
use crate::market::{ASSETS, Spec};
use crate::rest::{Answer, Request};
use crate::seeded::{Listing, binance_info, bybit_info, okx_info};
use crate::source::Progress;

/// Update ids left out between two rounds, so that nobody takes the second for a continuation of the first.
const ROUND_GAP: u64 = 1_000;
/// Frames handed out before the caller looks at the clock again.
const BATCH: usize = 8_192;

/// A recording and the place reached in it. Its book is that of the one instrument whose snapshot was recorded.
#[derive(Debug)]
pub(crate) struct Capture {
    venue: Venue,
    market: Market,
    speed: f64,
    looped: bool,
    records: Vec<Record>,
    symbols: BTreeSet<String>,
    next: usize,
    /// Wall time of the round's beginning; `None` before the first subscription.
    origin: Option<UnixNanos>,
    announced: bool,
    finished: bool,
    /// What is added to times and ids in this round.
    shift: Shift,
    /// What one round adds.
    round: Shift,
    book: Option<RecordedBook>,
}

impl Capture {
    pub(crate) fn open(
        path: &Path,
        venue: Venue,
        market: Market,
        speed: f64,
        looped: bool,
    ) -> anyhow::Result<Self> {
        let records = read(path)?;
        let symbols = records.iter().filter_map(|record| symbol(venue, record.stream.as_deref()?)).collect();
        let round = round(&records);
        let book = records
            .iter()
            .find(|record| record.stream.is_none())
            .and_then(|record| RecordedBook::new(&record.data));
        Ok(Self {
            venue,
            market,
            speed: speed.max(1e-6),
            looped,
            records,
            symbols,
            next: 0,
            origin: None,
            announced: false,
            finished: false,
            shift: Shift::default(),
            round,
            book,
        })
    }

    pub(crate) fn start(&mut self, at: UnixNanos) {
        self.origin.get_or_insert(at);
    }

    pub(crate) fn due(&self) -> Option<UnixNanos> {
        let origin = self.origin.filter(|_| !self.finished)?;
        let offset = self.records.get(self.next).map_or(0, |record| record.offset);
        Some(origin.saturating_add((offset as f64 / self.speed) as u64))
    }

    /// Hands out what is due until `now`, at most `room` frames.
    pub(crate) fn advance(&mut self, now: UnixNanos, room: usize, outlet: &mut Outlet<'_>) -> Progress {
        let mut progress = Progress::default();
        for _ in 0..room.min(BATCH) {
            if self.due().is_none_or(|due| due > now) {
                break;
            }
            progress.started |= !std::mem::replace(&mut self.announced, true);
            self.replay(outlet);
            if self.next >= self.records.len() {
                progress.finished = self.end_round(now);
                break;
            }
        }
        progress
    }

    fn replay(&mut self, outlet: &mut Outlet<'_>) {
        let Some(record) = self.records.get(self.next) else {
            return;
        };
        self.next += 1;
        let Some(stream) = &record.stream else { return };
        let data = self.shift.apply(&record.data);
        if let Some(book) = self.book.as_mut().filter(|_| stream.contains("@depth")) {
            book.apply(&data);
        }
        put(self.venue, stream, &record.id, &data, outlet);
        if let Some(alias) = &record.alias {
            put(self.venue, alias, &record.id, &data, outlet);
        }
    }

    /// Ends the replay or begins the next round; answers whether it has ended.
    fn end_round(&mut self, now: UnixNanos) -> bool {
        if !self.looped {
            self.finished = true;
            return true;
        }
        self.next = 0;
        self.origin = Some(self.due_after_last(now));
        self.shift.add(&self.round);
        if let Some(book) = &mut self.book {
            book.reset(&self.shift);
        }
        false
    }

    fn due_after_last(&self, now: UnixNanos) -> UnixNanos {
        let span = self.records.last().map_or(0, |record| record.offset);
        let planned = self.origin.unwrap_or(now).saturating_add((span as f64 / self.speed) as u64);
        planned.max(now.saturating_sub(1_000 * MILLI))
    }

    pub(crate) fn finished(&self) -> bool {
        self.finished
    }

    pub(crate) fn lists(&self, symbol: &str) -> bool {
        self.symbols.contains(symbol)
    }

    pub(crate) fn jump(&mut self, by: u64) {
        self.shift.jump(by);
        if let Some(book) = &mut self.book {
            book.jump(by);
        }
    }

    pub(crate) fn answer(&self, request: &Request, now: UnixNanos) -> Answer {
        let listings =
            || self.symbols.iter().map(|symbol| listing(self.venue, self.market, symbol)).collect();
        match (self.venue, request.path.as_str()) {
            (Venue::Binance, "/api/v3/ping" | "/fapi/v1/ping") => Answer::new(200, "{}"),
            (Venue::Binance, "/api/v3/time" | "/fapi/v1/time") => {
                Answer::json(200, json!({"serverTime": now / MILLI}))
            }
            (Venue::Binance, "/api/v3/depth" | "/fapi/v1/depth") => self.depth(request),
            (Venue::Binance, "/api/v3/exchangeInfo" | "/fapi/v1/exchangeInfo") => {
                binance_info(self.market, listings(), request, now)
            }
            (Venue::Okx, "/api/v5/public/instruments") => okx_info(listings(), request),
            (Venue::Bybit, "/v5/market/instruments-info") => {
                bybit_info(self.market, &listings(), request, now)
            }
            _ => Answer::new(404, r#"{"msg":"Not Found"}"#),
        }
    }

    fn depth(&self, request: &Request) -> Answer {
        let known = request.get("symbol").is_some_and(|symbol| self.lists(symbol));
        let limit = request.number("limit", 100);
        match (&self.book, limit) {
            _ if !known => Answer::json(400, json!({"code": -1121, "msg": "Invalid symbol."})),
            (Some(book), Some(limit)) => Answer::new(200, book.encode(limit)),
            (_, None) => Answer::json(
                400,
                json!({"code": -1130, "msg": "Data sent for parameter 'limit' is not valid."}),
            ),
            (None, _) => {
                Answer::json(503, json!({"code": -1008, "msg": "The capture holds no depth snapshot."}))
            }
        }
    }
}

fn put(venue: Venue, stream: &str, id: &str, data: &str, outlet: &mut Outlet<'_>) {
    match venue {
        Venue::Binance => outlet.binance(stream, id, || data.to_owned()),
        _ => outlet.plain(stream, id, || data.to_owned()),
    }
}

/// Times move by the recording's span, trade ids by their range, update ids by their range and a gap.
fn round(records: &[Record]) -> Shift {
    let span = records.last().map_or(0, |record| record.offset);
    let ids = records.iter().fold(Ids::default(), |ids, record| ids.merge(&record.ids));
    let count = |range: Option<(u64, u64)>| range.map_or(0, |(low, high)| high - low + 1);
    Shift::new(span / MILLI + 1, count(ids.trade), count(ids.book) + ROUND_GAP)
}

/// The instrument that a stream is about.
fn symbol(venue: Venue, stream: &str) -> Option<String> {
    match venue {
        Venue::Binance => stream.split_once('@').map(|(symbol, _)| symbol.to_uppercase()),
        Venue::Okx => stream.split_once('/').map(|(_, instrument)| instrument.to_owned()),
        Venue::Bybit => stream.rsplit_once('.').map(|(_, symbol)| symbol.to_owned()),
    }
}

/// An instrument of the seeded market has its venue's ticks and lots there; of another only the name is known.
fn listing(venue: Venue, market: Market, symbol: &str) -> Listing {
    let mut specs = (0..ASSETS.len()).map(|asset| Spec::new(venue, market, asset));
    let known = specs.find(|spec| spec.symbol == symbol);
    known.map_or_else(|| listing_by_name(venue, symbol), |spec| Listing::of(&spec))
}

/// Ticks and lots are the finest: no number of the capture is finer.
fn listing_by_name(venue: Venue, symbol: &str) -> Listing {
    let finest = "0.00000001".to_owned();
    let (base, quote) = split_name(venue, symbol);
    Listing {
        symbol: symbol.to_owned(),
        base: base.to_owned(),
        quote: quote.to_owned(),
        tick: finest.clone(),
        lot: finest,
        contract: "1".to_owned(),
    }
}

fn split_name(venue: Venue, symbol: &str) -> (&str, &str) {
    if venue == Venue::Okx {
        let mut parts = symbol.split('-');
        return (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    }
    let by_quote = |quote: &'static str| symbol.strip_suffix(quote).map(|base| (base, quote));
    ["USDT", "USDC", "BTC"].into_iter().find_map(by_quote).unwrap_or((symbol, ""))
}
