//! Bond's decoder of a venue's frames, as its session loop calls it.

use std::hint::black_box;
use std::sync::Arc;

use anyhow::{Context, Result};
use bond_core::instrument::{Instrument, MarketType, Symbol, Venue};
use bond_core::time::UnixNanos;
use bond_ingest::venue::{Decoded, Listing, Listings, Protocol, Reject, protocol};

use super::Decoder;
use crate::capture::Frame;
use crate::clock;

/// A venue's protocol with the buffers that its session reuses from frame to frame.
pub struct BondDecoder {
    protocol: Box<dyn Protocol>,
    out: Vec<Decoded>,
    rejects: Vec<Reject>,
}

impl BondDecoder {
    /// A connection to Binance spot that knows one instrument: `BTC/USDT`.
    ///
    /// # Errors
    /// The symbol is none.
    pub fn binance_spot(symbol: &str) -> Result<Self> {
        let listings = Arc::new(listing(Venue::Binance, Symbol::parse(symbol)?));
        let protocol =
            protocol(Venue::Binance, MarketType::Spot, listings).context("no protocol for Binance")?;
        Ok(Self { protocol, out: Vec::new(), rejects: Vec::new() })
    }
}

fn listing(venue: Venue, symbol: Symbol) -> Listings {
    let name = symbol.to_string().replace('/', "").into();
    let mut listings = Listings::default();
    listings.insert(Listing {
        instrument: Instrument::shared(venue, symbol),
        name,
        contract_size: Some(1.into()),
    });
    listings
}

impl Decoder for BondDecoder {
    fn name(&self) -> &'static str {
        "bond"
    }

    /// The receive time is read for each frame, as in the session.
    fn decode(&mut self, frame: &Frame) -> usize {
        self.out.clear();
        self.rejects.clear();
        let received = UnixNanos::from_nanos(clock::unix_nanos() as i64);
        self.protocol.decode(&frame.combined, received, &mut self.out, &mut self.rejects);
        black_box(&self.out).iter().filter(|decoded| matches!(decoded, Decoded::Event(_))).count()
    }
}
