//! OKX v5, spot and linear swaps.
//!
//! From the v5 API documentation ("Overview", "Order Book Trading", "Public Data", the change log), read 2026-11.
//!
//! The channels: `trades`; `tickers` for the last price with `bbo-tbt` for the best bid and ask, and for swaps `mark-price`,
//! `index-tickers` and `open-interest`; `books`, 400 levels deep; `funding-rate`, with the mark and the index beside it;
//! `liquidation-orders`, one subscription for all swaps, which does not carry every liquidation. `books` needs no login, unlike the
//! deeper or faster `books-l2-tbt`. The `checksum` is 0 since 2026-06-23 and proves nothing.

mod push;
mod rest;
#[cfg(test)]
pub(super) mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bond_core::event::{Channel, MarketData};
use bond_core::instrument::{MarketType, Venue};
use bond_core::time::UnixNanos;
use serde::Deserialize;
use serde_json::{Value, json};
use smol_str::{SmolStr, format_smolstr};

use self::push::{Answer, Arg, Context, Item, Push};
use super::listing::SymbolMap;
use super::sink::Sink;
use super::subscription_tracker::{Refusal, SubscriptionTracker};
use super::wire::{self, Items};
use super::{
    ContinuityRule, Decoded, Keepalive, Limits, Listing, Listings, ListingsPage, Part, Protocol, Reject,
    Route, Subscription,
};

const PUBLIC: Route = Route { name: "public", path: "/ws/v5/public" };

/// Arguments in one message, which may have 64 KB.
const MAX_ARGS: usize = 200;

/// "Requests too frequent", which says nothing of what was asked for.
const TOO_FREQUENT: &str = "60014";

/// OKX on one connection.
pub(super) struct Okx {
    market: MarketType,
    names: SymbolMap,
    ledger: SubscriptionTracker,
    /// Instruments whose best bid and ask come by `bbo-tbt`: `tickers` repeats them later, which would count them twice.
    quoted: HashSet<SmolStr>,
    found: push::Found,
}

impl Okx {
    pub(super) fn new(market: MarketType, listings: Arc<Listings>) -> Self {
        Self {
            market,
            names: SymbolMap::new(listings, market, rest::spelling),
            ledger: SubscriptionTracker::default(),
            quoted: HashSet::new(),
            found: push::Found::default(),
        }
    }

    fn topics(&self, subscription: &Subscription) -> Vec<SmolStr> {
        let channels: &[&str] = match (subscription.channel, self.market) {
            (Channel::Trades, _) => &["trades"],
            (Channel::Ticker, MarketType::Spot) => &["tickers", "bbo-tbt"],
            (Channel::Ticker, MarketType::Perpetual) => {
                &["tickers", "bbo-tbt", "mark-price", "index-tickers", "open-interest"]
            }
            (Channel::OrderBook, _) => &["books"],
            (Channel::Funding, MarketType::Perpetual) => &["funding-rate", "mark-price", "index-tickers"],
            (Channel::Liquidations, MarketType::Perpetual) => &["liquidation-orders"],
            (Channel::Funding | Channel::Liquidations, MarketType::Spot) => &[],
        };
        let Some(name) = self.names.name_of(&subscription.instrument) else { return Vec::new() };
        channels.iter().map(|channel| topic(channel, name)).collect()
    }

    fn messages(&mut self, operation: &str, topics: &[SmolStr]) -> Vec<String> {
        let ask = operation == "subscribe";
        let chunks = topics.chunks(MAX_ARGS);
        chunks
            .map(|topics| {
                let id = self.ledger.request(if ask { topics } else { &[] }).to_string();
                let args: Vec<Value> = topics.iter().map(|topic| argument(topic)).collect();
                json!({"id": id, "op": operation, "args": args}).to_string()
            })
            .collect()
    }

    fn read(&mut self, frame: &str, sink: &mut Sink<'_>) -> Result<(), Reject> {
        if frame == "pong" {
            sink.push(Decoded::Alive);
            return Ok(());
        }
        let Some(channel) = wire::peek(frame, "\"channel\"") else { return self.read_answer(frame, sink) };
        match channel {
            "trades" | "trades-all" => self.read_push::<push::TradeItem<'_>>(channel, frame, sink),
            "tickers" => self.read_push::<push::TickerItem<'_>>(channel, frame, sink),
            "bbo-tbt" => self.read_push::<push::BestItem<'_>>(channel, frame, sink),
            "books" | "books5" | "books-l2-tbt" | "books50-l2-tbt" => {
                self.read_push::<push::BookItem<'_>>(channel, frame, sink)
            }
            "mark-price" | "index-tickers" | "open-interest" => {
                self.read_push::<push::FigureItem<'_>>(channel, frame, sink)
            }
            "funding-rate" => self.read_push::<push::FundingItem<'_>>(channel, frame, sink),
            "liquidation-orders" => self.read_push::<push::LiquidationItem<'_>>(channel, frame, sink),
            _ => self.read_unknown(frame, sink),
        }
    }

    fn read_push<'a, T: Item + Deserialize<'a>>(
        &mut self,
        channel: &str,
        frame: &'a str,
        sink: &mut Sink<'_>,
    ) -> Result<(), Reject> {
        let push = parse_items::<T>(frame)?;
        let Some(items) = push.data else { return self.read_answer(frame, sink) };
        if push.arg.channel != channel {
            return Err(Reject::Malformed("a channel's name in the wrong place".to_owned()));
        }
        items.bad.into_iter().for_each(|reject| sink.reject(reject));
        for item in &items.good {
            match self.read_item(&push.arg, push.action, item) {
                Ok(listing) => self.emit(&listing, sink),
                Err(reject) => sink.reject(reject),
            }
        }
        Ok(())
    }

    fn emit(&mut self, listing: &Listing, sink: &mut Sink<'_>) {
        self.found.rejects.drain(..).for_each(|reject| sink.reject(reject));
        self.found.readings.drain(..).for_each(|(time, data)| sink.event_at(listing, time, data));
    }

    fn read_item(
        &mut self,
        arg: &Arg<'_>,
        action: Option<&str>,
        item: &impl Item,
    ) -> Result<Arc<Listing>, Reject> {
        self.found.readings.clear();
        self.found.rejects.clear();
        let name = item.inst_id().or(arg.inst_id).unwrap_or_default();
        let listing = match arg.channel {
            "index-tickers" => self.names.find(&format_smolstr!("{name}-SWAP"))?,
            _ => self.names.find(name)?,
        };
        item.read(&Context { listing: &listing, unit: listing.unit()?, action }, &mut self.found)?;
        match arg.channel {
            "bbo-tbt" if !self.quoted.contains(&listing.name) => {
                self.quoted.insert(listing.name.clone());
            }
            "tickers" if self.quoted.contains(&listing.name) => {
                self.found.readings.iter_mut().for_each(without_quote);
            }
            _ => {}
        }
        Ok(listing)
    }

    /// A channel that Bond does not take: its acknowledgement is an answer, its data are passed over.
    fn read_unknown(&mut self, frame: &str, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let push: Push<'_, Vec<serde::de::IgnoredAny>> = wire::parse(frame)?;
        if push.data.is_none() {
            return self.read_answer(frame, sink);
        }
        sink.push(Decoded::Ignored("a channel that Bond does not take"));
        Ok(())
    }

    fn read_answer(&mut self, frame: &str, sink: &mut Sink<'_>) -> Result<(), Reject> {
        let answer: Answer<'_> = wire::parse(frame)?;
        sink.push(match (answer.event, &answer.arg) {
            ("subscribe", Some(arg)) => Decoded::Acknowledged(self.ledger.accept(&push::topic(arg))),
            ("error", _) if answer.code.as_deref() == Some(TOO_FREQUENT) => {
                Decoded::Ignored("asked too often, to be asked again at the deadlines")
            }
            ("error" | "channel-conn-count-error", _) => {
                self.refused(&answer, sink);
                return Ok(());
            }
            ("notice", _) => Decoded::Reconnect { reason: answer.reason() },
            _ => Decoded::Ignored("an answer that changes nothing"),
        });
        Ok(())
    }

    /// An error names its channel and instrument only in its words, if at all. It has the id of the message that it answers, where
    /// that had one; then what else the message asked for is asked for apart.
    fn refused(&mut self, answer: &Answer<'_>, sink: &mut Sink<'_>) {
        let words = answer.msg.as_deref().unwrap_or_default();
        let named = |topic: &str| {
            let (channel, name) = topic.split_once(':').unwrap_or((topic, ""));
            wire::mentions(words, channel, &['-']) && wire::mentions(words, name, &['-'])
        };
        let id = answer.id.and_then(|id| id.parse().ok()).filter(|id| self.ledger.awaits(*id));
        let refusal = match id {
            Some(id) => self.ledger.refuse_request(id, named),
            None => {
                let topics: Vec<_> = self.ledger.open().filter(|topic| named(topic)).cloned().collect();
                let lacking = topics.iter().flat_map(|topic| self.ledger.refuse(topic)).collect();
                Refusal { lacking, apart: Vec::new() }
            }
        };
        let apart = refusal.apart.iter().flat_map(|topics| self.messages("subscribe", topics)).collect();
        refusal.report(apart, answer.reason(), &mut |decoded| sink.push(decoded));
    }
}

/// A push with its items: read at once where all can be read, else one by one.
fn parse_items<'a, T: Deserialize<'a>>(frame: &'a str) -> Result<Push<'a, Items<T>>, Reject> {
    match wire::parse::<Push<'a, Vec<T>>>(frame) {
        Ok(Push { arg, action, data }) => Ok(Push { arg, action, data: data.map(Items::from) }),
        Err(_) => wire::parse(frame),
    }
}

fn without_quote((_, data): &mut push::Reading) {
    if let MarketData::Ticker(ticker) = data {
        (ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size) = (None, None, None, None);
        (ticker.no_bid, ticker.no_ask) = (false, false);
    }
}

fn topic(channel: &str, name: &str) -> SmolStr {
    match channel {
        "liquidation-orders" => SmolStr::new_static("liquidation-orders:SWAP"),
        "index-tickers" => format_smolstr!("{channel}:{}", name.trim_end_matches("-SWAP")),
        _ => format_smolstr!("{channel}:{name}"),
    }
}

fn argument(topic: &str) -> Value {
    match topic.split_once(':') {
        Some((channel @ "liquidation-orders", kind)) => json!({"channel": channel, "instType": kind}),
        Some((channel, name)) => json!({"channel": channel, "instId": name}),
        None => json!({"channel": topic}),
    }
}

impl Protocol for Okx {
    fn venue(&self) -> Venue {
        Venue::Okx
    }

    fn market(&self) -> MarketType {
        self.market
    }

    fn route(&self, channel: Channel) -> Option<Route> {
        let lacking = channel.needs_perpetual() && self.market == MarketType::Spot;
        (!lacking).then_some(PUBLIC)
    }

    /// 3 connection attempts a second; fewer than 30 channels of 400 levels advised on a connection, taken here as 30 instruments
    /// with a book, a ticker and trades; 480 messages of ours an hour on a connection, which resubscribing does not come near.
    fn limits(&self) -> Limits {
        Limits {
            subscriptions: 90,
            per_message: 40,
            message_interval: Duration::from_millis(250),
            connect_interval: Duration::from_millis(400),
            lifetime: Duration::from_secs(7 * 24 * 3_600),
        }
    }

    /// The venue closes a connection that was silent for 30 s.
    fn keepalive(&self) -> Option<Keepalive> {
        Some(Keepalive { every: Duration::from_secs(20), text: "ping" })
    }

    /// An idle book says so every 60 s; funding rates come every 30 to 90 s.
    fn silence_budget(&self, channel: Channel) -> Duration {
        Duration::from_secs(match channel {
            Channel::Trades | Channel::Funding => 120,
            Channel::Ticker => 60,
            Channel::OrderBook => 75,
            Channel::Liquidations => 24 * 3_600,
        })
    }

    /// `tickers` has best prices too, besides those of `bbo-tbt`, but it alone has the last one.
    fn parts(&self, channel: Channel) -> &'static [Part] {
        match channel {
            Channel::Ticker => &[Part::Last],
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

    /// "Order book channel", `seqId` and `prevSeqId` (v5 documentation, read 2026-11):
    /// 1. The first push is a snapshot, with `prevSeqId` = -1.
    /// 2. A push follows the one before it if its `prevSeqId` is that one's `seqId`. The new `seqId` need not be one more.
    /// 3. Without an update for about 60 s, a push without levels says so: its `seqId` is its `prevSeqId`.
    /// 4. A maintenance may reset the sequence: then once `seqId` is less than `prevSeqId`, and what follows goes on from there.
    ///
    /// After a break the channel has to be unsubscribed and subscribed again: a second subscribe alone is acknowledged without a
    /// new snapshot.
    fn continuity(&self) -> ContinuityRule {
        ContinuityRule::Previous
    }

    /// The list comes whole.
    fn listings_request(&self, _after: Option<&str>) -> String {
        match self.market {
            MarketType::Spot => "/api/v5/public/instruments?instType=SPOT".to_owned(),
            MarketType::Perpetual => "/api/v5/public/instruments?instType=SWAP".to_owned(),
        }
    }

    fn decode_listings(&self, body: &[u8]) -> Result<ListingsPage, Reject> {
        rest::listings(body)
    }
}
