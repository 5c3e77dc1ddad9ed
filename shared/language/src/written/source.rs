//! Reading `sources`, in today's form and in that of the system before.
use std::collections::BTreeSet;
use std::fmt;

use bond_core::event::Channel;
use bond_core::instrument::{DEFAULT_QUOTE, MAX_SYMBOL_BYTES, MarketType, Symbol, Venue};
use bond_core::spec::{
    FieldMap, LiquidationsSource, MAX_SOURCES, MarketSource, Provider, SocialSource, Source, WebSocketSource,
    parse_url,
};
use bond_core::topic::{DEFAULT_DEPTH, MAX_DEPTH, published_depth};
use serde_json::Value;

use super::object::{Object, kind, shorten};
use super::report::Report;
use crate::assets;
use crate::spelling::nearest;

/// The symbols that a list names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// Whether nothing is written there.
    is_empty: bool,
    /// Those that are known.
    pub(super) symbols: BTreeSet<Symbol>,
}

impl Named {
    /// Reads the list in the field `symbols`, once, whoever takes its symbols. An asset that no table has is known where `shared` spells
    /// out a pair of it: so a social source of a compiled spec is read again, which names assets alone.
    pub(super) fn of(object: &mut Object<'_>, shared: Option<&Self>, report: &mut Report) -> Option<Self> {
        let written = object.texts("symbols", report)?;
        let spelled_out =
            |text| shared.filter(|_| assets::find(text).is_none()).and_then(|s| s.pair_of(text));
        let known = |text| spelled_out(text).map_or_else(|| pair(text), Ok);
        let symbols = written.iter().filter_map(|(path, text)| report.ok(path, known(text))).collect();
        Some(Self { is_empty: written.is_empty(), symbols })
    }

    fn pair_of(&self, asset: &str) -> Option<Symbol> {
        self.symbols.iter().find(|symbol| symbol.base() == asset).cloned()
    }
}

/// Fields of the earlier system's sources that mean nothing here.
const LEGACY_IGNORED: [&str; 4] = ["fields", "mode", "config", "interval_sec"];

/// Reads one source. `shared` are the spec's own symbols, for a source that names none. `None`: refused or dropped.
pub(super) fn source(
    path: &str,
    value: &Value,
    shared: Option<&Named>,
    report: &mut Report,
) -> Option<Source> {
    let mut object = Object::new(path, value, report)?;
    let name = object.required("type", "market, social, liquidations or websocket", report)?;
    if name == "onchain" || name.starts_with("onchain.") {
        report.warn(path, "dropped: there are no on-chain sources");
        return None;
    }
    let source = current(name, &mut object, shared, report)
        .or_else(|| legacy(name, &mut object, shared, report))
        .unwrap_or_else(|| {
            let known = "market, social, liquidations, websocket";
            report.problem(object.at("type"), format!("unknown type: {}; known are {known}", shorten(name)));
            None
        });
    object.finish(report);
    source
}

/// `None` where the type is none of today's, `Some(None)` where the source is refused.
fn current(
    name: &str,
    object: &mut Object<'_>,
    shared: Option<&Named>,
    report: &mut Report,
) -> Option<Option<Source>> {
    Some(match name {
        "market" => market(object, shared, None, report),
        "social" => social(object, shared, report),
        "liquidations" => liquidations(object, shared, report),
        "websocket" => websocket(object, report),
        _ => return None,
    })
}

fn legacy(
    name: &str,
    object: &mut Object<'_>,
    shared: Option<&Named>,
    report: &mut Report,
) -> Option<Option<Source>> {
    let source = match name {
        "ccxt" | "ccxt.ticker" | "ccxt.trades" => {
            let channel = name.strip_prefix("ccxt.").and_then(Channel::from_name);
            let source = market(object, shared, channel, report);
            with_exchange(object, source, report)
        }
        "twitter" | "x.tweets" => social(object, shared, report),
        "custom" | "custom.ws" => custom(object, shared, report),
        _ => return None,
    };
    for field in LEGACY_IGNORED {
        object.ignore(field, "it has no meaning in a source", report);
    }
    Some(source)
}

/// The earlier `custom`: a WebSocket where it has a URL, else liquidations.
fn custom(object: &mut Object<'_>, shared: Option<&Named>, report: &mut Report) -> Option<Source> {
    if object.given("url").is_none() {
        return liquidations(object, shared, report);
    }
    object.ignore("symbols", "events of a WebSocket count for every symbol", report);
    websocket(object, report)
}

fn market(
    object: &mut Object<'_>,
    shared: Option<&Named>,
    legacy_channel: Option<Channel>,
    report: &mut Report,
) -> Option<Source> {
    let channels = match legacy_channel {
        Some(channel) => Some([channel].into()),
        None => channels(object, report),
    };
    let symbols = symbols(object, shared, report);
    let exchanges = exchanges(object, report);
    let depth = depth(object, channels.as_ref(), report);
    let market_type = market_type(object, channels.as_ref(), symbols.as_ref(), report);
    let (market_type, channels) = (market_type?, channels?);
    let symbols = symbols?.iter().map(|symbol| symbol.on(market_type)).collect();
    Some(Source::Market(MarketSource { symbols, exchanges, channels, market_type, depth }))
}

fn social(object: &mut Object<'_>, shared: Option<&Named>, report: &mut Report) -> Option<Source> {
    match object.text("provider", report) {
        None | Some("x" | "twitter") => {}
        Some(other) => {
            report
                .problem(object.at("provider"), format!("unknown provider: {}; known is x", shorten(other)));
        }
    }
    let symbols = symbols(object, shared, report)?;
    let bases = symbols.iter().map(|symbol| symbol.base().into());
    Some(Source::Social(SocialSource { provider: Provider::X, symbols: bases.collect() }))
}

fn liquidations(object: &mut Object<'_>, shared: Option<&Named>, report: &mut Report) -> Option<Source> {
    let exchanges = exchanges(object, report);
    let symbols = symbols(object, shared, report)?;
    let symbols = symbols.iter().map(|symbol| symbol.on(MarketType::Spot)).collect();
    Some(Source::Liquidations(LiquidationsSource { symbols, exchanges }))
}

fn websocket(object: &mut Object<'_>, report: &mut Report) -> Option<Source> {
    let map = object.given("map").and_then(|value| field_map(&object.at("map"), value, report));
    let url = object.required("url", "the WebSocket's URL", report)?;
    let url = report.ok(&object.at("url"), parse_url(url))?;
    Some(Source::WebSocket(WebSocketSource { url: url.into(), map }))
}

fn field_map(path: &str, value: &Value, report: &mut Report) -> Option<FieldMap> {
    let mut object = Object::new(path, value, report)?;
    let map =
        FieldMap { value: pointer(&mut object, "value", report), ts: pointer(&mut object, "ts", report) };
    object.finish(report);
    (map != FieldMap::default()).then_some(map)
}

fn pointer(object: &mut Object<'_>, field: &'static str, report: &mut Report) -> Option<String> {
    let text = object.text(field, report)?;
    if text.len() > 256 || !(text.is_empty() || text.starts_with('/')) {
        report.problem(object.at(field), "not a JSON pointer: write /path/to/field");
    }
    Some(text.to_owned())
}

/// The symbols of a source, or those of the spec where it names none.
fn symbols(object: &mut Object<'_>, shared: Option<&Named>, report: &mut Report) -> Option<BTreeSet<Symbol>> {
    let own = Named::of(object, shared, report);
    let named = own.as_ref().or(shared).filter(|named| !named.is_empty);
    if named.is_none() {
        report.problem(object.at("symbols"), "missing: name at least one, such as BTC/USDT");
    }
    named.map(|named| named.symbols.clone())
}

/// A symbol as a spec may write it: a known asset, or a pair in any common spelling.
fn pair(text: &str) -> Result<Symbol, UnknownSymbol<'_>> {
    let text = text.trim();
    let unknown = UnknownSymbol(text);
    if text.len() > MAX_SYMBOL_BYTES {
        return Err(unknown);
    }
    if let Some(known) = assets::find(text) {
        return Symbol::new(known.ticker, DEFAULT_QUOTE, MarketType::Spot).map_err(|_| unknown);
    }
    let spelled_out = text.contains(['/', '-', '_']);
    let pair = if spelled_out { Symbol::parse(text).ok() } else { assets::pair_in_word(text) };
    pair.ok_or(unknown)
}

/// A text that names no asset and no pair. What it may have meant is looked for when it is shown.
struct UnknownSymbol<'t>(&'t str);

impl fmt::Display for UnknownSymbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a known asset: {}", shorten(self.0))?;
        if self.0.len() > MAX_SYMBOL_BYTES {
            return write!(f, "; a symbol has {MAX_SYMBOL_BYTES} bytes at most");
        }
        match nearest(self.0, assets::names()) {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => f.write_str("; spell the pair out, such as BTC/USDT"),
        }
    }
}

/// Adds the venue that the earlier system named in `exchange`.
fn with_exchange(object: &mut Object<'_>, source: Option<Source>, report: &mut Report) -> Option<Source> {
    let venues = venues(object, "exchange", report);
    let mut source = source?;
    if let Source::Market(market) = &mut source {
        market.exchanges.extend(venues);
    }
    Some(source)
}

fn exchanges(object: &mut Object<'_>, report: &mut Report) -> BTreeSet<Venue> {
    venues(object, "exchanges", report)
}

/// The venues named in a field; `*` names none.
fn venues(object: &mut Object<'_>, field: &'static str, report: &mut Report) -> BTreeSet<Venue> {
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
    channels: Option<&BTreeSet<Channel>>,
    symbols: Option<&BTreeSet<Symbol>>,
    report: &mut Report,
) -> Option<MarketType> {
    let needs = channels.is_some_and(|channels| channels.iter().any(|channel| channel.needs_perpetual()));
    let written = symbols.is_some_and(|symbols| symbols.iter().any(|s| s.market() == MarketType::Perpetual));
    let path = object.at("market_type");
    let market_type = match object.text("market_type", report) {
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

/// Reads the list of sources.
pub(super) fn sources(value: Option<&Value>, shared: Option<&Named>, report: &mut Report) -> Vec<Source> {
    let items = match value {
        Some(Value::Array(items)) => items,
        Some(other) if !other.is_null() => {
            report.problem("sources", format!("expected a list, not {}", kind(other)));
            return Vec::new();
        }
        _ => {
            report.problem("sources", "missing: name at least one source");
            return Vec::new();
        }
    };
    let read = items.iter().take(MAX_SOURCES + 1).enumerate();
    let sources: Vec<_> =
        read.filter_map(|(i, item)| source(&format!("sources[{i}]"), item, shared, report)).collect();
    if sources.is_empty() && report.is_clean() {
        report.problem("sources", "nothing to serve: name at least one source");
    }
    sources
}
