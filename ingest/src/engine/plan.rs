//! The inputs that a stream needs, resolved against the markets that this process serves.

use std::collections::BTreeSet;
use std::sync::Arc;

use bond_core::event::Channel;
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::spec::{LiquidationsSource, MarketSource, Source, StreamSpec, WebSocketSource};
use bond_core::topic::StreamId;
use smol_str::SmolStr;

use crate::venue::Subscription;

/// A stream as the engine runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamPlan {
    /// The stream.
    pub(super) id: StreamId,
    /// Its spec.
    pub(super) spec: StreamSpec,
    /// The channels of instruments that the stream takes.
    pub(super) market: BTreeSet<MarketNeed>,
    /// Venues that the spec names and this process does not serve, with the symbols for which they were named.
    pub(super) unserved: BTreeSet<(Venue, Symbol)>,
    /// Assets about which the stream takes posts.
    pub(super) assets: BTreeSet<SmolStr>,
    /// Users' own sockets.
    pub(super) sockets: Vec<WebSocketSource>,
}

/// One channel of one instrument that a stream takes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct MarketNeed {
    /// The instrument.
    pub(super) instrument: Arc<Instrument>,
    /// The channel.
    pub(super) channel: Channel,
    /// The symbol of the stream for which the events count.
    pub(super) symbol: Symbol,
    /// Levels per side, for order books that are passed through.
    pub(super) depth: Option<u16>,
}

impl MarketNeed {
    /// The subscription that brings the data.
    pub(super) fn subscription(&self) -> Subscription {
        Subscription { instrument: Arc::clone(&self.instrument), channel: self.channel }
    }
}

/// The markets that this process serves.
pub(super) type ServedMarkets = BTreeSet<(Venue, MarketType)>;

impl StreamPlan {
    /// The plan of `spec`, given the served `markets`. A source that names no venue takes all of them.
    pub(super) fn new(spec: StreamSpec, markets: &ServedMarkets) -> Self {
        let mut plan = Self {
            id: spec.id(),
            market: BTreeSet::new(),
            unserved: BTreeSet::new(),
            assets: BTreeSet::new(),
            sockets: Vec::new(),
            spec,
        };
        for source in plan.spec.sources().to_vec() {
            match source {
                Source::Market(source) => plan.add_market(&source, markets),
                Source::Liquidations(source) => plan.add_liquidations(&source, markets),
                Source::Social(source) => plan.assets.extend(source.symbols),
                Source::WebSocket(source) => plan.sockets.push(source),
            }
        }
        plan
    }

    fn add_market(&mut self, source: &MarketSource, markets: &ServedMarkets) {
        for symbol in &source.symbols {
            for channel in &source.channels {
                let market =
                    if channel.needs_perpetual() { MarketType::Perpetual } else { source.market_type };
                let depth = source.depth.filter(|_| *channel == Channel::OrderBook);
                self.add(&source.exchanges, &symbol.on(market), *channel, depth, markets);
            }
        }
    }

    fn add_liquidations(&mut self, source: &LiquidationsSource, markets: &ServedMarkets) {
        for symbol in &source.symbols {
            let symbol = symbol.on(MarketType::Perpetual);
            self.add(&source.exchanges, &symbol, Channel::Liquidations, None, markets);
        }
    }

    fn add(
        &mut self,
        named: &BTreeSet<Venue>,
        traded: &Symbol,
        channel: Channel,
        depth: Option<u16>,
        markets: &ServedMarkets,
    ) {
        let counted = self.counted_for(traded);
        let served = markets.iter().filter(|(_, market)| *market == traded.market()).map(|(venue, _)| *venue);
        let venues: BTreeSet<Venue> = if named.is_empty() { served.collect() } else { named.clone() };
        for venue in venues {
            if markets.contains(&(venue, traded.market())) {
                let instrument = Instrument::shared(venue, traded.clone());
                self.market.insert(MarketNeed { instrument, channel, symbol: counted.clone(), depth });
            } else {
                self.unserved.insert((venue, counted.clone()));
            }
        }
    }

    /// The stream's symbol with the same pair as `traded`; `traded` itself if the stream has no such symbol.
    fn counted_for(&self, traded: &Symbol) -> Symbol {
        let symbols = self.spec.symbols();
        let other = match traded.market() {
            MarketType::Spot => traded.on(MarketType::Perpetual),
            MarketType::Perpetual => traded.on(MarketType::Spot),
        };
        if !symbols.contains(traded) && symbols.contains(&other) { other } else { traded.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(json: &str, markets: &[(Venue, MarketType)]) -> StreamPlan {
        let (spec, _) = bond_language::read_spec_bytes(json.as_bytes()).expect("spec");
        StreamPlan::new(spec, &markets.iter().copied().collect())
    }

    const BOTH: [(Venue, MarketType); 3] = [
        (Venue::Binance, MarketType::Spot),
        (Venue::Binance, MarketType::Perpetual),
        (Venue::Okx, MarketType::Spot),
    ];

    #[test]
    fn a_source_without_venues_takes_every_market_there_is() {
        let plan =
            plan(r#"{"sources":[{"type":"market","symbols":["BTC/USDT"],"channels":["trades"]}]}"#, &BOTH);
        let needs: Vec<String> = plan.market.iter().map(|need| need.instrument.to_string()).collect();
        assert_eq!(needs, ["binance:BTC/USDT", "okx:BTC/USDT"]);
        assert!(plan.unserved.is_empty());
    }

    #[test]
    fn liquidations_count_for_the_spot_symbol_of_the_stream() {
        let plan = plan(
            r#"{"sources":[{"type":"market","symbols":["BTC/USDT"]},{"type":"liquidations","symbols":["BTC/USDT"]}]}"#,
            &BOTH,
        );
        let need =
            plan.market.iter().find(|need| need.channel == Channel::Liquidations).expect("liquidations");
        assert_eq!(
            (need.instrument.to_string().as_str(), need.symbol.to_string().as_str()),
            ("binance:BTC/USDT:USDT", "BTC/USDT")
        );
    }

    #[test]
    fn a_named_venue_without_a_market_here_is_kept_as_unserved() {
        let plan =
            plan(r#"{"sources":[{"type":"market","symbols":["BTC/USDT"],"exchanges":["kraken"]}]}"#, &BOTH);
        assert_eq!(plan.unserved.len(), 1);
        assert!(plan.market.is_empty());
    }
}
