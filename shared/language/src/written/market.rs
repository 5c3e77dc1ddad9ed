//! Reading a source of market data, and what else names venues.

use std::collections::BTreeSet;

use bond_core::event::Channel;
use bond_core::instrument::{MarketType, Symbol, Venue};
use bond_core::spec::{MarketSource, Source};
use bond_core::topic::{DEFAULT_DEPTH, MAX_DEPTH, published_depth};

use super::object::{Object, shorten};
use super::report::Report;
use super::symbols::{Setting, symbols};

/// Reads a market source. `only`: its channel, where its type says so.
pub(super) fn market(
    object: &mut Object<'_>,
    setting: Setting<'_>,
    only: Option<Channel>,
    report: &mut Report,
) -> Option<Source> {
    let channels = match only {
        Some(channel) => Some([channel].into()),
        None => channels(object, report),
    };
    let symbols = symbols(object, setting, report);
    let exchanges = exchanges(object, report);
    let depth = depth(object, channels.as_ref(), report);
    let market_type = market_type(object, setting, channels.as_ref(), symbols.as_ref(), report);
    let (market_type, channels) = (market_type?, channels?);
    let symbols = symbols?.iter().map(|symbol| symbol.on(market_type)).collect();
    Some(Source::Market(MarketSource { symbols, exchanges, channels, market_type, depth }))
}

/// The venues of a source.
pub(super) fn exchanges(object: &mut Object<'_>, report: &mut Report) -> BTreeSet<Venue> {
    venues(object, "exchanges", report)
}

/// The venues named in a field; `*` names none.
pub(super) fn venues(object: &mut Object<'_>, field: &'static str, report: &mut Report) -> BTreeSet<Venue> {
    let names = object.texts(field, report).unwrap_or_default();
    let mut venues = BTreeSet::new();
    for (path, name) in names.into_iter().filter(|(_, name)| *name != "*") {
        let Some(venue) = report.ok(&path, name.trim().parse::<Venue>()) else { continue };
        if !venue.is_served() {
            report.warn(path, format!("{venue} is known but not served yet: it will send nothing"));
        }
        venues.insert(venue);
    }
    venues
}

fn channels(object: &mut Object<'_>, report: &mut Report) -> Option<BTreeSet<Channel>> {
    let Some(names) = object.texts("channels", report) else {
        return Some([Channel::Ticker, Channel::Trades].into());
    };
    if names.is_empty() {
        report.problem(object.at("channels"), "empty: leave it out for ticker and trades");
        return None;
    }
    Some(names.iter().filter_map(|(path, name)| report.ok(path, channel(name))).collect())
}

fn channel(name: &str) -> Result<Channel, String> {
    match Channel::from_name(name) {
        Some(Channel::Liquidations) => {
            Err("liquidations are a source of their own: {\"type\": \"liquidations\"}".to_owned())
        }
        Some(channel) => Ok(channel),
        None => {
            Err(format!("unknown channel: {}; known are ticker, trades, orderbook, funding", shorten(name)))
        }
    }
}

fn depth(object: &mut Object<'_>, channels: Option<&BTreeSet<Channel>>, report: &mut Report) -> Option<u16> {
    let has_book = channels.is_some_and(|channels| channels.contains(&Channel::OrderBook));
    let Some(value) = object.given("depth") else { return has_book.then_some(DEFAULT_DEPTH) };
    let path = object.at("depth");
    if !has_book {
        report.problem(path, "depth needs the channel orderbook");
        return None;
    }
    let levels = value.as_u64().filter(|levels| (1..=u64::from(MAX_DEPTH)).contains(levels));
    let levels = levels.ok_or_else(|| format!("depth is a whole number of levels, 1 to {MAX_DEPTH}"));
    let levels = report.ok(&path, levels)?;
    let depth = published_depth(levels);
    if u64::from(depth) != levels {
        report
            .warn(path, format!("books of more than 50 levels come in steps of 50: {levels} became {depth}"));
    }
    Some(depth)
}

/// The market type that was named, or that the symbols or the channel funding imply.
fn market_type(
    object: &mut Object<'_>,
    setting: Setting<'_>,
    channels: Option<&BTreeSet<Channel>>,
    symbols: Option<&BTreeSet<Symbol>>,
    report: &mut Report,
) -> Option<MarketType> {
    let needs = channels.is_some_and(|channels| channels.iter().any(|channel| channel.needs_perpetual()));
    let written = symbols.is_some_and(|symbols| symbols.iter().any(|s| s.market() == MarketType::Perpetual));
    let path = object.at("market_type");
    let named = object.text("market_type", report);
    let market_type = match named.map(|name| if setting.is_legacy { of_legacy(name) } else { name }) {
        None if needs || written => Ok(MarketType::Perpetual),
        None => Ok(MarketType::Spot),
        Some("perpetual") => Ok(MarketType::Perpetual),
        Some("spot") if needs => {
            Err("funding exists on perpetuals only: give it a source of its own".to_owned())
        }
        Some("spot") if written => {
            Err("BTC/USDT:USDT is a perpetual's symbol: write BTC/USDT for spot".to_owned())
        }
        Some("spot") => Ok(MarketType::Spot),
        Some(other) => Err(format!("unknown market type: {}; known are spot, perpetual", shorten(other))),
    };
    report.ok(&path, market_type)
}

/// What the system before called the markets.
fn of_legacy(name: &str) -> &str {
    const PERPETUAL: [&str; 6] = ["futures", "future", "swap", "perp", "linear", "perpetual"];
    if PERPETUAL.iter().any(|known| name.eq_ignore_ascii_case(known)) { "perpetual" } else { name }
}
