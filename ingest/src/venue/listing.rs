//! A venue's instruments, by the venue's names and by Bond's symbols.

use std::collections::HashMap;
use std::sync::Arc;

use bond_core::event::Level;
use bond_core::instrument::{Instrument, MarketType, Symbol};
use rust_decimal::Decimal;
use smol_str::SmolStr;

use super::Reject;
use super::wire::{self, LevelText};

/// An instrument as its venue lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// The instrument.
    pub instrument: Arc<Instrument>,
    /// The venue's name of the instrument: `BTCUSDT`, `BTC-USDT-SWAP`.
    pub name: SmolStr,
    /// Base units in one contract; 1 if amounts are in the base currency; `None` if it is not known.
    pub contract_size: Option<Decimal>,
}

impl Listing {
    /// A listing whose amounts are in the base currency.
    pub(super) fn in_base_units(instrument: Arc<Instrument>, name: &str) -> Self {
        Self { instrument, name: name.into(), contract_size: Some(Decimal::ONE) }
    }

    /// The unit in which the venue gives amounts.
    pub(super) fn unit(&self) -> Result<Unit, Reject> {
        self.contract_size.map(Unit).ok_or_else(|| Reject::ContractSize(self.name.clone()))
    }
}

/// Base units in one of the venue's units of amount.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit(Decimal);

impl Unit {
    /// The base currency itself.
    pub(super) const BASE: Self = Self(Decimal::ONE);

    /// The amount in the base currency that `text` stands for.
    pub(super) fn amount(
        self,
        field: &'static str,
        text: &str,
    ) -> Result<bond_core::decimal::Quantity, Reject> {
        let amount = wire::quantity(field, text)?;
        if self.0 == Decimal::ONE {
            return Ok(amount);
        }
        amount.times(self.0).map_err(|error| Reject::Number { field, error })
    }

    /// Levels with their amounts in the base currency.
    pub(super) fn levels(self, levels: &[LevelText<'_>]) -> Result<Vec<Level>, Reject> {
        let level = |text: &LevelText<'_>| {
            Ok(Level { price: wire::price("price", text.price)?, size: self.amount("size", text.size)? })
        };
        levels.iter().map(level).collect()
    }
}

/// A venue's list of instruments, by the venue's names and by Bond's symbols.
#[derive(Clone, Debug, Default)]
pub struct Listings {
    by_name: HashMap<SmolStr, Arc<Listing>>,
    by_symbol: HashMap<Symbol, Arc<Listing>>,
    reads_spelling: bool,
}

impl Listings {
    /// An empty list that recognises names by their spelling, for frames that come without a list. A name does not contain the contract
    /// size, so for venues that count contracts it is unknown.
    pub fn by_spelling() -> Self {
        Self { reads_spelling: true, ..Self::default() }
    }

    /// Adds or replaces a listing.
    pub fn insert(&mut self, listing: Listing) {
        let listing = Arc::new(listing);
        self.by_symbol.insert(listing.instrument.symbol.clone(), Arc::clone(&listing));
        self.by_name.insert(listing.name.clone(), listing);
    }

    /// The listing with this name at the venue.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Listing>> {
        self.by_name.get(name)
    }

    /// The listing of Bond's `symbol`.
    pub fn by_symbol(&self, symbol: &Symbol) -> Option<&Arc<Listing>> {
        self.by_symbol.get(symbol)
    }

    /// The number of listings.
    pub fn len(&self) -> usize {
        self.by_symbol.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.by_symbol.is_empty()
    }
}

impl Extend<Listing> for Listings {
    fn extend<I: IntoIterator<Item = Listing>>(&mut self, listings: I) {
        listings.into_iter().for_each(|listing| self.insert(listing));
    }
}

/// Derives a listing from a venue's name of an instrument; `None` if Bond does not serve such an instrument.
pub(super) type Spelling = fn(&str, MarketType) -> Option<Listing>;

/// The most names recognised by spelling that are remembered. Further names are parsed each time.
const MAX_SPELLED: usize = 10_000;

/// The names that the frames of one connection use.
pub(super) struct SymbolMap {
    listings: Arc<Listings>,
    market: MarketType,
    spelling: Spelling,
    spelled: HashMap<SmolStr, Arc<Listing>>,
}

impl SymbolMap {
    pub(super) fn new(listings: Arc<Listings>, market: MarketType, spelling: Spelling) -> Self {
        Self { listings, market, spelling, spelled: HashMap::new() }
    }

    /// The listing of the venue's `name`.
    pub(super) fn find(&mut self, name: &str) -> Result<Arc<Listing>, Reject> {
        match self.listings.by_name(name).or_else(|| self.spelled.get(name)) {
            Some(listing) => Ok(Arc::clone(listing)),
            None => self.spell(name).ok_or_else(|| Reject::Instrument(name.chars().take(40).collect())),
        }
    }

    fn spell(&mut self, name: &str) -> Option<Arc<Listing>> {
        let readable = self.listings.reads_spelling;
        let listing = Arc::new(readable.then(|| (self.spelling)(name, self.market))??);
        if self.spelled.len() < MAX_SPELLED {
            self.spelled.insert(name.into(), Arc::clone(&listing));
        }
        Some(listing)
    }

    /// The venue's name of `instrument`; `None` if it is not listed.
    pub(super) fn name_of(&self, instrument: &Instrument) -> Option<&SmolStr> {
        self.listings.by_symbol(&instrument.symbol).map(|listing| &listing.name)
    }
}
