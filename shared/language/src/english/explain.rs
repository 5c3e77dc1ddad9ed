//! What each phrase came to in the spec.

use bond_core::event::Channel;
use bond_core::instrument::MarketType;
use bond_core::spec::{Source, StreamSpec};
use serde::Serialize;

use super::currency::Said;
use super::lexicon::Watch;
use super::phrase::{Item, Phrase};
use super::sentence::Sentence;
use super::token::Span;

/// What a stretch of the sentence was understood as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The stretch, in bytes of the sentence's UTF-8: from the first up to, not including, the second.
    pub span: Span,
    /// The words of that stretch.
    pub text: String,
    /// What they were understood as.
    pub meaning: String,
    /// The part of the spec they led to, such as `sources[0].symbols`; `None` where they change nothing in it.
    pub path: Option<String>,
}

/// Explains every phrase that was used, in the order of the sentence.
pub(super) fn explain(sentence: &Sentence<'_>, spec: &StreamSpec) -> Vec<Explanation> {
    let explained = sentence.phrases.iter().filter_map(|phrase| {
        let (meaning, path) = meaning(sentence, phrase, spec)?;
        Some(Explanation { span: phrase.span, text: sentence.words(phrase.span).to_owned(), meaning, path })
    });
    explained.collect()
}

fn meaning(sentence: &Sentence<'_>, phrase: &Phrase, spec: &StreamSpec) -> Option<(String, Option<String>)> {
    if phrase.negated {
        return Some(("left out".to_owned(), None));
    }
    let said = match &phrase.item {
        Item::Asset(said) => (asset_meaning(said), asset_path(said, spec)),
        Item::Venue(venue) => (format!("the venue {venue}"), any_path(spec, "exchanges", has_exchanges)),
        Item::AllVenues => ("every configured venue".to_owned(), None),
        Item::Watch(watch) => (watch_meaning(*watch).to_owned(), watch_path(*watch, spec)),
        Item::Depth(_) => (depth_meaning(spec), any_path(spec, "depth", has_depth)),
        Item::Figure { .. } => ("a figure that every aggregate has".to_owned(), None),
        Item::Market(market) => (market_meaning(*market), market_path(*market, spec)),
        Item::Interval(_) => (interval_meaning(spec), Some("interval_sec".to_owned())),
        Item::Raw => (interval_meaning(spec), Some("interval_sec".to_owned())),
        Item::Duration(_) => (duration_meaning(spec), Some("ttl_sec".to_owned())),
        Item::Quote(quote) => (format!("quoted in {quote}"), Some("symbols".to_owned())),
        Item::Url => url_meaning(sentence.words(phrase.span), spec),
        _ => return None,
    };
    Some(said)
}

fn asset_meaning(said: &Said) -> String {
    match said {
        Said::Bare(ticker) => format!("the asset {ticker}"),
        Said::Pair(symbol) => format!("the pair {symbol}"),
    }
}

const fn watch_meaning(watch: Watch) -> &'static str {
    match watch {
        Watch::Price => "prices: the channels ticker and trades",
        Watch::Trades => "the channel trades",
        Watch::Ticker => "best bid and ask: the channel ticker",
        Watch::Book => "the channel orderbook",
        Watch::Funding => "funding, mark and index prices of perpetuals",
        Watch::OpenInterest => "open interest: in ticker events of perpetuals",
        Watch::Liquidations => "liquidations of perpetuals",
        Watch::Posts => "posts on X that mention the assets",
        Watch::Everything => "all market data, posts on X, and liquidations",
    }
}

fn market_meaning(market: MarketType) -> String {
    format!("the {market} market")
}

fn depth_meaning(spec: &StreamSpec) -> String {
    let depth = spec.sources().iter().find_map(|source| match source {
        Source::Market(market) => market.depth,
        _ => None,
    });
    depth.map_or_else(|| "the depth of an order book".to_owned(), |depth| format!("{depth} levels a side"))
}

fn interval_meaning(spec: &StreamSpec) -> String {
    spec.interval().map_or_else(
        || "no windows: every event as it comes".to_owned(),
        |interval| format!("one aggregate every {interval}"),
    )
}

fn duration_meaning(spec: &StreamSpec) -> String {
    format!("the stream ends after {} s", spec.ttl_sec().unwrap_or_default())
}

fn url_meaning(text: &str, spec: &StreamSpec) -> (String, Option<String>) {
    let url = bond_core::spec::parse_url(text).map(String::from).unwrap_or_default();
    let path =
        any_path(spec, "url", |source| matches!(source, Source::WebSocket(socket) if socket.url == url));
    ("a WebSocket of your own".to_owned(), path)
}

/// The path of a field of the first source that it is found in.
fn any_path(spec: &StreamSpec, field: &str, found_in: impl Fn(&Source) -> bool) -> Option<String> {
    let at = spec.sources().iter().position(found_in)?;
    Some(if field.is_empty() { format!("sources[{at}]") } else { format!("sources[{at}].{field}") })
}

fn has_exchanges(source: &Source) -> bool {
    match source {
        Source::Market(market) => !market.exchanges.is_empty(),
        Source::Liquidations(liquidations) => !liquidations.exchanges.is_empty(),
        Source::Social(_) | Source::WebSocket(_) => false,
    }
}

const fn has_depth(source: &Source) -> bool {
    matches!(source, Source::Market(market) if market.depth.is_some())
}

fn asset_path(said: &Said, spec: &StreamSpec) -> Option<String> {
    any_path(spec, "symbols", |source| match source {
        Source::Market(market) => market.symbols.iter().any(|symbol| symbol.base() == said.base()),
        Source::Liquidations(source) => source.symbols.iter().any(|symbol| symbol.base() == said.base()),
        Source::Social(social) => social.symbols.contains(said.base()),
        Source::WebSocket(_) => false,
    })
}

fn market_path(market_type: MarketType, spec: &StreamSpec) -> Option<String> {
    any_path(
        spec,
        "market_type",
        |source| matches!(source, Source::Market(market) if market.market_type == market_type),
    )
}

fn watch_path(watch: Watch, spec: &StreamSpec) -> Option<String> {
    let channel = match watch {
        Watch::Price | Watch::Trades => Channel::Trades,
        Watch::Ticker | Watch::OpenInterest => Channel::Ticker,
        Watch::Book => Channel::OrderBook,
        Watch::Funding => Channel::Funding,
        Watch::Liquidations => return any_path(spec, "", |source| matches!(source, Source::Liquidations(_))),
        Watch::Posts => return any_path(spec, "", |source| matches!(source, Source::Social(_))),
        Watch::Everything => return Some("sources".to_owned()),
    };
    any_path(
        spec,
        "channels",
        |source| matches!(source, Source::Market(market) if market.channels.contains(&channel)),
    )
}
