//! A venue in memory: it speaks a language of words, and does what the test says.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bond_core::decimal::{Price, Quantity};
use bond_core::event::{BookUpdate, BookUpdateKind, Channel, Level, MarketData, MarketEvent, Side, Trade};
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::source::SourceState;
use bond_core::time::{ManualClock, UnixNanos};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Heard, MarketConfig, MarketHandle, Socket, SocketError, Timing, Transport, market};
use crate::report::Report;
use crate::rest::RestError;
use crate::venue::{
    ContinuityRule, Decoded, Keepalive, Limits, Listing, Listings, Protocol, Reject, Route, Subscription,
};

/// How long an instrument may be silent at this venue.
pub(super) const BUDGET: Duration = Duration::from_secs(20);

pub(super) fn subscription(symbol: &str, channel: Channel) -> Subscription {
    Subscription { instrument: Instrument::shared(Venue::Binance, Symbol::parse(symbol).unwrap()), channel }
}

pub(super) fn trades(symbol: &str) -> Subscription {
    subscription(symbol, Channel::Trades)
}

/// Frames: `ack trades BTC/USDT`, `no trades BTC/USDT`, `trade BTC/USDT 100`, `delta BTC/USDT 5 7` (first and last id),
/// `whole BTC/USDT 5`, `move`, `pong`.
pub(super) struct Words {
    pub(super) listings: Arc<Listings>,
    pub(super) rule: ContinuityRule,
}

impl Words {
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
            _ => None,
        }
    }
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

    fn listings_request(&self) -> &'static str {
        "/listings"
    }

    fn decode_listings(&self, body: &[u8]) -> Result<Vec<Listing>, Reject> {
        let listing = |symbol: &str| {
            let symbol = Symbol::parse(symbol).unwrap();
            let name = symbol.topic_form();
            Listing { instrument: Instrument::shared(Venue::Binance, symbol), name, contract_size: None }
        };
        Ok(std::str::from_utf8(body).unwrap().split(' ').map(listing).collect())
    }
}

fn sentence(verb: &str, subscriptions: &[Subscription]) -> String {
    let objects = subscriptions.iter().map(|s| format!(" {} {}", s.channel.name(), s.instrument.symbol));
    verb.to_owned() + &objects.collect::<String>()
}

/// The venue's end of a connection.
pub(super) struct Peer {
    pub(super) url: Url,
    pub(super) mouth: Mouth,
    from_client: mpsc::Receiver<String>,
}

/// What the venue speaks with.
#[derive(Clone)]
pub(super) struct Mouth(mpsc::Sender<Result<Heard, SocketError>>);

impl Mouth {
    pub(super) async fn say(&self, frame: &str) {
        self.0.send(Ok(Heard::Text(frame.into()))).await.unwrap();
    }

    /// Says the same every five seconds, for ever, heard or not.
    pub(super) async fn repeat(&self, frame: &str) {
        loop {
            drop(self.0.send(Ok(Heard::Text(frame.into()))).await);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

impl Peer {
    pub(super) async fn say(&self, frame: &str) {
        self.mouth.say(frame).await;
    }

    pub(super) async fn close(&self, code: &str) {
        self.mouth.0.send(Err(SocketError::Closed(code.to_owned()))).await.unwrap();
    }

    /// The next message that is no ping; `None` once the client has hung up.
    pub(super) async fn heard(&mut self) -> Option<String> {
        loop {
            match self.from_client.recv().await {
                Some(text) if text.contains("ping") => {}
                other => return other,
            }
        }
    }

    /// The next message, pings too.
    pub(super) async fn heard_any(&mut self) -> Option<String> {
        self.from_client.recv().await
    }
}

/// The client's end.
pub(super) struct MemorySocket {
    heard: mpsc::Receiver<Result<Heard, SocketError>>,
    said: mpsc::Sender<String>,
}

impl Socket for MemorySocket {
    async fn hear(&mut self) -> Result<Heard, SocketError> {
        self.heard.recv().await.unwrap_or_else(|| Err(SocketError::Closed("reset".to_owned())))
    }

    async fn say(&mut self, text: String) -> Result<(), SocketError> {
        self.said.send(text).await.map_err(|_| SocketError::Closed("reset".to_owned()))
    }

    async fn ping(&mut self) -> Result<(), SocketError> {
        self.say("ping frame".to_owned()).await
    }

    async fn close(self) {}
}

type Answer = Result<Bytes, RestError>;

/// A transport in memory.
#[derive(Clone)]
pub(super) struct Memory {
    peers: mpsc::Sender<Peer>,
    refusals: Arc<AtomicUsize>,
    attempts: Arc<AtomicUsize>,
    answers: Arc<Mutex<Box<dyn FnMut(&Url) -> Answer + Send>>>,
}

impl Transport for Memory {
    type Socket = MemorySocket;

    async fn connect(&self, url: &Url) -> Result<MemorySocket, SocketError> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let refuse =
            self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if refuse.is_ok() {
            return Err(SocketError::Transport("refused".to_owned()));
        }
        let (to_client, heard) = mpsc::channel(64);
        let (said, from_client) = mpsc::channel(64);
        self.peers.send(Peer { url: url.clone(), mouth: Mouth(to_client), from_client }).await.unwrap();
        Ok(MemorySocket { heard, said })
    }

    async fn get(&self, url: Url, _: Duration) -> Answer {
        (self.answers.lock())(&url)
    }
}

/// A market of the venue in memory, and all its ends.
pub(super) struct Bench {
    pub(super) market: MarketHandle,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) cancel: CancellationToken,
    peers: mpsc::Receiver<Peer>,
    transport: Memory,
}

impl Bench {
    /// A market with small waits that lists BTC/USDT, ETH/USDT and SOL/USDT, and answers requests for snapshots with `snapshot`.
    pub(super) fn new(rule: ContinuityRule, mut snapshot: impl FnMut() -> Answer + Send + 'static) -> Self {
        Self::with(Timing::default(), rule, 256, move |url| match url.path() {
            "/listings" => Ok(Bytes::from_static(b"BTC/USDT ETH/USDT SOL/USDT")),
            _ => snapshot(),
        })
    }

    pub(super) fn trades_only() -> Self {
        Self::new(ContinuityRule::PlusOne, || Ok(Bytes::new()))
    }

    pub(super) fn with(
        timing: Timing,
        rule: ContinuityRule,
        capacity: usize,
        answers: impl FnMut(&Url) -> Answer + Send + 'static,
    ) -> Self {
        let (peers_tx, peers) = mpsc::channel(16);
        let transport = Memory {
            peers: peers_tx,
            refusals: Arc::default(),
            attempts: Arc::default(),
            answers: Arc::new(Mutex::new(Box::new(answers))),
        };
        let config = MarketConfig {
            protocol: Arc::new(move |listings| Box::new(Words { listings, rule })),
            ws_base: Url::parse("ws://venue.test").unwrap(),
            rest_base: Url::parse("http://venue.test").unwrap(),
            timing,
        };
        let (reports_tx, reports) = mpsc::channel(capacity);
        let cancel = CancellationToken::new();
        let clock = Arc::new(ManualClock::new(UnixNanos::from_secs(1)));
        let market = market::spawn(config, transport.clone(), reports_tx, clock, cancel.clone());
        Self { market, reports, cancel, peers, transport }
    }

    pub(super) fn want(&self, wanted: &[Subscription]) {
        self.market.set(wanted.iter().cloned().collect::<BTreeSet<_>>());
    }

    /// The next `count` attempts to connect fail.
    pub(super) fn refuse(&self, count: usize) {
        self.transport.refusals.store(count, Ordering::SeqCst);
    }

    pub(super) fn attempts(&self) -> usize {
        self.transport.attempts.load(Ordering::SeqCst)
    }

    /// The next connection's other end.
    pub(super) async fn accept(&mut self) -> Peer {
        self.peers.recv().await.unwrap()
    }

    /// Reads reports until `subscription` comes into `state`; gives the reason.
    pub(super) async fn until(&mut self, subscription: &Subscription, wanted: SourceState) -> String {
        loop {
            if let Report::Subscription { subscription: about, state, reason, .. } = self.report().await
                && about == *subscription
                && state == wanted
            {
                return reason.to_string();
            }
        }
    }

    /// Reads reports until the market comes into `state`.
    pub(super) async fn until_market(&mut self, wanted: SourceState) {
        while !matches!(self.report().await, Report::Market { state, .. } if state == wanted) {}
    }

    /// Reads reports until the next events.
    pub(super) async fn events(&mut self) -> Vec<MarketEvent> {
        loop {
            if let Report::Events { events, .. } = self.report().await {
                return events;
            }
        }
    }

    /// Reads reports until the next events; gives their frame.
    pub(super) async fn raw(&mut self) -> Option<String> {
        loop {
            if let Report::Events { raw, .. } = self.report().await {
                return raw.map(|raw| String::from_utf8(raw.data.to_vec()).unwrap());
            }
        }
    }

    pub(super) async fn report(&mut self) -> Report {
        self.reports.recv().await.unwrap()
    }
}
