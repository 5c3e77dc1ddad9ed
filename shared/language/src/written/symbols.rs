//! Reading the symbols that a spec names, and those of a source that names none.

use std::collections::BTreeSet;
use std::fmt;

use bond_core::instrument::{DEFAULT_QUOTE, MAX_SYMBOL_BYTES, MarketType, Symbol};

use super::object::{Object, shorten};
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

    /// The one pair that the system before took where none was named.
    pub(super) fn legacy_default() -> Self {
        let pair = Symbol::new("BTC", DEFAULT_QUOTE, MarketType::Spot);
        Self { is_empty: false, symbols: pair.into_iter().collect() }
    }

    /// Whether something is written there.
    pub(super) const fn names_any(&self) -> bool {
        !self.is_empty
    }

    fn pair_of(&self, asset: &str) -> Option<Symbol> {
        self.symbols.iter().find(|symbol| symbol.base() == asset).cloned()
    }
}

/// What a source is read with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'n> {
    /// The spec's own symbols, for a source that names none.
    pub(super) shared: Option<&'n Named>,
    /// Whether the source is one of the system before, in which an empty list names nothing.
    pub(super) is_legacy: bool,
}

/// The symbols of a source, or those of the spec where it names none.
pub(super) fn symbols(
    object: &mut Object<'_>,
    Setting { shared, is_legacy }: Setting<'_>,
    report: &mut Report,
) -> Option<BTreeSet<Symbol>> {
    let own = Named::of(object, shared, report).filter(|own| own.names_any() || !is_legacy);
    let named = own.as_ref().or(shared).filter(|named| named.names_any());
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
