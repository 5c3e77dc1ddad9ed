//! What a stream is to carry: the spec, its normal form, and the id taken over it.
//!
//! [`StreamSpec::from_json`] reads what a client sends, strictly, and reports everything that is wrong at once. What it returns is
//! normal: defaults filled, symbols in one spelling, order-free lists sorted and without repeats. Written as JSON it is read
//! back as the same spec, with the same id.

use std::collections::BTreeSet;

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::instrument::Symbol;
use crate::store::Labels;
use crate::topic::StreamId;

mod interval;
mod object;
mod parse;
mod parse_source;
mod parse_transform;
mod report;
mod source;
#[cfg(test)]
mod tests;
mod transform;
mod url_guard;

pub use interval::{Interval, IntervalError};
pub use report::{Problem, SpecError, Warning};
pub use source::{
    FieldMap, LiquidationsSource, MarketSource, Provider, SocialSource, Source, WebSocketSource,
};
pub use transform::{Agg, Transform, Window};
pub use url_guard::{UrlError, guard_url, is_public, parse_url};

/// Sources in one stream at most.
pub const MAX_SOURCES: usize = 16;

/// Symbols that one stream has, and that one feed may name, at most.
pub const MAX_SYMBOLS: usize = 100;

/// The longest life of a stream that a spec may ask for: a year.
pub const MAX_TTL_SEC: u32 = 31_536_000;

/// The version of the spec's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
enum Version {
    #[default]
    V1,
}

/// A normalised stream spec. It can be made by reading or compiling one only, so that it is always normal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// Reads a spec as a client may write it, in today's form or that of the system before. The warnings say what was ignored.
    ///
    /// URLs are read but not guarded: see [`StreamSpec::guard_urls`].
    ///
    /// # Errors
    /// [`SpecError`] with every problem and its path.
    pub fn from_json(value: &Value) -> Result<(Self, Vec<Warning>), SpecError> {
        parse::spec(value)
    }

    /// Reads a spec from JSON text.
    ///
    /// # Errors
    /// [`SpecError`] as [`StreamSpec::from_json`], or where the text is not JSON.
    pub fn from_slice(json: &[u8]) -> Result<(Self, Vec<Warning>), SpecError> {
        let value = serde_json::from_slice(json);
        let value: Value = value.map_err(|error| SpecError::of("", format!("not JSON: {error}")))?;
        Self::from_json(&value)
    }

    /// A normalised spec of these sources.
    ///
    /// # Errors
    /// [`SpecError`] where there are no sources, too many, or too many symbols.
    pub(crate) fn new(mut sources: Vec<Source>, interval: Option<Interval>) -> Result<Self, SpecError> {
        if sources.is_empty() || sources.len() > MAX_SOURCES {
            return Err(SpecError::of("sources", format!("a stream has 1 to {MAX_SOURCES} sources")));
        }
        sources.sort_by_cached_key(|source| (source.rank(), canonical_json(source)));
        sources.dedup();
        let symbols = source::symbols_of(&sources);
        let most = sources.iter().map(Source::symbol_count).chain([symbols.len()]).max().unwrap_or(0);
        if most > MAX_SYMBOLS {
            let message = format!("{most} symbols; a stream has {MAX_SYMBOLS} at most: split it");
            return Err(SpecError::of("symbols", message));
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

    /// The same spec with another time to live, in seconds; `None` is for ever.
    #[must_use]
    pub(crate) fn with_ttl(self, ttl_sec: Option<u32>) -> Self {
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

    /// Refuses a spec with a URL whose text names a host that is not on the public internet, unless `allow_private`.
    ///
    /// # Errors
    /// [`SpecError`] with the path of every such URL.
    pub fn guard_urls(&self, allow_private: bool) -> Result<(), SpecError> {
        let mut problems = Vec::new();
        for (i, source) in self.sources.iter().enumerate() {
            let Source::WebSocket(websocket) = source else { continue };
            if let Err(error) = guard_url(&websocket.url, allow_private) {
                problems.push(Problem { path: format!("sources[{i}].url"), message: error.to_string() });
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(SpecError { problems }) }
    }
}

/// RFC 8785 text. What is written here has string keys and finite numbers, the only things that could fail.
fn canonical_json(value: &impl Serialize) -> String {
    serde_json_canonicalizer::to_string(value).expect("string keys and finite numbers")
}

impl<'de> Deserialize<'de> for StreamSpec {
    /// Reads as [`StreamSpec::from_json`] does, without its warnings.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_json(&value).map(|(spec, _)| spec).map_err(serde::de::Error::custom)
    }
}
