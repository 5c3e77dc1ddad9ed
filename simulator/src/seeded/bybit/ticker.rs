//! Bybit's `tickers`: snapshots on spot; on linear contracts a snapshot, then only the fields that changed.

use serde_json::{Map, Value, json};

use crate::clock::{MILLI, UnixNanos};
use crate::config::Market;
use crate::frame::Outlet;
use crate::market::Instrument;

#[derive(Debug, Default)]
pub(super) struct Ticker {
    /// The fields as last published.
    published: Map<String, Value>,
    sequence: u64,
}

fn period(market: Market) -> u64 {
    match market {
        Market::Spot => 50 * MILLI,
        Market::Perpetual => 100 * MILLI,
    }
}

impl Ticker {
    pub(super) fn boundary(&mut self, instrument: &mut Instrument, at: UnixNanos, outlet: &mut Outlet<'_>) {
        let topic = topic(instrument);
        let due =
            at.is_multiple_of(period(instrument.spec.market)) && self.sequence != instrument.book.sequence;
        if !due || outlet.interest.wanted(&topic).is_none() {
            return;
        }
        let fields = fields(instrument, at);
        let changed = changed(&self.published, &fields);
        self.published = fields;
        self.sequence = instrument.book.sequence;
        match instrument.spec.market {
            Market::Spot => self.put("snapshot", self.published.clone(), &topic, instrument, at, outlet),
            Market::Perpetual => self.put("delta", changed, &topic, instrument, at, outlet),
        }
    }

    /// The whole ticker, as last published to others.
    pub(super) fn greet(&mut self, instrument: &mut Instrument, now: UnixNanos, outlet: &mut Outlet<'_>) {
        if outlet.interest.connections(&topic(instrument)).len() == 1 {
            self.published = fields(instrument, now);
            self.sequence = instrument.book.sequence;
        }
        self.put("snapshot", self.published.clone(), &topic(instrument), instrument, now, outlet);
    }

    fn put(
        &self,
        kind: &str,
        mut data: Map<String, Value>,
        topic: &str,
        instrument: &Instrument,
        at: UnixNanos,
        outlet: &mut Outlet<'_>,
    ) {
        data.insert("symbol".to_owned(), json!(instrument.spec.symbol));
        let sequence = self.sequence;
        outlet.plain(topic, sequence, || {
            json!({"topic": topic, "type": kind, "data": data, "cs": sequence, "ts": at / MILLI}).to_string()
        });
    }
}

fn topic(instrument: &Instrument) -> String {
    format!("tickers.{}", instrument.spec.symbol)
}

fn changed(before: &Map<String, Value>, now: &Map<String, Value>) -> Map<String, Value> {
    now.iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn fields(instrument: &mut Instrument, at: UnixNanos) -> Map<String, Value> {
    let open = instrument.fair.day_open(at);
    let mut fields = common_fields(instrument, open);
    if instrument.spec.market == Market::Perpetual {
        fields.extend(perpetual_fields(instrument, at));
    }
    fields
}

fn common_fields(instrument: &Instrument, open: i64) -> Map<String, Value> {
    let (spec, totals, last) = (&instrument.spec, &instrument.totals, &instrument.last);
    let change = rust_decimal::Decimal::new((last.ticks - open) * 10_000 / open.max(1), 4);
    let texts = [
        ("lastPrice", spec.price(last.ticks).to_string()),
        ("highPrice24h", spec.price(totals.high.max(open)).to_string()),
        ("lowPrice24h", spec.price(totals.low.min(open)).to_string()),
        ("prevPrice24h", spec.price(open).to_string()),
        ("volume24h", spec.size(totals.lots).to_string()),
        ("turnover24h", totals.quote.normalize().to_string()),
        ("price24hPcnt", change.to_string()),
    ];
    texts.into_iter().map(|(key, text)| (key.to_owned(), json!(text))).collect()
}

fn perpetual_fields(instrument: &mut Instrument, at: UnixNanos) -> Map<String, Value> {
    let (mark, index) = (instrument.fair.mark(at), instrument.fair.index(at));
    let (next, rate) = instrument.fair.funding(at);
    let (bid, ask) = instrument.touch();
    let spec = &instrument.spec;
    let texts = [
        ("markPrice", spec.price(mark).to_string()),
        ("indexPrice", spec.price(index).to_string()),
        ("fundingRate", rate.normalize().to_string()),
        ("nextFundingTime", next.to_string()),
        ("bid1Price", spec.price(bid.ticks).to_string()),
        ("bid1Size", spec.size(bid.lots).to_string()),
        ("ask1Price", spec.price(ask.ticks).to_string()),
        ("ask1Size", spec.size(ask.lots).to_string()),
    ];
    texts.into_iter().map(|(key, text)| (key.to_owned(), json!(text))).collect()
}
