//! Reading `sources`, in today's form and in that of the system before.

use bond_core::event::Channel;
use bond_core::instrument::MarketType;
use bond_core::spec::{
    FieldMap, LiquidationsSource, MAX_SOURCES, Provider, SocialSource, Source, WebSocketSource, parse_url,
};
use serde_json::Value;

use super::market::{exchanges, market, venues};
use super::object::{Object, kind, shorten};
use super::report::Report;
use super::symbols::{Named, Setting, symbols};

/// What the earlier system called sources of market data.
const LEGACY_MARKETS: [&str; 3] = ["ccxt", "ccxt.ticker", "ccxt.trades"];

/// What it called all others.
const LEGACY_OTHERS: [&str; 4] = ["twitter", "x.tweets", "custom", "custom.ws"];

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
    let setting = |is_legacy| Setting { shared, is_legacy };
    let source = current(name, &mut object, setting(false), report)
        .or_else(|| legacy(name, &mut object, setting(true), report))
        .unwrap_or_else(|| {
            let known = "market, social, liquidations, websocket";
            report.problem(object.at("type"), format!("unknown type: {}; known are {known}", shorten(name)));
            None
        });
    object.finish(report);
    source
}

/// Whether a spec is written as for the system before: at least one source has a type of that.
pub(super) fn is_legacy(sources: Option<&Value>) -> bool {
    types(sources).any(|name| LEGACY_MARKETS.contains(&name) || LEGACY_OTHERS.contains(&name))
}

fn types(sources: Option<&Value>) -> impl Iterator<Item = &str> {
    let items = sources.and_then(Value::as_array).into_iter().flatten().take(MAX_SOURCES);
    items.filter_map(|item| item.get("type")?.as_str())
}

/// Whether the system before would have taken its default symbol: no source names any, and one is of market data as it knew it.
pub(super) fn wants_legacy_default(sources: Option<&Value>) -> bool {
    let items = sources.and_then(Value::as_array).into_iter().flatten().take(MAX_SOURCES);
    let names_none = |source: &Value| match source.get("symbols") {
        None | Some(Value::Null) => true,
        Some(Value::Array(symbols)) => symbols.is_empty(),
        Some(_) => false,
    };
    types(sources).any(|name| LEGACY_MARKETS.contains(&name)) && items.into_iter().all(names_none)
}

/// `None` where the type is none of today's, `Some(None)` where the source is refused.
fn current(
    name: &str,
    object: &mut Object<'_>,
    setting: Setting<'_>,
    report: &mut Report,
) -> Option<Option<Source>> {
    Some(match name {
        "market" => market(object, setting, None, report),
        "social" => social(object, setting, report),
        "liquidations" => liquidations(object, setting, report),
        "websocket" => websocket(object, report),
        _ => return None,
    })
}

fn legacy(
    name: &str,
    object: &mut Object<'_>,
    setting: Setting<'_>,
    report: &mut Report,
) -> Option<Option<Source>> {
    let source = match name {
        name if LEGACY_MARKETS.contains(&name) => {
            let channel = name.strip_prefix("ccxt.").and_then(Channel::from_name);
            let source = market(object, setting, channel, report);
            with_exchange(object, source, report)
        }
        "twitter" | "x.tweets" => social(object, setting, report),
        "custom" | "custom.ws" => custom(object, setting, report),
        _ => return None,
    };
    for field in LEGACY_IGNORED {
        object.ignore(field, "it has no meaning in a source", report);
    }
    Some(source)
}

/// The earlier `custom`: a WebSocket where it has a URL, else liquidations.
fn custom(object: &mut Object<'_>, setting: Setting<'_>, report: &mut Report) -> Option<Source> {
    if object.given("url").is_none() {
        return liquidations(object, setting, report);
    }
    object.ignore("symbols", "events of a WebSocket count for every symbol", report);
    websocket(object, report)
}

fn social(object: &mut Object<'_>, setting: Setting<'_>, report: &mut Report) -> Option<Source> {
    match object.text("provider", report) {
        None | Some("x" | "twitter") => {}
        Some(other) => {
            report
                .problem(object.at("provider"), format!("unknown provider: {}; known is x", shorten(other)));
        }
    }
    let symbols = symbols(object, setting, report)?;
    let bases = symbols.iter().map(|symbol| symbol.base().into());
    Some(Source::Social(SocialSource { provider: Provider::X, symbols: bases.collect() }))
}

fn liquidations(object: &mut Object<'_>, setting: Setting<'_>, report: &mut Report) -> Option<Source> {
    let exchanges = exchanges(object, report);
    let symbols = symbols(object, setting, report)?;
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

/// Adds the venue that the earlier system named in `exchange`.
fn with_exchange(object: &mut Object<'_>, source: Option<Source>, report: &mut Report) -> Option<Source> {
    let venues = venues(object, "exchange", report);
    let mut source = source?;
    if let Source::Market(market) = &mut source {
        market.exchanges.extend(venues);
    }
    Some(source)
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
