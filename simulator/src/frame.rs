//! A data frame on its way to the subscribers of one stream.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// What a stream carries, whatever the venue calls it. Faults choose streams by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Trades, single or aggregated.
    Trade,
    /// Best bid and ask.
    Quote,
    /// Order book: snapshots and deltas.
    Book,
    /// Ticker.
    Ticker,
    /// Funding rate, mark price, open interest.
    Funding,
    /// Liquidation orders.
    Liquidation,
    /// Anything else in a capture.
    Other,
}

impl Class {
    /// The class of a stream by its name at any of the venues.
    pub(crate) fn of(stream: &str) -> Self {
        const BY_MARK: [(&str, Class); 17] = [
            ("forceorder", Class::Liquidation),
            ("liquidation", Class::Liquidation),
            ("bookticker", Class::Quote),
            ("bbo-tbt", Class::Quote),
            ("orderbook.1.", Class::Quote),
            ("orderbook", Class::Book),
            ("depth", Class::Book),
            ("books", Class::Book),
            ("l2", Class::Book),
            ("aggtrade", Class::Trade),
            ("publictrade", Class::Trade),
            ("trade", Class::Trade),
            ("ticker", Class::Ticker),
            ("markprice", Class::Funding),
            ("funding", Class::Funding),
            ("mark-price", Class::Funding),
            ("open-interest", Class::Funding),
        ];
        let name = stream.to_ascii_lowercase();
        BY_MARK.iter().find(|(mark, _)| name.contains(mark)).map_or(Class::Other, |(_, class)| *class)
    }
}

/// One frame of one stream, encoded once for all.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) stream: Arc<str>,
    pub(crate) class: Class,
    /// The venue's id of what it carries: of the last trade, or the book's update id.
    pub(crate) id: String,
    pub(crate) text: Utf8Bytes,
    /// Binance's combined form, `{"stream":…,"data":…}`.
    pub(crate) combined: Option<Utf8Bytes>,
}

impl Frame {
    /// A frame that looks the same on every connection.
    pub(crate) fn plain(stream: &Arc<str>, id: String, text: String) -> Self {
        let class = Class::of(stream);
        Self { stream: stream.clone(), class, id, text: text.into(), combined: None }
    }

    /// A Binance frame: bare on `/ws`, wrapped on `/stream`. Both share one buffer.
    pub(crate) fn binance(stream: &Arc<str>, id: String, data: &str) -> Self {
        let whole = Bytes::from(format!("{{\"stream\":\"{stream}\",\"data\":{data}}}"));
        let start = whole.len() - 1 - data.len();
        let bare = whole.slice(start..whole.len() - 1);
        let class = Class::of(stream);
        Self { stream: stream.clone(), class, id, text: utf8(bare), combined: Some(utf8(whole)) }
    }
}

/// The bytes were cut from valid text at a character's edge.
fn utf8(bytes: Bytes) -> Utf8Bytes {
    Utf8Bytes::try_from(bytes).unwrap_or_default()
}

/// Which connections want a stream.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    by_stream: HashMap<Arc<str>, Vec<u64>>,
}

impl Interest {
    /// The stream's shared name, if anybody wants it.
    pub(crate) fn wanted(&self, stream: &str) -> Option<&Arc<str>> {
        self.by_stream.get_key_value(stream).map(|(name, _)| name)
    }

    pub(crate) fn connections(&self, stream: &str) -> &[u64] {
        self.by_stream.get(stream).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn add(&mut self, stream: &str, connection: u64) {
        self.by_stream.entry(stream.into()).or_default().push(connection);
    }

    pub(crate) fn remove(&mut self, stream: &str, connection: u64) {
        if let Some(connections) = self.by_stream.get_mut(stream) {
            connections.retain(|other| *other != connection);
            if connections.is_empty() {
                self.by_stream.remove(stream);
            }
        }
    }
}

/// Where a feed puts its frames: it asks first whether anybody wants them.
#[derive(Debug)]
pub(crate) struct Outlet<'a> {
    pub(crate) interest: &'a Interest,
    pub(crate) frames: Vec<Frame>,
}

impl Outlet<'_> {
    /// Encodes and keeps a plain frame if the stream is wanted.
    pub(crate) fn plain(&mut self, stream: &str, id: impl Display, encode: impl FnOnce() -> String) {
        if let Some(name) = self.interest.wanted(stream) {
            self.frames.push(Frame::plain(name, id.to_string(), encode()));
        }
    }

    /// Encodes and keeps a Binance frame if the stream is wanted.
    pub(crate) fn binance(&mut self, stream: &str, id: impl Display, encode: impl FnOnce() -> String) {
        if let Some(name) = self.interest.wanted(stream) {
            self.frames.push(Frame::binance(name, id.to_string(), &encode()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_classed_at_every_venue() {
        let classes = [
            ("btcusdt@trade", Class::Trade),
            ("btcusdt@aggTrade", Class::Trade),
            ("btcusdt@bookTicker", Class::Quote),
            ("btcusdt@depth@100ms", Class::Book),
            ("btcusdt@miniTicker", Class::Ticker),
            ("btcusdt@markPrice@1s", Class::Funding),
            ("btcusdt@forceOrder", Class::Liquidation),
            ("trades/BTC-USDT", Class::Trade),
            ("bbo-tbt/BTC-USDT", Class::Quote),
            ("books/BTC-USDT", Class::Book),
            ("tickers/BTC-USDT", Class::Ticker),
            ("liquidation-orders/SWAP", Class::Liquidation),
            ("orderbook.1.BTCUSDT", Class::Quote),
            ("orderbook.50.BTCUSDT", Class::Book),
            ("publicTrade.BTCUSDT", Class::Trade),
            ("allLiquidation.BTCUSDT", Class::Liquidation),
        ];
        for (stream, class) in classes {
            assert_eq!(Class::of(stream), class, "{stream}");
        }
    }

    #[test]
    fn the_combined_form_wraps_the_bare_one() {
        let frame = Frame::binance(&"a@trade".into(), "1".into(), "{\"t\":1}");
        assert_eq!(frame.text.as_str(), "{\"t\":1}");
        assert_eq!(frame.combined.unwrap().as_str(), "{\"stream\":\"a@trade\",\"data\":{\"t\":1}}");
    }
}
