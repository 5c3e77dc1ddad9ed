//! The state of each instrument: its latest ticker and funding, its order book, the trades seen, and who wants which of its channels.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bond_core::decimal::Price;
use bond_core::dedupe::Seen;
use bond_core::event::{BookUpdate, Channel, Funding, MarketData, MarketEvent, Ticker};
use bond_core::instrument::{Instrument, Venue};
use bond_core::log::{EventKind, Record};
use bond_core::time::UnixNanos;
use bond_core::topic::{MarketTopic, Topic};
use bond_core::wire::{self, Stamp};
use bytes::Bytes;

use super::depth::DepthView;
use super::losses::{Losses, Range};
use super::outbox::Outbox;
use super::streams::StreamKey;
use crate::book::Book;
use crate::report::RawFrame;
use crate::venue::numbers_trades;

/// How many trade ids are remembered of each instrument, to detect repeats.
const REMEMBERED: usize = 4096;

/// A stream that takes one channel of an instrument.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamInput {
    /// Which of the running streams.
    pub(super) stream: StreamKey,
    /// Whether the stream passes events on unchanged.
    pub(super) passes: bool,
    /// Levels per side, if the stream passes order books on.
    pub(super) depth: Option<u16>,
}

/// One instrument.
#[derive(Debug)]
pub(super) struct InstrumentState {
    topics: HashMap<(Channel, Option<u16>), Topic>,
    raw: Option<Topic>,
    inputs: HashMap<Channel, Vec<StreamInput>>,
    seen: Seen,
    losses: Option<Losses>,
    ticker: Ticker,
    last_ticker: Option<(UnixNanos, Ticker)>,
    funding: Funding,
    book: Book,
    depths: Vec<DepthView>,
}

/// An event as streams get it. Besides the event it has the records for streams that pass events on.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The event. A ticker or funding has all figures that are known, not only those that changed.
    pub(super) event: MarketEvent,
    /// The encoded event; for an order book, one record for each depth.
    pub(super) records: Vec<(Option<u16>, Record)>,
    /// The best bid and ask after the event, if it is an order book.
    pub(super) top: (Option<Price>, Option<Price>),
}

impl InstrumentState {
    fn new(venue: Venue) -> Self {
        Self {
            losses: numbers_trades(venue).then(Losses::default),
            topics: HashMap::new(),
            raw: None,
            inputs: HashMap::new(),
            seen: Seen::new(REMEMBERED),
            ticker: Ticker::default(),
            last_ticker: None,
            funding: Funding::default(),
            book: Book::default(),
            depths: Vec::new(),
        }
    }

    /// Begins to publish `topic`.
    pub(super) fn want_topic(&mut self, topic: &MarketTopic) {
        self.topics.insert((topic.channel, topic.depth), Topic::Market(topic.clone()));
    }

    /// Stops publishing `topic`.
    pub(super) fn drop_topic(&mut self, topic: &MarketTopic) {
        self.topics.remove(&(topic.channel, topic.depth));
    }

    /// Begins or stops publishing the venue's own frames.
    pub(super) fn want_raw(&mut self, instrument: &Instrument, on: bool) {
        self.raw = on.then(|| Topic::Raw(instrument.clone()));
    }

    /// Begins to pass events of `channel` to a stream.
    pub(super) fn want_input(&mut self, channel: Channel, input: StreamInput) {
        self.inputs.entry(channel).or_default().push(input);
    }

    /// Stops passing events to a stream.
    pub(super) fn drop_input(&mut self, stream: StreamKey) {
        self.inputs.retain(|_, inputs| {
            inputs.retain(|input| input.stream != stream);
            !inputs.is_empty()
        });
    }

    /// The topics of a channel.
    pub(super) fn topics(&self, channel: Channel) -> impl Iterator<Item = &Topic> {
        self.topics.iter().filter(move |((other, _), _)| *other == channel).map(|(_, topic)| topic)
    }

    /// Whether trades that the venue has numbered may be missing.
    pub(super) fn is_losing(&self) -> bool {
        self.losses.as_ref().is_some_and(Losses::is_open)
    }

    /// Keeps one view of the book for each depth that is wanted now. Views that stay keep their state.
    pub(super) fn settle_depths(&mut self) {
        let topics = self.topics.keys().filter_map(|(_, depth)| *depth);
        let inputs = self.inputs(Channel::OrderBook).iter().filter_map(|input| input.depth);
        let wanted: BTreeSet<u16> = topics.chain(inputs).collect();
        self.depths.retain(|view| wanted.contains(&view.depth()));
        for depth in wanted {
            if !self.depths.iter().any(|view| view.depth() == depth) {
                self.depths.push(DepthView::new(depth));
            }
        }
    }

    /// Forgets the trade numbers if nobody takes trades any more: trades that are not subscribed to are not lost.
    fn settle_losses(&mut self) {
        let is_taken =
            self.topics.contains_key(&(Channel::Trades, None)) || self.inputs.contains_key(&Channel::Trades);
        if let Some(losses) = self.losses.as_mut().filter(|_| !is_taken) {
            *losses = Losses::default();
        }
    }

    /// Whether anybody wants one of the instrument's channels.
    pub(super) fn is_wanted(&self) -> bool {
        !self.topics.is_empty() || self.raw.is_some() || !self.inputs.is_empty()
    }

    /// The streams that take `channel`.
    pub(super) fn inputs(&self, channel: Channel) -> &[StreamInput] {
        self.inputs.get(&channel).map_or(&[], Vec::as_slice)
    }

    /// Records that the book cannot be trusted until its next snapshot.
    pub(super) fn distrust_book(&mut self) {
        self.book = Book::default();
        self.depths.iter_mut().for_each(DepthView::restart);
    }

    /// Whether the previous ticker had the same figures and the same venue time.
    fn repeats_ticker(&mut self, update: &Ticker, at: Option<UnixNanos>) -> bool {
        let Some(at) = at else { return false };
        let came = Some((at, update.clone()));
        let repeats = self.last_ticker == came;
        self.last_ticker = came;
        repeats
    }

    /// Applies an event and publishes it. `None` for a duplicate.
    pub(super) fn take(&mut self, event: MarketEvent, outbox: &mut Outbox) -> Option<Accepted> {
        let channel = event.data.channel();
        let mut top = (None, None);
        let records = match &event.data {
            MarketData::Trade(trade) => {
                if !self.seen.insert(&trade.trade_id) {
                    return None;
                }
                if let (Some(losses), Ok(number)) = (&mut self.losses, trade.trade_id.parse()) {
                    losses.observe(number, event.ts_event);
                }
                self.record_of(channel, &event)
            }
            MarketData::Ticker(update) => {
                if self.repeats_ticker(update, event.ts_exchange) {
                    return None;
                }
                self.ticker.merge(update);
                self.record_of(channel, &event)
            }
            MarketData::Funding(update) => {
                merge_funding(&mut self.funding, update);
                self.record_of(channel, &event)
            }
            MarketData::Liquidation(_) => self.record_of(channel, &event),
            MarketData::Book(update) => {
                self.book.apply(update);
                top = (self.book.best_bid().map(|l| l.price), self.book.best_ask().map(|l| l.price));
                self.depth_records(update, &event)
            }
        };
        self.publish(channel, &records, outbox);
        Some(Accepted { event, records, top })
    }

    /// Records that a print which is not a trade has used a trade number.
    pub(super) fn pass_over(&mut self, number: u64, now: UnixNanos) {
        if let Some(losses) = &mut self.losses {
            losses.observe(number, now);
        }
    }

    /// The trades that are certain at `now` to be numbered by the venue and never sent.
    fn lost(&mut self, now: UnixNanos) -> Vec<Range> {
        self.losses.as_mut().map_or_else(Vec::new, |losses| losses.due(now))
    }

    /// Encodes an event if a topic or a stream publishes it unchanged.
    fn record_of(&self, channel: Channel, event: &MarketEvent) -> Vec<(Option<u16>, Record)> {
        if !self.topics.contains_key(&(channel, None))
            && !self.inputs(channel).iter().any(|input| input.passes)
        {
            return Vec::new();
        }
        let stamp = Stamp::from(event);
        let mut body = Vec::with_capacity(256);
        let kind = match &event.data {
            MarketData::Trade(trade) => {
                wire::trade(&stamp, trade, &mut body);
                EventKind::Trade
            }
            MarketData::Ticker(_) => {
                wire::ticker(&stamp, &self.ticker, &mut body);
                EventKind::Ticker
            }
            MarketData::Funding(_) => {
                wire::funding(&stamp, &self.funding, &mut body);
                EventKind::Funding
            }
            MarketData::Liquidation(liquidation) => {
                wire::liquidation(&stamp, liquidation, &mut body);
                EventKind::Liquidation
            }
            MarketData::Book(_) => return Vec::new(),
        };
        vec![(None, record(kind, event, body.into(), None))]
    }

    fn depth_records(&mut self, update: &BookUpdate, event: &MarketEvent) -> Vec<(Option<u16>, Record)> {
        let mut records = Vec::with_capacity(self.depths.len());
        for view in &mut self.depths {
            let depth = usize::from(view.depth());
            let (bids, asks) = (self.book.bids(depth), self.book.asks(depth));
            if let Some(p) = view.publish(update.kind, update.last_id, bids, asks, &Stamp::from(event)) {
                let record = record(EventKind::OrderBook, event, p.whole, Some(p.changes));
                records.push((Some(view.depth()), record));
            }
        }
        records
    }

    fn publish(&self, channel: Channel, records: &[(Option<u16>, Record)], outbox: &mut Outbox) {
        for (depth, record) in records {
            if let Some(topic) = self.topics.get(&(channel, *depth)) {
                outbox.event(topic, record.clone());
            }
        }
    }

    /// Publishes a venue's own frame, if that is wanted.
    pub(super) fn publish_raw(&self, frame: &RawFrame, outbox: &mut Outbox) {
        let Some(topic) = &self.raw else { return };
        let stamp = Stamp { instrument: &frame.instrument, ts_event: frame.received, ts_exchange: None };
        let mut body = Vec::with_capacity(frame.data.len() + 160);
        wire::raw(&stamp, &frame.channel, &frame.data, &mut body);
        let (ts, body) = (frame.received, body.into());
        outbox.event(topic, Record { kind: EventKind::Raw, ts, order: ts, body, changes: None });
    }
}

fn record(kind: EventKind, event: &MarketEvent, body: Bytes, changes: Option<Bytes>) -> Record {
    let order = event.ts_exchange.unwrap_or(event.ts_event);
    Record { kind, ts: event.ts_event, order, body, changes }
}

fn merge_funding(into: &mut Funding, update: &Funding) {
    into.rate = update.rate.or(into.rate);
    into.next_time = update.next_time.or(into.next_time);
    into.mark = update.mark.or(into.mark);
    into.index = update.index.or(into.index);
}

/// All instruments by name.
#[derive(Debug, Default)]
pub(super) struct InstrumentStates {
    states: HashMap<Arc<Instrument>, InstrumentState>,
    /// The instruments of which trades may be missing.
    losing: HashSet<Arc<Instrument>>,
}

impl InstrumentStates {
    /// The state of `instrument`, made when it is first asked for.
    pub(super) fn of(&mut self, instrument: &Arc<Instrument>) -> &mut InstrumentState {
        let venue = instrument.venue;
        self.states.entry(Arc::clone(instrument)).or_insert_with(|| InstrumentState::new(venue))
    }

    /// The state of `instrument`, if anybody wants it.
    pub(super) fn get(&self, instrument: &Instrument) -> Option<&InstrumentState> {
        self.states.get(instrument)
    }

    /// The same as a mutable reference.
    pub(super) fn get_mut(&mut self, instrument: &Instrument) -> Option<&mut InstrumentState> {
        self.states.get_mut(instrument)
    }

    /// Marks that trades of `instrument` may be missing, so that `lost` looks at it.
    pub(super) fn suspect(&mut self, instrument: &Arc<Instrument>) {
        if !self.losing.contains(instrument) {
            self.losing.insert(Arc::clone(instrument));
        }
    }

    /// The trades that venues numbered and never sent, as far as that is certain by now.
    pub(super) fn lost(&mut self, now: UnixNanos) -> Vec<(Arc<Instrument>, Range)> {
        let mut lost = Vec::new();
        self.losing.retain(|instrument| {
            let Some(state) = self.states.get_mut(instrument) else { return false };
            lost.extend(state.lost(now).into_iter().map(|range| (Arc::clone(instrument), range)));
            state.is_losing()
        });
        lost
    }

    /// To be called after a change of who wants what of `instrument`. Drops the state if nobody wants it any more; otherwise keeps views
    /// of the book at the depths that are wanted.
    pub(super) fn settle(&mut self, instrument: &Instrument) {
        let Some(state) = self.states.get_mut(instrument) else { return };
        if !state.is_wanted() {
            self.states.remove(instrument);
            return;
        }
        state.settle_depths();
        state.settle_losses();
    }
}

#[cfg(test)]
mod tests {
    use bond_core::event::{Side, Trade};
    use bond_core::instrument::Symbol;
    use smol_str::ToSmolStr;

    use super::*;

    fn input() -> StreamInput {
        StreamInput { stream: StreamKey::default(), passes: false, depth: None }
    }

    fn trade(instrument: &Arc<Instrument>, number: u64) -> MarketEvent {
        let price = Price::parse("1").expect("price");
        let size = bond_core::decimal::Quantity::parse("1").expect("size");
        let trade = Trade { price, size, side: Side::Buy, trade_id: number.to_smolstr() };
        let ts_event = UnixNanos::from_secs(1);
        MarketEvent {
            instrument: Arc::clone(instrument),
            ts_event,
            ts_exchange: None,
            data: MarketData::Trade(trade),
        }
    }

    /// Takes trades 1 and 9, with a change of what is wanted in between.
    fn lost(between: impl Fn(&mut InstrumentStates, &Arc<Instrument>)) -> Vec<Range> {
        let instrument = Instrument::shared(Venue::Binance, Symbol::parse("BTC/USDT").expect("symbol"));
        let mut instruments = InstrumentStates::default();
        let mut outbox = Outbox::default();
        instruments.of(&instrument).want_input(Channel::Ticker, input());
        for number in [1, 9] {
            between(&mut instruments, &instrument);
            want_trades(&mut instruments, &instrument, true);
            instruments.of(&instrument).take(trade(&instrument, number), &mut outbox);
        }
        instruments.suspect(&instrument);
        instruments.lost(UnixNanos::from_secs(9)).into_iter().map(|(_, range)| range).collect()
    }

    fn want_trades(instruments: &mut InstrumentStates, instrument: &Arc<Instrument>, on: bool) {
        let topic =
            MarketTopic { channel: Channel::Trades, instrument: Instrument::clone(instrument), depth: None };
        let state = instruments.of(instrument);
        if on {
            state.want_topic(&topic);
        } else {
            state.drop_topic(&topic);
        }
        instruments.settle(instrument);
    }

    #[test]
    fn a_ticker_that_comes_twice_counts_once() {
        let instrument = Instrument::shared(Venue::Okx, Symbol::parse("BTC/USDT").expect("symbol"));
        let ticker = |bid: &str, at: Option<i64>| MarketEvent {
            instrument: Arc::clone(&instrument),
            ts_event: UnixNanos::from_secs(9),
            ts_exchange: at.map(UnixNanos::from_secs),
            data: MarketData::Ticker(Ticker { bid: Price::parse(bid).ok(), ..Ticker::default() }),
        };
        let mut state = InstrumentState::new(Venue::Okx);
        let mut counts = |bid, at| state.take(ticker(bid, at), &mut Outbox::default()).is_some();
        assert!(counts("1", Some(1)) && !counts("1", Some(1)));
        assert!(counts("2", Some(1)) && counts("1", Some(1)) && counts("1", Some(2)));
        assert!(counts("1", None) && counts("1", None), "without a time of the venue's nobody can tell");
    }

    #[test]
    fn the_number_of_a_print_that_is_no_trade_is_not_lost() {
        let pass_over = |instruments: &mut InstrumentStates, instrument: &Arc<Instrument>| {
            for number in 2..=5 {
                instruments.of(instrument).pass_over(number, UnixNanos::from_secs(1));
            }
        };
        assert_eq!(lost(pass_over), [Range { from: 6, to: 8 }]);
    }

    #[test]
    fn trades_are_not_lost_while_nobody_takes_them() {
        assert_eq!(lost(|_, _| {}), [Range { from: 2, to: 8 }]);
        let pause = |instruments: &mut InstrumentStates, instrument: &Arc<Instrument>| {
            want_trades(instruments, instrument, false);
        };
        assert_eq!(lost(pause), []);
    }
}
