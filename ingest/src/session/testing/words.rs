//! The language of the venue in memory.

use std::sync::Arc;
use std::time::Duration;

use bond_core::decimal::{Price, Quantity};
use bond_core::event::{BookUpdate, BookUpdateKind, Channel, Level, MarketData, MarketEvent, Side, Trade};
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::time::UnixNanos;

use super::BUDGET;
use crate::venue::{
    ContinuityRule, Decoded, Keepalive, Limits, Listing, Listings, ListingsPage, Protocol, Reject, Route,
    Subscription,
};

/// Frames: `ack trades BTC/USDT`, `no trades BTC/USDT`, `trade BTC/USDT 100`, `delta BTC/USDT 5 7` (first and last id),
/// `whole BTC/USDT 5`, `move`, `pong`, and `panic`, at which we do.
pub(in crate::session) struct Words {
    pub(in crate::session) listings: Arc<Listings>,
    pub(in crate::session) rule: ContinuityRule,
}

impl Words {
    pub(in crate::session) fn listing(symbols: &[&str]) -> Self {
        let mut listings = Listings::default();
        listings.extend(symbols.iter().map(|symbol| listing(symbol)));
        Self { listings: Arc::new(listings), rule: ContinuityRule::PlusOne }
    }

    fn subscription(&self, channel: &str, symbol: &str) -> Option<Subscription> {
        let symbol = Symbol::parse(symbol).ok()?;
        let instrument = Arc::clone(&self.listings.by_symbol(&symbol)?.instrument);
        Some(Subscription { instrument, channel: Channel::from_name(channel)? })
    }

    fn read(&self, frame: &str, received: UnixNanos) -> Option<Decoded> {
        let words: Vec<&str> = frame.split(' ').collect();
        let event = |symbol: &str, data: MarketData| {
            let instrument = self.subscription("trades", symbol)?.instrument;
            Some(Decoded::Event(MarketEvent { instrument, ts_event: received, ts_exchange: None, data }))
        };
        match words.as_slice() {
            ["ack", channel, symbol] => {
                Some(Decoded::Acknowledged(vec![self.subscription(channel, symbol)?]))
            }
            ["no", channel, symbol] => Some(Decoded::Refused {
                subscriptions: vec![self.subscription(channel, symbol)?],
                reason: "60018 wrong channel".to_owned(),
            }),
            ["trade", symbol, price] => event(symbol, MarketData::Trade(trade(price))),
            ["delta", symbol, first, last] => {
                event(symbol, MarketData::Book(book(BookUpdateKind::Delta, number(first), number(last))))
            }
            ["whole", symbol, last] => {
                event(symbol, MarketData::Book(book(BookUpdateKind::Snapshot, number(last), number(last))))
            }
            ["move"] => Some(Decoded::Reconnect { reason: "upgrade".to_owned() }),
            ["pong"] => Some(Decoded::Alive),
            ["panic"] => unreachable!("a fault of ours"),
            _ => None,
        }
    }
}

fn listing(symbol: &str) -> Listing {
    let symbol = Symbol::parse(symbol).unwrap();
    let name = symbol.topic_form();
    Listing { instrument: Instrument::shared(Venue::Binance, symbol), name, contract_size: None }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap()
}

fn trade(price: &str) -> Trade {
    let (price, size) = (Price::parse(price).unwrap(), Quantity::parse("1").unwrap());
    Trade { price, size, side: Side::Buy, trade_id: "1".into() }
}

fn book(kind: BookUpdateKind, first: u64, last: u64) -> BookUpdate {
    let level = Level { price: Price::parse("100").unwrap(), size: Quantity::parse("1").unwrap() };
    BookUpdate { kind, bids: vec![level], asks: vec![], last_id: last, first_id: Some(first), prev_id: None }
}

impl Protocol for Words {
    fn venue(&self) -> Venue {
        Venue::Binance
    }

    fn market(&self) -> MarketType {
        MarketType::Spot
    }

    fn route(&self, channel: Channel) -> Option<Route> {
        (!channel.needs_perpetual()).then_some(Route { name: "words", path: "/words" })
    }

    fn limits(&self) -> Limits {
        Limits {
            subscriptions: 2,
            per_message: 10,
            message_interval: Duration::from_millis(200),
            connect_interval: Duration::from_millis(500),
            lifetime: Duration::from_secs(86_400),
        }
    }

    fn keepalive(&self) -> Option<Keepalive> {
        Some(Keepalive { every: Duration::from_secs(12), text: "ping" })
    }

    fn silence_budget(&self, _: Channel) -> Duration {
        BUDGET
    }

    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        vec![sentence("sub", subscriptions)]
    }

    fn unsubscribe(&mut self, subscriptions: &[Subscription]) -> Vec<String> {
        vec![sentence("unsub", subscriptions)]
    }

    fn decode(
        &mut self,
        frame: &str,
        received: UnixNanos,
        out: &mut Vec<Decoded>,
        rejects: &mut Vec<Reject>,
    ) {
        match self.read(frame, received) {
            Some(decoded) => out.push(decoded),
            None => rejects.push(Reject::Malformed(frame.to_owned())),
        }
    }

    fn continuity(&self) -> ContinuityRule {
        self.rule
    }

    fn snapshot_request(&self, instrument: &Instrument) -> Option<String> {
        let over_rest = matches!(self.rule, ContinuityRule::Range | ContinuityRule::RangeThenPrevious);
        over_rest.then(|| format!("/depth?symbol={}", instrument.symbol))
    }

    fn decode_snapshot(&self, _: &Instrument, body: &[u8]) -> Result<BookUpdate, Reject> {
        let text = std::str::from_utf8(body).unwrap();
        Ok(BookUpdate { first_id: None, ..book(BookUpdateKind::Snapshot, 0, number(text)) })
    }

    fn listings_request(&self, after: Option<&str>) -> String {
        after.map_or_else(|| "/listings".to_owned(), |after| format!("/listings?page={after}"))
    }

    fn decode_listings(&self, body: &[u8]) -> Result<ListingsPage, Reject> {
        let mut page = ListingsPage::default();
        for word in std::str::from_utf8(body).unwrap().split(' ') {
            match (word, word.strip_prefix("next=")) {
                (_, Some(next)) => page.next = Some(next.into()),
                ("?", _) => page.unreadable.push(Reject::Malformed("no name".to_owned())),
                (name, None) => page.listings.push(listing(name)),
            }
        }
        Ok(page)
    }
}

fn sentence(verb: &str, subscriptions: &[Subscription]) -> String {
    let objects = subscriptions.iter().map(|s| format!(" {} {}", s.channel.name(), s.instrument.symbol));
    verb.to_owned() + &objects.collect::<String>()
}
