//! Bybit v5, spot and linear.
//!
//! From the v5 documentation ("WebSocket Stream", "Connect", the change log), read 2026-11.
//!
//! The channels: `publicTrade`; on spot `orderbook.1` for the best bid and ask with `tickers` for the last price; on linear
//! `tickers` alone, which carries the best bid and ask, the mark, the index, the open interest and the funding; `orderbook.200`, the
//! deepest that is pushed every 100 ms; `allLiquidation`.

mod push;
mod rest;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{Channel, Funding, MarketData, Ticker};
use bond_core::instrument::{MarketType, Venue};
use bond_core::time::UnixNanos;
use serde_json::json;
use smol_str::{SmolStr, format_smolstr};

use self::push::{Answer, BookData, LiquidationItem, Push, Reading, TickerData, TradeItem};
use super::listing::SymbolMap;
use super::sink::Sink;
use super::subscription_tracker::SubscriptionTracker;
use super::wire::{self, Items, Time};
use super::{
    ContinuityRule, Decoded, Keepalive, Limits, Listings, ListingsPage, Part, Protocol, Reject, Route,
    Subscription,
};

const SPOT: Route = Route { name: "spot", path: "/v5/public/spot" };
const LINEAR: Route = Route { name: "linear", path: "/v5/public/linear" };

/// Bybit on one connection.
pub(super) struct Bybit {
    market: MarketType,
    names: SymbolMap,
    ledger: SubscriptionTracker,
    /// The last `u` of each symbol's `orderbook.1`, which is sent again after 3 s without a change.
    best_ids: HashMap<SmolStr, u64>,
}

impl Bybit {
    pub(super) fn new(market: MarketType, listings: Arc<Listings>) -> Self {
        let names = SymbolMap::new(listings, market, rest::spelling);
        Self { market, names, ledger: SubscriptionTracker::default(), best_ids: HashMap::new() }
    }

    fn topics(&self, subscription: &Subscription) -> Vec<SmolStr> {
        let prefixes: &[&str] = match (subscription.channel, self.market) {
            (Channel::Trades, _) => &["publicTrade"],
            (Channel::Ticker, MarketType::Spot) => &["orderbook.1", "tickers"],
            (Channel::Ticker | Channel::Funding, MarketType::Perpetual) => &["tickers"],
            (Channel::OrderBook, _) => &["orderbook.200"],
            (Channel::Liquidations, MarketType::Perpetual) => &["allLiquidation"],
            (Channel::Funding | Channel::Liquidations, MarketType::Spot) => &[],
        };
        let Some(name) = self.names.name_of(&subscription.instrument) else { return Vec::new() };
        prefixes.iter().map(|prefix| format_smolstr!("{prefix}.{name}")).collect()
    }

    /// A spot request may have 10 arguments.
    fn messages(&mut self, operation: &str, topics: &[SmolStr]) -> Vec<String> {
        let ask = operation == "subscribe";
        let chunks = topics.chunks(if self.market == MarketType::Spot { 10 } else { 200 });
        chunks
            .map(|args| {
                let id = self.ledger.request(if ask { args } else { &[] }).to_string();
                json!({"req_id": id, "op": operation, "args": args}).to_string()
            })
            .collect()
    }

    fn read(&mut self, frame: &str, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let Some(topic) = wire::peek(frame, "\"topic\"") else { return self.read_answer(frame, sink) };
        let mut parts = topic.split('.');
        match (parts.next().unwrap_or_default(), parts.next().unwrap_or_default()) {
            ("publicTrade", _) => {
                let items: Items<TradeItem<'_>> = parse_items(frame, topic)?;
                self.emit_all(items.good.iter().map(TradeItem::read), items.bad, sink);
                Ok(())
            }
            ("allLiquidation", _) => {
                let items: Items<LiquidationItem<'_>> = parse_items(frame, topic)?;
                self.emit_all(items.good.iter().map(LiquidationItem::read), items.bad, sink);
                Ok(())
            }
            ("orderbook", "1") => self.read_best(&parse(frame, topic)?, sink),
            ("orderbook", depth) if depth.parse::<u16>().is_ok() => {
                self.read_book(&parse(frame, topic)?, sink)
            }
            ("tickers", _) => self.read_ticker(&parse(frame, topic)?, sink),
            _ => {
                wire::parse::<serde::de::IgnoredAny>(frame)?;
                sink.push(Decoded::Ignored("a topic that Bond does not take"));
                Ok(())
            }
        }
    }

    fn read_best(&mut self, push: &Push<'_, BookData<'_>>, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let BookData { s: symbol, u: id, .. } = push.data;
        let ticker = MarketData::Ticker(push.data.best(push.kind == Some("snapshot"))?);
        let listing = self.names.find(symbol)?;
        if self.best_ids.insert(symbol.into(), id) == Some(id) {
            let ticker =
                Subscription { instrument: Arc::clone(&listing.instrument), channel: Channel::Ticker };
            sink.push(Decoded::Unchanged(ticker, Part::Quote));
            return Ok(());
        }
        self.emit(Reading { symbol, time: push.time(), data: ticker }, sink)
    }

    fn read_book(&mut self, push: &Push<'_, BookData<'_>>, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let data = MarketData::Book(push.data.update(push.kind)?);
        self.emit(Reading { symbol: push.data.s, time: push.time(), data }, sink)
    }

    fn read_ticker(&mut self, push: &Push<'_, TickerData<'_>>, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let (ticker, (funding, doubt)) = (push.data.ticker()?, push.data.funding()?);
        doubt.into_iter().for_each(|doubt| sink.reject(doubt));
        if (&ticker, &funding) == (&Ticker::default(), &Funding::default()) {
            return Ok(());
        }
        let listing = self.names.find(push.data.symbol)?;
        let time = sink.time(push.time());
        if ticker != Ticker::default() {
            sink.event(&listing, time, MarketData::Ticker(ticker));
        }
        if funding != Funding::default() {
            sink.event(&listing, time, MarketData::Funding(funding));
        }
        Ok(())
    }

    fn emit_all<'a>(
        &mut self,
        readings: impl Iterator<Item = Result<Reading<'a>, Reject>>,
        unreadable: Vec<Reject>,
        sink: &mut Sink<'_>,
    ) {
        unreadable.into_iter().for_each(|reject| sink.reject(reject));
        for reading in readings {
            if let Err(reject) = reading.and_then(|reading| self.emit(reading, sink)) {
                sink.reject(reject);
            }
        }
    }

    fn emit(&mut self, reading: Reading<'_>, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let listing = self.names.find(reading.symbol)?;
        sink.event_at(&listing, reading.time, reading.data);
        Ok(())
    }

    fn read_answer(&mut self, frame: &str, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let answer: Answer<'_> = wire::parse(frame)?;
        let id = answer.req_id.and_then(|id| id.parse().ok()).unwrap_or_default();
        sink.push(match (answer.op, answer.success) {
            (Some("ping" | "pong"), _) => Decoded::Alive,
            (Some("subscribe"), Some(true)) => Decoded::Acknowledged(self.ledger.accept_request(id)),
            (_, Some(false)) => {
                self.refused(id, answer.ret_msg.unwrap_or_default().into_owned(), sink);
                return Ok(());
            }
            (Some(_), _) => Decoded::Ignored("an answer that changes nothing"),
            (None, _) => return Err(Reject::Malformed("neither a push nor an answer".to_owned())),
        });
        Ok(())
    }

    /// A message is refused as a whole for one topic in it, which the words name: `Invalid symbol :[publicTrade.XUSDT]`.
    fn refused(&mut self, id: u64, reason: String, sink: &mut Sink<'_>) {
        let named = |topic: &str| {
            let symbol = topic.rsplit('.').next().unwrap_or(topic);
            wire::mentions(&reason, topic, &JOINERS) || wire::mentions(&reason, symbol, &JOINERS)
        };
        let refusal = self.ledger.refuse_request(id, named);
        let apart = refusal.apart.iter().flat_map(|topics| self.messages("subscribe", topics)).collect();
        refusal.report(apart, reason, &mut |decoded| sink.push(decoded));
    }
}

/// Characters that join the parts of a topic.
const JOINERS: [char; 3] = ['.', '-', '_'];

impl<T> Push<'_, T> {
    fn time(&self) -> Time {
        self.cts.or(self.ts).map_or(Ok(None), wire::time)
    }
}

/// The items of a push: at once where all can be read, else one by one.
fn parse_items<'a, T: serde::Deserialize<'a>>(frame: &'a str, topic: &str) -> Result<Items<T>, Reject> {
    match parse::<Vec<T>>(frame, topic) {
        Ok(push) => Ok(push.data.into()),
        Err(_) => parse::<Items<T>>(frame, topic).map(|push| push.data),
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(frame: &'a str, topic: &str) -> Result<Push<'a, T>, Reject> {
    let push: Push<'a, T> = wire::parse(frame)?;
    if push.topic == topic {
        Ok(push)
    } else {
        Err(Reject::Malformed("a topic in the wrong place".to_owned()))
    }
}

impl Protocol for Bybit {
    fn venue(&self) -> Venue {
        Venue::Bybit
    }

    fn market(&self) -> MarketType {
        self.market
    }

    fn route(&self, channel: Channel) -> Option<Route> {
        match self.market {
            MarketType::Perpetual => Some(LINEAR),
            MarketType::Spot => (!channel.needs_perpetual()).then_some(SPOT),
        }
    }

    /// The arguments of a connection's subscriptions may have 21,000 characters in all; 500 connection attempts in 5 minutes.
    fn limits(&self) -> Limits {
        Limits {
            subscriptions: 400,
            per_message: if self.market == MarketType::Spot { 10 } else { 200 },
            message_interval: Duration::from_millis(100),
            connect_interval: Duration::from_secs(1),
            lifetime: Duration::from_secs(7 * 24 * 3_600),
        }
    }

    /// The venue wants a ping every 20 s, and cuts a connection that is silent for about 10 minutes.
    fn keepalive(&self) -> Option<Keepalive> {
        Some(Keepalive { every: Duration::from_secs(20), text: r#"{"op":"ping"}"# })
    }

    /// What a linear ticker carries changes all the time; a spot ticker may be quiet as long as its trades are.
    fn silence_budget(&self, channel: Channel) -> Duration {
        let quiet = self.market == MarketType::Spot;
        Duration::from_secs(match channel {
            Channel::Trades => 120,
            Channel::Ticker if quiet => 120,
            Channel::Ticker | Channel::OrderBook | Channel::Funding => 30,
            Channel::Liquidations => 24 * 3_600,
        })
    }

    /// The best prices and the last come on a stream each.
    fn parts(&self, channel: Channel) -> &'static [Part] {
        match (channel, self.market) {
            (Channel::Ticker, MarketType::Spot) => &[Part::Quote, Part::Last],
            (Channel::Ticker, MarketType::Perpetual) => &[Part::Quote],
            _ => &[Part::Whole],
        }
    }

    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        let mut topics = Vec::new();
        for subscription in subscriptions {
            let needed = self.topics(subscription);
            topics.extend(self.ledger.want(subscription, needed));
        }
        self.messages("subscribe", &topics)
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        let topics: Vec<_> = subscriptions.iter().flat_map(|ended| self.ledger.give_up(ended)).collect();
        self.messages("unsubscribe", &topics)
    }

    fn resubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        let topics = self.ledger.want_again(subscriptions);
        let mut texts = self.messages("unsubscribe", &topics);
        texts.extend(self.messages("subscribe", &topics));
        texts
    }

    fn decode(
        &mut self,
        frame: &str,
        received: UnixNanos,
        out: &mut Vec<Decoded>,
        rejects: &mut Vec<Reject>,
    ) {
        self.ledger.settle(out);
        Sink::new(received, out, rejects).frame(|sink| self.read(frame, sink));
    }

    /// "Orderbook" (v5 documentation, read 2026-11):
    /// 1. The first push is a snapshot, deltas follow; a size of 0 removes a level.
    /// 2. A new snapshot resets the local book.
    /// 3. `u` = 1 is a snapshot after a restart of the service: overwrite the local book.
    /// 4. For `orderbook.full` alone, `u` is documented to grow by one. For the other depths the documentation states no rule;
    ///    published captures grow by one throughout, so anything else is taken for a loss.
    fn continuity(&self) -> ContinuityRule {
        ContinuityRule::PlusOne
    }

    /// A page has 1,000 instruments at most, and names the next by `nextPageCursor` ("Get Instruments Info", read 2026-11).
    fn listings_request(&self, after: Option<&str>) -> String {
        let category = match self.market {
            MarketType::Spot => "spot",
            MarketType::Perpetual => "linear",
        };
        let cursor = after.map(|cursor| format!("&cursor={}", wire::in_query(cursor))).unwrap_or_default();
        format!("/v5/market/instruments-info?category={category}&limit=1000{cursor}")
    }

    fn decode_listings(&self, body: &[u8]) -> Result<ListingsPage, Reject> {
        rest::listings(body, self.market)
    }
}
