//! From the wish to the spec.

use std::collections::{BTreeMap, BTreeSet};

use bond_core::event::Channel;
use bond_core::instrument::{MarketType, Symbol, Venue};
use bond_core::spec::{
    LiquidationsSource, MarketSource, Provider, SocialSource, Source, StreamSpec, WebSocketSource, parse_url,
};
use bond_core::topic::DEFAULT_DEPTH;
use smol_str::SmolStr;

use super::Defaults;
use super::error::{LanguageCode, LanguageError};
use super::lexicon::Watch;
use super::wish::Wish;

/// What one symbol is given.
#[derive(Debug, Default)]
struct Grant {
    channels: BTreeSet<Channel>,
    liquidations: bool,
    posts: bool,
    /// Whether funding was asked for by name, not by "everything".
    funding_by_name: bool,
    perpetual_by_watch: bool,
}

/// The sources in the making.
#[derive(Debug, Default)]
struct Sources {
    markets: BTreeMap<(MarketType, BTreeSet<Channel>), BTreeSet<Symbol>>,
    liquidations: BTreeSet<Symbol>,
    posts: BTreeSet<SmolStr>,
}

pub(super) fn spec(
    wish: &Wish,
    defaults: &Defaults,
    warnings: &mut Vec<String>,
) -> Result<StreamSpec, LanguageError> {
    let mut sources = Sources::default();
    for (symbol, watches) in &wish.demands {
        place(&mut sources, wish, symbol, watches, warnings)?;
    }
    let exchanges = exchanges(wish, defaults)?;
    let unused_venues =
        sources.markets.is_empty() && sources.liquidations.is_empty() && !exchanges.is_empty();
    if unused_venues {
        warnings.push("venues were not used: there is no market data in this stream".to_owned());
    }
    let mut all = sources.into_list(&exchanges, wish.depth);
    all.extend(websockets(wish)?);
    let spec = StreamSpec::new(all, wish.interval);
    let spec = spec.map_err(|error| LanguageError::new(LanguageCode::TooMany, error.to_string()))?;
    Ok(spec.with_ttl(wish.ttl_sec))
}

fn contradiction(message: impl Into<String>) -> LanguageError {
    LanguageError::new(LanguageCode::Contradiction, message)
}

/// Puts what is watched of one symbol into its sources.
fn place(
    sources: &mut Sources,
    wish: &Wish,
    symbol: &Symbol,
    watches: &BTreeSet<Watch>,
    warnings: &mut Vec<String>,
) -> Result<(), LanguageError> {
    let grant = grant(watches, &wish.unwanted);
    let said = said_market(wish, symbol)?;
    refuse_if_empty(&grant, said, symbol)?;
    if grant.liquidations {
        sources.liquidations.insert(symbol.on(MarketType::Spot));
    }
    if grant.posts {
        sources.posts.insert(symbol.base().into());
    }
    for (market, channels) in markets(&grant, said, warnings)? {
        sources.markets.entry((market, channels)).or_default().insert(symbol.on(market));
    }
    Ok(())
}

/// The market that the sentence names, or that the symbol's spelling does.
fn said_market(wish: &Wish, symbol: &Symbol) -> Result<Option<MarketType>, LanguageError> {
    match (wish.market, symbol.market()) {
        (Some(MarketType::Spot), MarketType::Perpetual) => {
            Err(contradiction(format!("{symbol} is a perpetual, and spot is asked for")))
        }
        (None, MarketType::Perpetual) => Ok(Some(MarketType::Perpetual)),
        (said, _) => Ok(said),
    }
}

fn refuse_if_empty(grant: &Grant, said: Option<MarketType>, symbol: &Symbol) -> Result<(), LanguageError> {
    if !grant.channels.is_empty() || grant.posts {
        return Ok(());
    }
    if !grant.liquidations {
        return Err(contradiction(format!(
            "nothing to watch is left for {}: all of it is taken away",
            symbol.base()
        )));
    }
    if said == Some(MarketType::Spot) {
        return Err(contradiction("liquidations exist on perpetuals only: leave \"spot\" out"));
    }
    Ok(())
}

fn grant(watches: &BTreeSet<Watch>, unwanted: &BTreeSet<Watch>) -> Grant {
    let mut grant = Grant::default();
    for watch in watches {
        grant.channels.extend(channels(*watch));
        grant.liquidations |= matches!(watch, Watch::Liquidations | Watch::Everything);
        grant.posts |= matches!(watch, Watch::Posts | Watch::Everything);
        grant.funding_by_name |= *watch == Watch::Funding;
        grant.perpetual_by_watch |= *watch == Watch::OpenInterest;
    }
    for watch in unwanted {
        let named = watches.iter().filter(|kept| **kept != Watch::Price && **kept != Watch::Everything);
        let named: BTreeSet<Channel> = named.flat_map(|kept| channels(*kept)).copied().collect();
        grant.channels.retain(|channel| named.contains(channel) || !channels(*watch).contains(channel));
        grant.funding_by_name &= *watch != Watch::Funding;
        grant.liquidations &= *watch != Watch::Liquidations;
        grant.posts &= *watch != Watch::Posts;
    }
    grant
}

const fn channels(watch: Watch) -> &'static [Channel] {
    match watch {
        Watch::Price => &[Channel::Ticker, Channel::Trades],
        Watch::Trades => &[Channel::Trades],
        Watch::Ticker | Watch::OpenInterest => &[Channel::Ticker],
        Watch::Book => &[Channel::OrderBook],
        Watch::Funding => &[Channel::Funding],
        Watch::Liquidations | Watch::Posts => &[],
        Watch::Everything => &[Channel::Ticker, Channel::Trades, Channel::OrderBook, Channel::Funding],
    }
}

/// The market sources of one symbol: what only perpetuals have takes the whole to the perpetual, unless spot was said.
fn markets(
    grant: &Grant,
    said: Option<MarketType>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(MarketType, BTreeSet<Channel>)>, LanguageError> {
    let channels = grant.channels.clone();
    let implied = channels.contains(&Channel::Funding) || grant.perpetual_by_watch;
    match said {
        _ if channels.is_empty() => Ok(Vec::new()),
        Some(MarketType::Spot) => spot_and_funding(grant),
        None if !implied => Ok(vec![(MarketType::Spot, channels)]),
        None if channels.len() > 1 => {
            warn_once(warnings, PERPETUAL_PRICES);
            Ok(vec![(MarketType::Perpetual, channels)])
        }
        _ => Ok(vec![(MarketType::Perpetual, channels)]),
    }
}

const PERPETUAL_PRICES: &str = "funding and open interest exist on perpetuals only, so all market data here is the perpetual's; say \"spot\" for spot";

fn spot_and_funding(grant: &Grant) -> Result<Vec<(MarketType, BTreeSet<Channel>)>, LanguageError> {
    let mut spot = grant.channels.clone();
    spot.remove(&Channel::Funding);
    if spot.is_empty() {
        return Err(contradiction("funding exists on perpetuals only: leave \"spot\" out, or say perpetual"));
    }
    if grant.perpetual_by_watch {
        return Err(contradiction(
            "open interest exists on perpetuals only: leave \"spot\" out, or say perpetual",
        ));
    }
    let funding = grant.funding_by_name.then(|| (MarketType::Perpetual, BTreeSet::from([Channel::Funding])));
    Ok([(MarketType::Spot, spot)].into_iter().chain(funding).collect())
}

fn warn_once(warnings: &mut Vec<String>, warning: &str) {
    if !warnings.iter().any(|known| known == warning) {
        warnings.push(warning.to_owned());
    }
}

/// The venues to name: those said, or the configured ones without those excluded.
fn exchanges(wish: &Wish, defaults: &Defaults) -> Result<BTreeSet<Venue>, LanguageError> {
    if !wish.venues.is_empty() {
        return Ok(wish.venues.clone());
    }
    let rest: BTreeSet<Venue> = defaults.venues.difference(&wish.unwanted_venues).copied().collect();
    if rest.len() == defaults.venues.len() {
        return Ok(BTreeSet::new());
    }
    if rest.is_empty() {
        return Err(contradiction("no venue is left: all that are configured are excluded"));
    }
    Ok(rest)
}

fn websockets(wish: &Wish) -> Result<Vec<Source>, LanguageError> {
    let source = |(text, span): &(String, (usize, usize))| match parse_url(text) {
        Ok(url) => Ok(Source::WebSocket(WebSocketSource { url: url.into(), map: None })),
        Err(error) => Err(LanguageError::new(LanguageCode::UrlRefused, error.to_string()).at(*span)),
    };
    wish.urls.iter().map(source).collect()
}

impl Sources {
    fn into_list(self, exchanges: &BTreeSet<Venue>, depth: Option<u16>) -> Vec<Source> {
        let market =
            |((market_type, channels), symbols): ((MarketType, BTreeSet<Channel>), BTreeSet<Symbol>)| {
                let depth = channels.contains(&Channel::OrderBook).then(|| depth.unwrap_or(DEFAULT_DEPTH));
                Source::Market(MarketSource {
                    symbols,
                    exchanges: exchanges.clone(),
                    channels,
                    market_type,
                    depth,
                })
            };
        let mut sources: Vec<Source> = self.markets.into_iter().map(market).collect();
        if !self.posts.is_empty() {
            sources.push(Source::Social(SocialSource { provider: Provider::X, symbols: self.posts }));
        }
        if !self.liquidations.is_empty() {
            let (symbols, exchanges) = (self.liquidations, exchanges.clone());
            sources.push(Source::Liquidations(LiquidationsSource { symbols, exchanges }));
        }
        sources
    }
}
