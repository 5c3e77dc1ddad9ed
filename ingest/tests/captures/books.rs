//! Books built from captures, checked against what the venue says of their best prices on another stream.

use std::sync::Arc;

use bond_core::event::{BookUpdate, Level, MarketData};
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::time::UnixNanos;
use bond_ingest::book::{Book, Continuity, UpdateIds, Verdict};
use bond_ingest::venue::{Decoded, Listings, Protocol, Reject, protocol};
use serde_json::Value;

use crate::file::lines;

/// The best prices that `bookTicker` gave, with its update id, sorted by it.
struct Oracle(Vec<(u64, String, String)>);

impl Oracle {
    fn new(lines: &[String]) -> Self {
        let read = |line: &String| {
            let frame: Value = serde_json::from_str(line.split_once(' ')?.1).ok()?;
            let data = frame["stream"].as_str()?.ends_with("@bookTicker").then(|| frame["data"].clone())?;
            let text = |field: &str| data[field].as_str().map(str::to_owned);
            Some((data["u"].as_u64()?, text("b")?, text("a")?))
        };
        let mut tickers: Vec<_> = lines.iter().filter_map(read).collect();
        tickers.sort();
        Self(tickers)
    }

    /// The best bid and ask in force after the update `id`.
    fn at(&self, id: u64) -> Option<(&str, &str)> {
        let next = self.0.partition_point(|(u, ..)| *u <= id);
        let (_, bid, ask) = self.0.get(next.checked_sub(1)?)?;
        Some((bid, ask))
    }
}

fn price(level: Option<Level>) -> String {
    level.expect("a side with levels").price.to_string()
}

fn same(price: &str, text: &str) -> bool {
    price == text.trim_end_matches('0').trim_end_matches('.')
}

/// Counts of a run over a capture.
#[derive(Default, Debug, PartialEq)]
struct Run {
    checked: usize,
    wrong: usize,
    gaps: usize,
    snapshots_too_old: usize,
}

struct Builder {
    protocol: Box<dyn Protocol>,
    instrument: Arc<Instrument>,
    continuity: Continuity<BookUpdate>,
    book: Book,
    oracle: Oracle,
    run: Run,
}

impl Builder {
    fn new(market: MarketType, lines: &[String]) -> Self {
        let symbol = Symbol::new("BTC", "USDT", market).expect("symbol");
        let protocol = protocol(Venue::Binance, market, Arc::new(Listings::by_spelling())).expect("served");
        Self {
            instrument: Instrument::shared(Venue::Binance, symbol),
            continuity: Continuity::new(protocol.continuity()),
            protocol,
            book: Book::default(),
            oracle: Oracle::new(lines),
            run: Run::default(),
        }
    }

    fn line(&mut self, line: &str) {
        let (_, frame) = line.split_once(' ').expect("a capture line");
        let (mut out, mut rejects) = (Vec::new(), Vec::new());
        self.protocol.decode(frame, UnixNanos::EPOCH, &mut out, &mut rejects);
        for item in out {
            if let Decoded::Event(event) = item
                && let MarketData::Book(update) = event.data
            {
                self.update(update);
            }
        }
        if rejects == [Reject::Unattributed] {
            let snapshot = self.protocol.decode_snapshot(&self.instrument, frame.as_bytes());
            self.update(snapshot.expect("a snapshot"));
        }
    }

    fn update(&mut self, update: BookUpdate) {
        match self.continuity.offer(UpdateIds::from(&update), update) {
            Verdict::Apply(run) => run.iter().for_each(|update| self.apply(update)),
            Verdict::Ignore | Verdict::Old { .. } | Verdict::Buffered => {}
            Verdict::Gap { .. } => self.run.gaps += 1,
            Verdict::TooOld { .. } => self.run.snapshots_too_old += 1,
        }
    }

    fn apply(&mut self, update: &BookUpdate) {
        self.book.apply(update);
        let Some((bid, ask)) = self.oracle.at(self.book.last_id()) else { return };
        let right = same(&price(self.book.best_bid()), bid) && same(&price(self.book.best_ask()), ask);
        self.run.checked += 1;
        self.run.wrong += usize::from(!right);
    }
}

#[test]
fn a_spot_book_agrees_with_the_best_price_stream() {
    let Some(lines) = lines("binance-spot-btcusdt-20240808.ndjson.gz") else { return };
    let mut builder = Builder::new(MarketType::Spot, &lines);
    lines.iter().for_each(|line| builder.line(line));
    assert_eq!(builder.run, Run { checked: 3_450, ..Run::default() });
    assert!(builder.book.covers(20) && !builder.book.is_crossed());
}

#[test]
fn a_futures_book_agrees_with_the_best_price_stream() {
    let Some(lines) = lines("binance-usdm-btcusdt-20240808.ndjson.gz") else { return };
    let mut builder = Builder::new(MarketType::Perpetual, &lines);
    lines.iter().for_each(|line| builder.line(line));
    assert_eq!(builder.run, Run { checked: 6_548, ..Run::default() });
}

#[test]
fn a_lost_frame_of_a_capture_is_noticed() {
    let Some(mut lines) = lines("binance-spot-btcusdt-20240808.ndjson.gz") else { return };
    let lost = lines.iter().rposition(|line| line.contains("depthUpdate")).expect("a depth update");
    let before = lines[..lost].iter().rposition(|line| line.contains("depthUpdate")).expect("another");
    lines.remove(before);
    let mut builder = Builder::new(MarketType::Spot, &lines);
    lines.iter().for_each(|line| builder.line(line));
    assert_eq!((builder.run.gaps, builder.run.wrong), (1, 0));
}
