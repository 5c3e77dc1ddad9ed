//! Feeds: what a `/stream` or `/raw` connection wants, as a filter over topics.

use std::collections::BTreeSet;

use crate::event::Channel;
use crate::instrument::{Instrument, MarketType, Symbol, Venue};
use crate::topic::{DEFAULT_DEPTH, MarketTopic, Topic};

/// A filter over market topics. An empty set means everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedFilter {
    /// The channels. An empty set does not include liquidations, since clients of the earlier system 3kk0 do not know them.
    pub channels: BTreeSet<Channel>,
    /// The symbols. In channels that only perpetuals have, a spot symbol means its perpetual.
    pub symbols: BTreeSet<Symbol>,
    /// The venues.
    pub venues: BTreeSet<Venue>,
    /// Levels a side of order books, as [`crate::topic::published_depth`] gives them.
    pub depth: u16,
    /// Whether the venues' own frames are wanted too.
    pub raw: bool,
}

impl Default for FeedFilter {
    fn default() -> Self {
        Self {
            channels: BTreeSet::new(),
            symbols: BTreeSet::new(),
            venues: BTreeSet::new(),
            depth: DEFAULT_DEPTH,
            raw: false,
        }
    }
}

/// The channels that an empty set stands for.
const FEED_CHANNELS: [Channel; 4] = [Channel::Trades, Channel::Ticker, Channel::OrderBook, Channel::Funding];

impl FeedFilter {
    /// Whether events of `topic` are wanted.
    pub fn matches(&self, topic: &Topic) -> bool {
        match topic {
            Topic::Stream(_) | Topic::Published(_) => false,
            Topic::Raw(instrument) => self.raw && self.takes_instrument(instrument, None),
            Topic::Market(market) => self.takes_market(market),
        }
    }

    /// The filter that takes just this topic, and of a perpetual nothing under its spot name.
    pub fn of(topic: &MarketTopic) -> Self {
        let MarketTopic { channel, instrument, depth } = topic;
        Self {
            channels: [*channel].into(),
            symbols: [instrument.symbol.clone()].into(),
            venues: [instrument.venue].into(),
            depth: depth.unwrap_or(DEFAULT_DEPTH),
            raw: false,
        }
    }

    fn takes_market(&self, topic: &MarketTopic) -> bool {
        self.channels().any(|channel| channel == topic.channel)
            && topic.depth.is_none_or(|depth| depth == self.depth)
            && self.takes_instrument(&topic.instrument, Some(topic.channel))
    }

    fn takes_instrument(&self, instrument: &Instrument, channel: Option<Channel>) -> bool {
        let venue = self.venues.is_empty() || self.venues.contains(&instrument.venue);
        let spot_name = || {
            let implied = channel.is_none_or(Channel::needs_perpetual);
            implied && self.symbols.contains(&instrument.symbol.on(MarketType::Spot))
        };
        venue && (self.symbols.is_empty() || self.symbols.contains(&instrument.symbol) || spot_name())
    }

    /// The channels that are wanted; an empty set is expanded to all that it stands for.
    pub fn channels(&self) -> impl Iterator<Item = Channel> + '_ {
        let all = self.channels.is_empty();
        let default = FEED_CHANNELS.into_iter().filter(move |_| all);
        self.channels.iter().copied().chain(default)
    }

    /// The market topics that must run for this filter. Symbols: the named ones, or `default_symbols` if none is named. Venues: the
    /// named ones among `served`, or all of `served` if none is named.
    pub fn wanted(
        &self,
        served: &BTreeSet<Venue>,
        default_symbols: &BTreeSet<Symbol>,
    ) -> BTreeSet<MarketTopic> {
        let symbols = if self.symbols.is_empty() { default_symbols } else { &self.symbols };
        let venues = served.iter().filter(|v| self.venues.is_empty() || self.venues.contains(v));
        venues
            .flat_map(|venue| symbols.iter().map(move |symbol| (*venue, symbol)))
            .flat_map(|(venue, symbol)| self.channels().map(move |channel| (venue, symbol, channel)))
            .map(|(venue, symbol, channel)| self.topic(venue, symbol, channel))
            .collect()
    }

    fn topic(&self, venue: Venue, symbol: &Symbol, channel: Channel) -> MarketTopic {
        let symbol =
            if channel.needs_perpetual() { symbol.on(MarketType::Perpetual) } else { symbol.clone() };
        let depth = (channel == Channel::OrderBook).then_some(self.depth);
        MarketTopic { channel, instrument: Instrument { venue, symbol }, depth }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        name.parse().expect("topic")
    }

    #[test]
    fn an_empty_filter_takes_the_four_channels_and_one_depth() {
        let filter = FeedFilter::default();
        for (name, taken) in [
            ("trades.binance.BTC-USDT", true),
            ("funding.okx.BTC-USDT-PERP", true),
            ("orderbook.okx.BTC-USDT.20", true),
            ("orderbook.okx.BTC-USDT.50", false),
            ("orderbook.okx.BTC-USDT.10", false),
            ("liquidations.okx.BTC-USDT-PERP", false),
            ("raw.okx.BTC-USDT", false),
        ] {
            assert_eq!(filter.matches(&topic(name)), taken, "{name}");
        }
    }

    #[test]
    fn a_spot_symbol_means_its_perpetual_where_only_that_exists() {
        let filter =
            FeedFilter { symbols: [Symbol::parse("BTC/USDT").expect("symbol")].into(), ..Default::default() };
        assert!(filter.matches(&topic("funding.okx.BTC-USDT-PERP")));
        assert!(!filter.matches(&topic("trades.okx.BTC-USDT-PERP")));
        let wanted = filter.wanted(&[Venue::Okx].into(), &BTreeSet::new());
        let names: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "trades.okx.BTC-USDT",
                "ticker.okx.BTC-USDT",
                "orderbook.okx.BTC-USDT.20",
                "funding.okx.BTC-USDT-PERP"
            ]
        );
    }
}
