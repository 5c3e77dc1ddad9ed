//! The state that a new writer of a stream takes over from the stream's log.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::tally::{LastKnown, Timestamped};
use crate::decimal::{Price, Rate};
use crate::instrument::Venue;
use crate::log::Record;
use crate::time::UnixNanos;

/// The last window of a symbol that the previous writer published, and the figures that were valid at its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowTakeover {
    /// The end of the last published window.
    pub window_end: UnixNanos,
    /// The last price.
    pub price: Option<Price>,
    /// The last best bid.
    pub bid: Option<Price>,
    /// The last best ask.
    pub ask: Option<Price>,
    /// The last funding rate.
    pub funding_rate: Option<Rate>,
    /// The last mark price.
    pub mark: Option<Price>,
    /// The last index price.
    pub index: Option<Price>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    price_close: Option<&'a RawValue>,
    #[serde(borrow)]
    funding_rate: Option<&'a RawValue>,
    #[serde(borrow)]
    mark: Option<&'a RawValue>,
    #[serde(borrow)]
    index: Option<&'a RawValue>,
    #[serde(borrow)]
    raw_data: Option<RawData<'a>>,
}

#[derive(Deserialize, Default)]
struct RawData<'a> {
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
}

impl WindowTakeover {
    /// Reads an aggregate in the log, and the symbol (or `*`) that it is about. Figures that a projection left out are not known. `None` if
    /// the record is not an aggregate.
    pub fn from_record(record: &Record) -> Option<(String, Self)> {
        let text = [b"{", record.body.as_ref(), b"}"].concat();
        let body: Body<'_> = serde_json::from_slice(&text).ok()?;
        let raw = body.raw_data.unwrap_or_default();
        let carried = Self {
            window_end: record.ts,
            price: price(body.price_close),
            bid: price(raw.bid),
            ask: price(raw.ask),
            funding_rate: body.funding_rate.and_then(|rate| Rate::parse(rate.get()).ok()),
            mark: price(body.mark),
            index: price(body.index),
        };
        Some((body.symbol.into_owned(), carried))
    }

    /// The figures as last known values, with a time before every event of the next window.
    pub(super) fn standing(&self) -> LastKnown {
        LastKnown {
            price: self.mark_at(self.price),
            bid: self.mark_at(self.bid.map(Some)),
            ask: self.mark_at(self.ask.map(Some)),
            funding_rate: self.mark_at(self.funding_rate),
            mark: self.mark_at(self.mark),
            index: self.mark_at(self.index),
        }
    }

    fn mark_at<T>(&self, value: Option<T>) -> Option<Timestamped<T>> {
        let ts = UnixNanos::from_nanos(self.window_end.as_nanos().saturating_sub(1));
        value.map(|value| Timestamped { ts, venue: Venue::Okx, value })
    }
}

fn price(raw: Option<&RawValue>) -> Option<Price> {
    Price::parse(raw?.get()).ok()
}
