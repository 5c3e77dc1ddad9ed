//! The windows that a spec asks for.

use std::time::Duration;

use super::config::{Config, Subject};
use crate::event::Channel;
use crate::event_clock::ClockPace;
use crate::instrument::{MarketType, Symbol};
use crate::spec::{Source, StreamSpec};

impl Config {
    /// The windows of a spec; `None` where it wants none. Names of sources and what is carried are for whoever runs it to add.
    pub fn for_spec(spec: &StreamSpec, max_lag: Duration, ring: Duration) -> Option<Self> {
        let is_market = |source: &Source| matches!(source, Source::Market(_));
        let pace = if spec.sources().iter().any(is_market) { ClockPace::Venues } else { ClockPace::Ours };
        let mut subjects: Vec<_> = spec.symbols().iter().map(|symbol| subject(spec, symbol)).collect();
        if subjects.is_empty() {
            subjects.push(Subject::default());
        }
        Some(Self { interval: spec.interval()?.as_duration(), max_lag, ring, pace, subjects })
    }
}

fn subject(spec: &StreamSpec, symbol: &Symbol) -> Subject {
    // Liquidations name a pair as on the spot market.
    let pair = symbol.on(MarketType::Spot);
    let mut subject = Subject { symbol: Some(symbol.clone()), ..Subject::default() };
    for source in spec.sources() {
        match source {
            Source::Market(market) if market.symbols.contains(symbol) => {
                subject.channels.extend(&market.channels);
            }
            Source::Liquidations(liquidations) if liquidations.symbols.contains(&pair) => {
                subject.channels.insert(Channel::Liquidations);
            }
            _ => {}
        }
    }
    subject
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(sources: &serde_json::Value, interval: &serde_json::Value) -> Option<Config> {
        let spec = json!({"version": "v1", "sources": sources, "symbols": [], "interval_sec": interval, "transforms": []});
        let spec: StreamSpec = serde_json::from_value(spec).expect("spec");
        Config::for_spec(&spec, Duration::ZERO, Duration::from_secs(60))
    }

    #[test]
    fn each_symbol_has_the_channels_of_its_sources() {
        let config = config(
            &json!([
                {"type": "market", "symbols": ["BTC/USDT"], "channels": ["trades"], "market_type": "spot"},
                {"type": "market", "symbols": ["BTC/USDT:USDT"], "market_type": "perpetual", "channels": ["ticker", "funding"]},
                {"type": "liquidations", "symbols": ["BTC/USDT"]},
                {"type": "social", "provider": "x", "symbols": ["ETH"]},
            ]),
            &json!(0.5),
        )
        .expect("windows");
        let channels: Vec<_> = config
            .subjects
            .iter()
            .map(|s| {
                (s.symbol.as_ref().map(ToString::to_string), s.channels.iter().copied().collect::<Vec<_>>())
            })
            .collect();
        let named = |name: &str, channels: &[Channel]| (Some(name.to_owned()), channels.to_vec());
        assert_eq!(
            channels,
            [
                named("BTC/USDT", &[Channel::Trades, Channel::Liquidations]),
                named("BTC/USDT:USDT", &[Channel::Ticker, Channel::Funding, Channel::Liquidations]),
                named("ETH/USDT", &[]),
            ]
        );
        assert_eq!((config.interval, config.pace), (Duration::from_millis(500), ClockPace::Venues));
    }

    #[test]
    fn a_stream_without_market_sources_follows_our_clock_and_without_symbols_is_about_everything() {
        let config =
            config(&json!([{"type": "websocket", "url": "wss://example.org/"}]), &json!(5)).expect("windows");
        assert_eq!((config.pace, config.subjects.len()), (ClockPace::Ours, 1));
        assert_eq!(config.subjects[0].symbol, None);
    }

    #[test]
    fn a_stream_without_an_interval_has_no_windows() {
        assert!(config(&json!([{"type": "liquidations", "symbols": ["BTC/USDT"]}]), &json!(null)).is_none());
    }
}
