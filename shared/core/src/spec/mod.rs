//! What a stream is to carry: the spec, its normal form, and the id taken over it.
//!
//! What is here is normal: defaults filled, symbols in one spelling, order-free lists sorted and without repeats. Written as JSON it is
//! read back as the same spec, with the same id; that is how a registry keeps it and how the engine reads it. What a client may write
//! instead, and the sentences that mean a spec, are the crate bond-language's business.

use std::collections::BTreeSet;

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::instrument::Symbol;
use crate::store::Labels;
use crate::topic::StreamId;

mod interval;
mod source;
mod transform;
mod url_guard;

pub use interval::{Interval, IntervalError};
pub use source::{
    FieldMap, LiquidationsSource, MarketSource, Provider, SocialSource, Source, WebSocketSource,
};
pub use transform::{Agg, Transform, Window};
pub use url_guard::{UrlError, guard_url, is_public, is_usual_port, parse_url};

/// Sources in one stream at most.
pub const MAX_SOURCES: usize = 16;

/// Symbols that one stream has, and that one feed may name, at most.
pub const MAX_SYMBOLS: usize = 100;

/// The longest life of a stream that a spec may ask for: a year.
pub const MAX_TTL_SEC: u32 = 31_536_000;

/// A spec with nothing in it, or with too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No source, or too many.
    #[error("a stream has 1 to {MAX_SOURCES} sources")]
    Sources,
    /// So many symbols.
    #[error("{0} symbols; a stream has {MAX_SYMBOLS} at most: split it")]
    Symbols(usize),
}

/// The version of the spec's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Version {
    #[default]
    V1,
}

/// A normalised stream spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct StreamSpec {
    version: Version,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    sources: Vec<Source>,
    #[serde(serialize_with = "source::texts")]
    symbols: BTreeSet<Symbol>,
    #[serde(rename = "interval_sec")]
    interval: Option<Interval>,
    transforms: Vec<Transform>,
    ttl_sec: Option<u32>,
}

/// The part of a spec that its id is taken over.
#[derive(Serialize)]
struct Identity<'a> {
    version: Version,
    sources: &'a [Source],
    #[serde(serialize_with = "source::texts")]
    symbols: &'a BTreeSet<Symbol>,
    interval_sec: Option<Interval>,
    transforms: &'a [Transform],
}

impl StreamSpec {
    /// A normalised spec of these sources.
    ///
    /// # Errors
    /// [`SizeError`] where there are no sources, too many, or too many symbols.
    pub fn new(mut sources: Vec<Source>, interval: Option<Interval>) -> Result<Self, SizeError> {
        if sources.is_empty() || sources.len() > MAX_SOURCES {
            return Err(SizeError::Sources);
        }
        sources.sort_by_cached_key(|source| (source.rank(), canonical_json(source)));
        sources.dedup();
        let symbols = source::symbols_of(&sources);
        let most = sources.iter().map(Source::symbol_count).chain([symbols.len()]).max().unwrap_or(0);
        if most > MAX_SYMBOLS {
            return Err(SizeError::Symbols(most));
        }
        Ok(Self {
            version: Version::V1,
            name: None,
            description: None,
            sources,
            symbols,
            interval,
            transforms: Vec::new(),
            ttl_sec: None,
        })
    }

    /// The same spec with these transforms, which must fit the aggregates.
    #[must_use]
    pub fn with_transforms(self, transforms: Vec<Transform>) -> Self {
        Self { transforms, ..self }
    }

    /// The same spec with another time to live, in seconds; `None` is for ever.
    #[must_use]
    pub fn with_ttl(self, ttl_sec: Option<u32>) -> Self {
        Self { ttl_sec, ..self }
    }

    /// The sources: market, social, liquidations, websocket, and by their JSON within a kind.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The symbols that aggregates are made for, in order. Empty where only WebSockets are read: their aggregates have `*`.
    pub const fn symbols(&self) -> &BTreeSet<Symbol> {
        &self.symbols
    }

    /// The length of a window; `None`: every source event passes as it comes.
    pub const fn interval(&self) -> Option<Interval> {
        self.interval
    }

    /// What is done with the aggregates, in order.
    pub fn transforms(&self) -> &[Transform] {
        &self.transforms
    }

    /// How long the claim that came with this spec holds, in seconds. No part of the id.
    pub const fn ttl_sec(&self) -> Option<u32> {
        self.ttl_sec
    }

    /// The owner's name for the stream. No part of the id.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The owner's words about the stream. No part of the id.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// What the owner wrote for himself. No part of the id.
    pub fn labels(&self) -> Labels {
        Labels { name: self.name.clone(), description: self.description.clone(), ttl_sec: self.ttl_sec }
    }

    /// The same spec with these labels in the place of its own.
    #[must_use]
    pub fn with_labels(self, labels: Labels) -> Self {
        let Labels { name, description, ttl_sec } = labels;
        Self { name, description, ttl_sec, ..self }
    }

    /// The canonical form (RFC 8785) of what the stream carries, without labels and `ttl_sec`. Two specs mean one stream when
    /// these are equal.
    pub fn canonical(&self) -> String {
        canonical_json(&Identity {
            version: self.version,
            sources: &self.sources,
            symbols: &self.symbols,
            interval_sec: self.interval,
            transforms: &self.transforms,
        })
    }

    /// The id: Blake2b with a digest of 8 bytes over the canonical form.
    pub fn id(&self) -> StreamId {
        StreamId::from_bytes(Blake2b::<U8>::digest(self.canonical()).into())
    }
}

/// RFC 8785 text. What is written here has string keys and finite numbers, the only things that could fail.
fn canonical_json(value: &impl Serialize) -> String {
    serde_json_canonicalizer::to_string(value).expect("string keys and finite numbers")
}

/// A spec in its normal form, as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: Version,
    name: Option<String>,
    description: Option<String>,
    sources: Vec<Source>,
    /// Those of the sources, and taken from there.
    #[serde(rename = "symbols")]
    _symbols: IgnoredAny,
    interval_sec: Option<Interval>,
    transforms: Vec<Transform>,
    ttl_sec: Option<u32>,
}

impl TryFrom<Written> for StreamSpec {
    type Error = SizeError;

    fn try_from(written: Written) -> Result<Self, SizeError> {
        let Written { version, name, description, sources, interval_sec, transforms, ttl_sec, .. } = written;
        let spec = Self::new(sources, interval_sec)?.with_transforms(transforms);
        Ok(Self { version, name, description, ttl_sec, ..spec })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: &str = r#"{"version":"v1","sources":[{"type":"market","symbols":["BTC/USDT"],"exchanges":["binance","okx"],"channels":["orderbook","ticker"],"market_type":"spot","depth":20},{"type":"social","provider":"x","symbols":["BTC","NEWCOIN"]},{"type":"liquidations","symbols":["BTC/USDT"]},{"type":"websocket","url":"wss://example.com/feed","map":{"value":"/p","ts":"/T"}}],"symbols":["BTC/USDT","NEWCOIN/USDT"],"interval_sec":0.5,"transforms":[{"op":"resample","window":"60s","on":"vwap","agg":["last","mean"]},{"op":"count","window":"60s","as":"n"},{"op":"project","fields":["n","vwap_mean"],"named":{"price":"vwap_mean"}}],"ttl_sec":60}"#;

    #[test]
    fn the_normal_form_is_read_back_as_it_is_written() {
        let spec: StreamSpec = serde_json::from_str(NORMAL).expect("normal");
        assert_eq!(serde_json::to_string(&spec).expect("JSON"), NORMAL);
        let canonical: StreamSpec = serde_json::from_str(&spec.canonical()).expect("without ttl_sec");
        assert_eq!(canonical.id(), spec.id());
    }

    #[test]
    fn what_is_not_normal_is_not_taken_for_something_else() {
        for (part, other) in [
            (r#""version":"v1""#, r#""version":"v2""#),
            (r#""type":"social""#, r#""type":"twitter""#),
            (r#""channels":["#, r#""chanels":["#),
            (r#""ticker""#, r#""tickers""#),
            (r#""BTC/USDT"],"exchanges""#, r#""BTC"],"exchanges""#),
            (r#""interval_sec":0.5"#, r#""interval_sec":0.01"#),
            (r#""window":"60s","on""#, r#""window":"soon","on""#),
            (r#""mean""#, r#""median""#),
            (r#""ttl_sec":60"#, r#""limit":60"#),
        ] {
            let changed = NORMAL.replacen(part, other, 1);
            assert_ne!(changed, NORMAL, "{part}");
            assert!(serde_json::from_str::<StreamSpec>(&changed).is_err(), "{other}");
        }
    }

    #[test]
    fn a_spec_has_sources_and_not_too_many_symbols() {
        assert_eq!(StreamSpec::new(Vec::new(), None), Err(SizeError::Sources));
        let symbols = (0..=MAX_SYMBOLS).map(|n| format!("A{n}").into()).collect();
        let many = Source::Social(SocialSource { provider: Provider::X, symbols });
        assert_eq!(StreamSpec::new(vec![many], None), Err(SizeError::Symbols(MAX_SYMBOLS + 1)));
    }
}
