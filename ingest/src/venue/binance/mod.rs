//! Binance, spot and USD-M futures.
//!
//! From the spot "WebSocket Streams" and "REST API" pages and the USD-M futures "Websocket Market Streams" pages, read 2026-11.
//! Bond uses the combined endpoint (`/stream`), whose wrapper says whose a push is where the push itself does not.
//!
//! The channels: `trade` on spot, and `aggTrade` on USD-M, where `trade` is no longer documented; `bookTicker` for the best bid and
//! ask, on spot with `miniTicker` for the last price; `depth@100ms`; `markPrice@1s`, which carries the funding, the mark and the
//! index; `forceOrder`. A USD-M ticker gets its mark and index with the funding channel, which lives on another route.

mod push;
mod rest;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{BookUpdate, Channel, MarketData};
use bond_core::instrument::{Instrument, MarketType, Venue};
use bond_core::time::UnixNanos;
use serde::Deserialize;
use serde_json::json;
use smol_str::{SmolStr, format_smolstr};

use self::push::{Envelope, Kind, Push, Reading, Wrapped};
use super::listing::SymbolMap;
use super::sink::Sink;
use super::subscription_tracker::SubscriptionTracker;
use super::wire;
use super::{
    ContinuityRule, Decoded, Keepalive, Limits, Listings, ListingsPage, Part, Protocol, Reject, Route,
    Subscription,
};

const SPOT: Route = Route { name: "stream", path: "/stream" };
/// Since 2026 USD-M streams are split; the wrong path accepts a subscription and stays silent.
const PUBLIC: Route = Route { name: "public", path: "/public/stream" };
const MARKET: Route = Route { name: "market", path: "/market/stream" };

/// Binance on one connection.
pub(super) struct Binance {
    market: MarketType,
    names: SymbolMap,
    ledger: SubscriptionTracker,
    /// The id of the last best prices of each symbol.
    best_ids: HashMap<SmolStr, u64>,
}

impl Binance {
    pub(super) fn new(market: MarketType, listings: Arc<Listings>) -> Self {
        let names = SymbolMap::new(listings, market, rest::spelling);
        Self { market, names, ledger: SubscriptionTracker::default(), best_ids: HashMap::new() }
    }

    fn streams(&self, subscription: &Subscription) -> Vec<SmolStr> {
        let suffixes: &[&str] = match (subscription.channel, self.market) {
            (Channel::Trades, MarketType::Spot) => &["trade"],
            (Channel::Trades, MarketType::Perpetual) => &["aggTrade"],
            (Channel::Ticker, MarketType::Spot) => &["bookTicker", "miniTicker"],
            (Channel::Ticker, MarketType::Perpetual) => &["bookTicker"],
            (Channel::OrderBook, _) => &["depth@100ms"],
            (Channel::Funding, MarketType::Perpetual) => &["markPrice@1s"],
            (Channel::Liquidations, MarketType::Perpetual) => &["forceOrder"],
            (Channel::Funding | Channel::Liquidations, MarketType::Spot) => &[],
        };
        let Some(name) = self.names.name_of(&subscription.instrument) else { return Vec::new() };
        let name = name.to_lowercase();
        suffixes.iter().map(|suffix| format_smolstr!("{name}@{suffix}")).collect()
    }

    fn messages(&mut self, method: &str, streams: &[SmolStr]) -> Vec<String> {
        let ask = method == "SUBSCRIBE";
        let chunks = streams.chunks(self.limits().per_message);
        chunks
            .map(|params| {
                let id = self.ledger.request(if ask { params } else { &[] });
                json!({"method": method, "params": params, "id": id}).to_string()
            })
            .collect()
    }

    fn read(&mut self, frame: &str, sink: &mut Sink<'_>) -> Result<(), Reject> {
        if let Some(envelope) = Envelope::of(frame) {
            return match Kind::of_stream(envelope.stream) {
                Some(kind) => self.read_push(kind, frame, Some(envelope), sink),
                None => ignore(frame, "a stream that Bond does not take", sink),
            };
        }
        match wire::peek(frame, "\"e\"") {
            Some(event) => match Kind::of_event(event) {
                Some(kind) => self.read_push(kind, frame, None, sink),
                None => ignore(frame, "an event that Bond does not take", sink),
            },
            None => self.read_other(frame, sink),
        }
    }

    fn read_push(
        &mut self,
        kind: Kind,
        frame: &str,
        envelope: Option<Envelope<'_>>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Reject> {
        let reading = match kind {
            Kind::Trade => payload::<push::TradePush<'_>>(frame, envelope)?.read(),
            Kind::AggregateTrade => payload::<push::AggregateTradePush<'_>>(frame, envelope)?.read(),
            Kind::BookTicker => return self.read_best(payload(frame, envelope)?, sink),
            Kind::MiniTicker => payload::<push::MiniTickerPush<'_>>(frame, envelope)?.read(),
            Kind::Depth => payload::<push::DepthPush<'_>>(frame, envelope)?.read_on(self.market),
            Kind::PartialDepth => {
                let stream = envelope.map_or("", |envelope| envelope.stream);
                payload::<push::PartialDepthPush<'_>>(frame, envelope)?.read(stream)
            }
            Kind::MarkPrice => payload::<push::MarkPricePush<'_>>(frame, envelope)?.read(),
            Kind::ForceOrder => payload::<push::ForceOrderPush<'_>>(frame, envelope)?.read(),
            Kind::ServerShutdown => {
                wire::parse::<serde::de::IgnoredAny>(frame)?;
                sink.push(Decoded::Reconnect { reason: "serverShutdown".to_owned() });
                return Ok(());
            }
        };
        self.emit(reading?, sink)
    }

    /// Best prices carry the id of the book that they are the top of: one that comes again is a repetition.
    fn read_best(&mut self, push: push::BookTickerPush<'_>, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let (symbol, id) = (push.s, push.u);
        let reading = push.read()?;
        let listing = self.names.find(symbol)?;
        let time = sink.time(reading.time);
        if self.best_ids.insert(symbol.into(), id) == Some(id) {
            let ticker =
                Subscription { instrument: Arc::clone(&listing.instrument), channel: Channel::Ticker };
            sink.push(Decoded::Unchanged(ticker, Part::Quote));
        } else {
            sink.event(&listing, time, reading.data);
        }
        Ok(())
    }

    fn emit(&mut self, reading: Reading<'_>, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let listing = self.names.find(&reading.symbol)?;
        let ticker = push::ticker_of(&reading.data);
        let time = sink.time(reading.time);
        reading.doubt.into_iter().for_each(|doubt| sink.reject(doubt));
        if let Some(kind) = reading.no_trade {
            sink.push(push::print(&listing, kind, &reading.data));
            return Ok(());
        }
        sink.event(&listing, time, reading.data);
        if let Some(ticker) = ticker {
            sink.event(&listing, time, MarketData::Ticker(ticker));
        }
        Ok(())
    }

    /// A message is refused as a whole. Its words do not say for what.
    fn refused(&mut self, id: Option<u64>, reason: String, sink: &mut Sink<'_>) {
        let named = |stream: &str| wire::mentions(&reason, stream, &JOINERS);
        let refusal = id.map(|id| self.ledger.refuse_request(id, named)).unwrap_or_default();
        let apart = refusal.apart.iter().flat_map(|streams| self.messages("SUBSCRIBE", streams)).collect();
        refusal.report(apart, reason, &mut |decoded| sink.push(decoded));
    }

    /// Answers to our messages, and the two pushes that say nothing of their kind.
    fn read_other(&mut self, frame: &str, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let other: push::Other<'_> = wire::parse(frame)?;
        let id = other.id.as_ref().and_then(serde_json::Value::as_u64);
        if let Some(reason) = other.complaint() {
            self.refused(id, reason, sink);
        } else if other.result.is_some() {
            let accepted = id.map(|id| self.ledger.accept_request(id)).unwrap_or_default();
            sink.push(Decoded::Acknowledged(accepted));
        } else if other.last_update_id.is_some() {
            return Err(Reject::Unattributed);
        } else if other.u.is_some() {
            return self.read_push(Kind::BookTicker, frame, None, sink);
        } else {
            return Err(Reject::Malformed("neither a push nor an answer".to_owned()));
        }
        Ok(())
    }
}

/// Characters that join the parts of a stream's name.
const JOINERS: [char; 4] = ['@', '_', '-', '.'];

/// What a frame carries, wrapped by the combined endpoint or not.
fn payload<'a, T: Deserialize<'a>>(frame: &'a str, envelope: Option<Envelope<'a>>) -> Result<T, Reject> {
    match envelope {
        None => wire::parse(frame),
        Some(Envelope { data: Some(data), .. }) => wire::parse(data),
        Some(Envelope { stream, data: None }) => {
            let wrapped: Wrapped<'a, T> = wire::parse(frame)?;
            let same = wrapped.stream == stream;
            same.then_some(wrapped.data)
                .ok_or_else(|| Reject::Malformed("a stream's name in the wrong place".to_owned()))
        }
    }
}

/// What is passed over must at least be JSON.
fn ignore(frame: &str, why: &'static str, sink: &mut Sink<'_>) -> Result<(), Reject> {
    wire::parse::<serde::de::IgnoredAny>(frame)?;
    sink.push(Decoded::Ignored(why));
    Ok(())
}

impl Protocol for Binance {
    fn venue(&self) -> Venue {
        Venue::Binance
    }

    fn market(&self) -> MarketType {
        self.market
    }

    fn route(&self, channel: Channel) -> Option<Route> {
        match (self.market, channel) {
            (MarketType::Spot, Channel::Funding | Channel::Liquidations) => None,
            (MarketType::Spot, _) => Some(SPOT),
            (MarketType::Perpetual, Channel::Ticker | Channel::OrderBook) => Some(PUBLIC),
            (MarketType::Perpetual, _) => Some(MARKET),
        }
    }

    /// 1,024 streams a connection, of which a spot ticker takes two. 5 messages of ours a second on spot, pongs included, 10 on
    /// USD-M; 300 connection attempts in 5 minutes; a connection is closed after 24 hours.
    fn limits(&self) -> Limits {
        let per_second = if self.market == MarketType::Spot { 4 } else { 8 };
        Limits {
            subscriptions: 512,
            per_message: 100,
            message_interval: Duration::from_millis(1_000 / per_second),
            connect_interval: Duration::from_secs(1),
            lifetime: Duration::from_secs(23 * 3_600 + 1_800),
        }
    }

    /// The venue sends ping frames, every 20 s on spot and every 3 minutes on USD-M; it asks for none.
    fn keepalive(&self) -> Option<Keepalive> {
        None
    }

    /// Streams are driven by change: a quiet pair's book was seen silent for 10.5 s. Liquidations may not come for hours.
    fn silence_budget(&self, channel: Channel) -> Duration {
        Duration::from_secs(match channel {
            Channel::Trades => 120,
            Channel::Ticker | Channel::OrderBook => 30,
            Channel::Funding => 10,
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
        let mut streams = Vec::new();
        for subscription in subscriptions {
            let needed = self.streams(subscription);
            streams.extend(self.ledger.want(subscription, needed));
        }
        self.messages("SUBSCRIBE", &streams)
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        let streams: Vec<_> = subscriptions.iter().flat_map(|ended| self.ledger.give_up(ended)).collect();
        self.messages("UNSUBSCRIBE", &streams)
    }

    fn resubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        let streams = self.ledger.want_again(subscriptions);
        let mut texts = self.messages("UNSUBSCRIBE", &streams);
        texts.extend(self.messages("SUBSCRIBE", &streams));
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

    /// "How to manage a local order book correctly", spot (as corrected on 2025-11-12, read 2026-11):
    /// 1. Open the stream, buffer the events, note the first event's `U`.
    /// 2. Get a depth snapshot. If its `lastUpdateId` is strictly less than that `U`, get another.
    /// 3. In the buffered events, discard any where `u` is <= `lastUpdateId`. The first one left should now have
    ///    `lastUpdateId` within its `[U;u]` range.
    /// 4. Per event: if `u` is less than the local id, ignore it; if `U` is greater than the local id + 1, updates were missed:
    ///    discard the local book and restart. Normally `U` of the next event is `u` + 1 of the one before.
    ///
    /// USD-M futures, the same page (read 2026-11):
    /// 1. Open the stream, buffer the events, get a depth snapshot.
    /// 2. Drop any event where `u` is < `lastUpdateId`.
    /// 3. The first processed event should have `U` <= `lastUpdateId` and `u` >= `lastUpdateId`. (Events whose `pu` is
    ///    `lastUpdateId` itself are seen as well, and follow it.)
    /// 4. Each new event's `pu` should be equal to the previous event's `u`, otherwise begin anew with the snapshot.
    fn continuity(&self) -> ContinuityRule {
        match self.market {
            MarketType::Spot => ContinuityRule::Range,
            MarketType::Perpetual => ContinuityRule::RangeThenPrevious,
        }
    }

    /// Levels beyond a snapshot are unknown until they change, so it is taken as deep as the venue gives it: 5,000 levels on spot
    /// (weight 250 of 6,000 a minute), 1,000 on USD-M (weight 20 of 2,400).
    fn snapshot_request(&self, instrument: &Instrument) -> Option<String> {
        let name = wire::in_query(self.names.name_of(instrument)?);
        Some(match self.market {
            MarketType::Spot => format!("/api/v3/depth?symbol={name}&limit=5000"),
            MarketType::Perpetual => format!("/fapi/v1/depth?symbol={name}&limit=1000"),
        })
    }

    fn decode_snapshot(&self, _instrument: &Instrument, body: &[u8]) -> Result<BookUpdate, Reject> {
        wire::parse_body::<push::BookAnswer<'_>>(body)?.snapshot()
    }

    /// The list comes whole.
    fn listings_request(&self, _after: Option<&str>) -> String {
        match self.market {
            MarketType::Spot => "/api/v3/exchangeInfo?permissions=SPOT&showPermissionSets=false".to_owned(),
            MarketType::Perpetual => "/fapi/v1/exchangeInfo".to_owned(),
        }
    }

    fn decode_listings(&self, body: &[u8]) -> Result<ListingsPage, Reject> {
        rest::listings(body, self.market)
    }
}
