//! The JSON of flat events, as clients receive it. It is written by hand into byte buffers, since every event of every stream passes
//! here.
//!
//! A function named after a kind of event appends the event's own fields without the braces. That is what a
//! [`Record`](crate::log::Record) holds; [`frame`] then adds the position. Decimals have all their significant digits. Times named
//! `ts_…` and `…_time` are Unix milliseconds. A field whose value is not known is left out, except `ts_exchange` and `prev_sequence`,
//! which are `null`.

use crate::decimal::{Price, Quantity, write_decimal};
use crate::event::{BookUpdateKind, Custom, Funding, Level, Liquidation, MarketEvent, Ticker, Trade, Tweet};
use crate::instrument::{Instrument, MarketType};
use crate::log::EventKind;
use crate::position::Epoch;
use crate::time::UnixNanos;

/// The instrument and the two times of an event.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The instrument.
    pub instrument: &'a Instrument,
    /// When we received it.
    pub ts_event: UnixNanos,
    /// The venue's own time of the event, if it gives one.
    pub ts_exchange: Option<UnixNanos>,
}

impl<'a> From<&'a MarketEvent> for Stamp<'a> {
    fn from(event: &'a MarketEvent) -> Self {
        Self { instrument: &event.instrument, ts_event: event.ts_event, ts_exchange: event.ts_exchange }
    }
}

/// An order book, or changes of it, as a client receives it.
#[derive(Clone, Copy, Debug)]
pub struct BookView<'a> {
    /// Whether the venue's sequence begins with this event or continues.
    pub update_type: BookUpdateKind,
    /// Whether `bids` and `asks` are changed levels only (`"book":"changes"`) instead of the whole book to its depth.
    pub changes_only: bool,
    /// The most levels per side.
    pub depth: usize,
    /// The venue's id after this event.
    pub sequence: u64,
    /// The venue's id after the topic's previous event; `None` on a snapshot.
    pub prev_sequence: Option<u64>,
    /// Bids, best first.
    pub bids: &'a [Level],
    /// Asks, best first.
    pub asks: &'a [Level],
}

/// A complete flat event: `type`, `topic`, `epoch`, `seq` and `ts`, followed by `body`. Market events also carry their number as
/// `seq_internal`. `topic` is the topic's name.
pub fn frame(topic: &str, epoch: &Epoch, seq: u64, ts: UnixNanos, kind: EventKind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 192);
    head(kind.name(), topic, epoch, &mut out);
    field_integer("seq", seq, &mut out);
    if kind != EventKind::Aggregate && !kind.is_published() {
        field_integer("seq_internal", seq, &mut out);
    }
    key("ts", &mut out);
    out.push(b'"');
    ts.write_rfc3339(&mut out);
    out.extend_from_slice(b"\",");
    tail(body, &mut out);
    out
}

/// A complete `status` that follows event `after_seq` of the topic of this name.
pub fn status(topic: &str, epoch: &Epoch, after_seq: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 128);
    head("status", topic, epoch, &mut out);
    field_integer("after_seq", after_seq, &mut out);
    out.push(b',');
    tail(body, &mut out);
    out
}

fn head(kind: &str, topic: &str, epoch: &Epoch, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    field_text("topic", topic, out);
    field_text("epoch", epoch.as_str(), out);
}

fn tail(body: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(body);
    out.push(b'}');
}

/// Appends the fields of a trade.
pub fn trade(stamp: &Stamp<'_>, trade: &Trade, out: &mut Vec<u8>) {
    stamp_fields(stamp, out);
    field_price("price", Some(trade.price), out);
    field_quantity("size", Some(trade.size), out);
    field_text("side", trade.side.name(), out);
    key("trade_id", out);
    string(&trade.trade_id, out);
}

/// Appends those figures of a ticker that are known.
pub fn ticker(stamp: &Stamp<'_>, ticker: &Ticker, out: &mut Vec<u8>) {
    stamp_fields(stamp, out);
    if ticker.no_bid {
        out.extend_from_slice(b",\"bid\":null,\"bid_size\":null");
    }
    if ticker.no_ask {
        out.extend_from_slice(b",\"ask\":null,\"ask_size\":null");
    }
    field_price("bid", ticker.bid, out);
    field_price("ask", ticker.ask, out);
    field_quantity("bid_size", ticker.bid_size, out);
    field_quantity("ask_size", ticker.ask_size, out);
    field_price("last", ticker.last, out);
    field_price("mark", ticker.mark, out);
    field_price("index", ticker.index, out);
    field_quantity("open_interest", ticker.open_interest, out);
}

/// Appends the fields of an order book, whole or changes.
pub fn order_book(stamp: &Stamp<'_>, book: &BookView<'_>, out: &mut Vec<u8>) {
    stamp_fields(stamp, out);
    let update_type = match book.update_type {
        BookUpdateKind::Snapshot => "snapshot",
        BookUpdateKind::Delta => "delta",
    };
    field_text("update_type", update_type, out);
    if book.changes_only {
        field_text("book", "changes", out);
    }
    field_integer("depth", book.depth, out);
    field_integer("sequence", book.sequence, out);
    key("prev_sequence", out);
    match book.prev_sequence {
        Some(sequence) => integer(sequence, out),
        None => out.extend_from_slice(b"null"),
    }
    field_levels("bids", book.bids, out);
    field_levels("asks", book.asks, out);
}

/// Appends those figures of a funding that are known.
pub fn funding(stamp: &Stamp<'_>, funding: &Funding, out: &mut Vec<u8>) {
    stamp_fields(stamp, out);
    if let Some(rate) = funding.rate {
        key("rate", out);
        rate.write_json(out);
    }
    if let Some(time) = funding.next_time {
        field_integer("next_time", time.as_millis(), out);
    }
    field_price("mark", funding.mark, out);
    field_price("index", funding.index, out);
}

/// Appends the fields of a liquidation.
pub fn liquidation(stamp: &Stamp<'_>, liquidation: &Liquidation, out: &mut Vec<u8>) {
    stamp_fields(stamp, out);
    field_price("price", Some(liquidation.price), out);
    field_quantity("size", Some(liquidation.size), out);
    field_text("side", liquidation.side.name(), out);
}

/// Appends the fields of a post. Its `exchange` is `social`, and its `symbol` is the asset.
pub fn tweet(tweet: &Tweet, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"exchange\":\"social\",\"symbol\":");
    string(&tweet.asset, out);
    times(tweet.ts_event, tweet.ts_exchange, out);
    for (name, text) in [("id", &*tweet.id), ("author", &*tweet.author), ("text", &*tweet.text)] {
        key(name, out);
        string(text, out);
    }
    if let Some(sentiment) = tweet.sentiment {
        key("sentiment", out);
        write_decimal(sentiment, out);
    }
    key("simulated", out);
    out.extend_from_slice(if tweet.simulated { b"true" } else { b"false" });
}

/// Appends the fields of a custom event. Its `exchange` is `custom`. Its `symbol` is `*` if it names none.
pub fn custom(custom: &Custom, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"exchange\":\"custom\",\"symbol\":");
    string(custom.symbol.as_deref().unwrap_or("*"), out);
    times(custom.ts_event, custom.ts_exchange, out);
    key("source", out);
    string(&custom.source, out);
    key("value", out);
    out.extend_from_slice(custom.value.as_bytes());
}

/// Appends a venue's own frame, `data`, which must be JSON, and the venue's name of its channel.
pub fn raw(stamp: &Stamp<'_>, channel: &str, data: &[u8], out: &mut Vec<u8>) {
    stamp_fields(stamp, out);
    out.extend_from_slice(b",\"payload\":{\"type\":");
    string(channel, out);
    out.extend_from_slice(b",\"data\":");
    out.extend_from_slice(data);
    out.push(b'}');
}

/// Appends the placeholder for a venue's frame that, at `size` bytes, is too large to be sent.
pub fn raw_truncated(stamp: &Stamp<'_>, channel: &str, size: usize, out: &mut Vec<u8>) {
    raw(stamp, channel, b"null", out);
    out.extend_from_slice(b",\"truncated\":true");
    field_integer("size", size, out);
}

fn stamp_fields(stamp: &Stamp<'_>, out: &mut Vec<u8>) {
    let Instrument { venue, symbol } = stamp.instrument;
    out.extend_from_slice(b"\"exchange\":\"");
    out.extend_from_slice(venue.name().as_bytes());
    out.extend_from_slice(b"\",\"symbol\":\"");
    out.extend_from_slice(symbol.base().as_bytes());
    out.push(b'/');
    out.extend_from_slice(symbol.quote().as_bytes());
    if symbol.market() == MarketType::Perpetual {
        out.push(b':');
        out.extend_from_slice(symbol.quote().as_bytes());
    }
    out.push(b'"');
    times(stamp.ts_event, stamp.ts_exchange, out);
}

fn times(ts_event: UnixNanos, ts_exchange: Option<UnixNanos>, out: &mut Vec<u8>) {
    field_integer("ts_event", ts_event.as_millis(), out);
    key("ts_exchange", out);
    match ts_exchange {
        Some(time) => integer(time.as_millis(), out),
        None => out.extend_from_slice(b"null"),
    }
}

fn field_levels(name: &str, levels: &[Level], out: &mut Vec<u8>) {
    key(name, out);
    out.push(b'[');
    for (place, level) in levels.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"[" } else { b",[" });
        level.price.write_json(out);
        out.push(b',');
        level.size.write_json(out);
        out.push(b']');
    }
    out.push(b']');
}

fn field_price(name: &str, price: Option<Price>, out: &mut Vec<u8>) {
    if let Some(price) = price {
        key(name, out);
        price.write_json(out);
    }
}

fn field_quantity(name: &str, quantity: Option<Quantity>, out: &mut Vec<u8>) {
    if let Some(quantity) = quantity {
        key(name, out);
        quantity.write_json(out);
    }
}

fn field_integer(name: &str, value: impl itoa::Integer, out: &mut Vec<u8>) {
    key(name, out);
    integer(value, out);
}

/// Appends a text field. `text` must not need JSON escapes.
fn field_text(name: &str, text: &str, out: &mut Vec<u8>) {
    key(name, out);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string is JSON, and a vector takes it");
}
