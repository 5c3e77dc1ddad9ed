//! The JSON fields of an aggregate.

use bytes::Bytes;
use smol_str::SmolStr;

use super::aggregate::{Aggregate, FUNDING_FIELDS, NUMERIC_FIELDS};
use super::number::Number;
use super::tally::Accumulator;
use crate::log::{EventKind, Record};
use crate::time::UnixNanos;

/// The figures that `raw_data.by_exchange` gives for each venue, besides its number of trades. What a venue told nothing about within
/// the window is null.
const VENUE_FIELDS: [&str; 9] = [
    "volume_sum",
    "price_avg",
    "price_open",
    "price_high",
    "price_low",
    "price_close",
    "vwap",
    "bid_avg",
    "ask_avg",
];

impl Aggregate {
    /// Appends the event's own JSON fields without the braces; `type`, `topic`, `epoch`, `seq` and `ts` are the log's to add.
    pub fn write_body(&self, out: &mut Vec<u8>) {
        for field in self.field_names() {
            self.write_field(field, out);
        }
    }

    /// The event as it goes into the log.
    pub fn to_record(&self) -> Record {
        let mut body = Vec::with_capacity(1024);
        self.write_body(&mut body);
        record(self.window_end(), body)
    }

    /// The names of its fields, in the order in which they are written.
    pub(super) fn field_names(&self) -> impl Iterator<Item = &'static str> {
        let funding: &[&str] = if self.funding { &FUNDING_FIELDS } else { &[] };
        let head = ["window_start", "window_end", "symbol"].into_iter().chain(NUMERIC_FIELDS);
        head.chain(["complete"]).chain(funding.iter().copied()).chain(["raw_data"])
    }

    /// Appends one of its fields, by name.
    pub(super) fn write_field(&self, field: &str, out: &mut Vec<u8>) {
        write_name(field, out);
        match field {
            "window_start" => write_time(self.start, out),
            "window_end" => write_time(self.end, out),
            "symbol" => write_text(&self.symbol, out),
            "complete" => write_bool(self.complete, out),
            "raw_data" => self.write_raw_data(out),
            "by_exchange" => self.write_venues(out),
            _ => write_number(self.number(field), out),
        }
    }

    fn write_raw_data(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        write_name("trades", out);
        write_number(Some(Number::from_count(self.total.trades)), out);
        write_name("sources", out);
        write_texts(self.venues.iter().map(|(venue, _)| venue.name()), out);
        write_name("by_exchange", out);
        self.write_venues(out);
        write_name("bid", out);
        write_number(self.standing.bid_number(), out);
        write_name("ask", out);
        write_number(self.standing.ask_number(), out);
        write_name("simulated", out);
        write_bool(self.simulated, out);
        write_name("down", out);
        write_texts(self.down.iter().map(SmolStr::as_str), out);
        out.push(b'}');
    }

    fn write_venues(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (venue, tally) in &self.venues {
            write_name(venue.name(), out);
            self.write_venue(tally, out);
        }
        out.push(b'}');
    }

    fn write_venue(&self, tally: &Accumulator, out: &mut Vec<u8>) {
        out.push(b'{');
        write_name("trades", out);
        write_number(Some(Number::from_count(tally.trades)), out);
        for field in VENUE_FIELDS {
            write_name(field, out);
            write_number(tally.number(field), out);
        }
        let funding: &[&str] = if self.funding { &FUNDING_FIELDS } else { &[] };
        for field in funding {
            write_name(field, out);
            write_number(tally.last.number(field), out);
        }
        out.push(b'}');
    }
}

/// An aggregate's record, whose time is its window's end.
pub(super) fn record(window_end: UnixNanos, body: Vec<u8>) -> Record {
    Record {
        kind: EventKind::Aggregate,
        ts: window_end,
        order: window_end,
        body: Bytes::from(body),
        changes: None,
    }
}

/// Appends `"name":`, after a comma unless it is the first of its object.
pub(super) fn write_name(name: &str, out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{')) {
        out.push(b',');
    }
    write_text(name, out);
    out.push(b':');
}

/// Appends a number, or null.
pub(super) fn write_number(number: Option<Number>, out: &mut Vec<u8>) {
    match number {
        Some(number) => number.write_json(out),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_bool(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_time(time: UnixNanos, out: &mut Vec<u8>) {
    out.push(b'"');
    time.write_rfc3339(out);
    out.push(b'"');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("text is always JSON, and a vector takes it");
}

fn write_texts<'a>(texts: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(text, out);
    }
    out.push(b']');
}
