//! The fair price of one instrument at one venue, and what perpetuals derive from it.

use rust_decimal::Decimal;

use super::ASSETS;
use super::latent::{LatentPrice, Noise};
use super::spec::Spec;
use crate::clock::{MILLI, UnixNanos};
use crate::config::{Market, Venue};

/// Half the spread that quotes aim for, relative to the price.
const HALF_SPREAD: f64 = 2e-6;
/// A perpetual stands this far above spot on average.
const PREMIUM: f64 = 2e-4;
/// Funding is paid every eight hours.
const FUNDING_PERIOD_MS: u64 = 8 * 3_600 * 1_000;

/// The latent price with the venue's own noise and, on perpetuals, a premium.
#[derive(Debug)]
pub(crate) struct Fair {
    latent: LatentPrice,
    venue_noise: Noise,
    premium: Option<Noise>,
    /// Ticks in one USDT.
    ticks: f64,
    seed: u64,
    asset: usize,
}

impl Fair {
    pub(super) fn new(seed: u64, venue: Venue, spec: &Spec) -> Self {
        let place = (venue as u64 * 2 + spec.market as u64) * ASSETS.len() as u64 + spec.asset as u64;
        let perpetual = spec.market == Market::Perpetual;
        Self {
            latent: LatentPrice::new(seed, spec.base()).expect("the asset is one of the market's own"),
            venue_noise: Noise::new(seed, 1_000 + place, 0.004),
            premium: perpetual.then(|| Noise::new(seed, 500 + spec.asset as u64, 0.005)),
            ticks: 10_f64.powi(spec.price_scale as i32),
            seed,
            asset: spec.asset,
        }
    }

    /// In ticks, not yet whole.
    fn price(&mut self, at: UnixNanos) -> f64 {
        let at_ms = at / MILLI;
        let premium = self.premium.as_mut().map_or(0.0, |noise| PREMIUM + noise.at(at_ms));
        let relative = 1.0 + premium + self.venue_noise.at(at_ms);
        self.latent.at(at_ms) * relative * self.ticks
    }

    /// Best bid and ask that quotes aim for.
    pub(super) fn targets(&mut self, at: UnixNanos) -> (i64, i64) {
        let fair = self.price(at);
        let half = (fair * HALF_SPREAD).max(0.5);
        let bid = (fair - half).floor() as i64;
        (bid, ((fair + half).ceil() as i64).max(bid + 1))
    }

    /// Price of the index in ticks: the latent price itself.
    pub(crate) fn index(&mut self, at: UnixNanos) -> i64 {
        (self.latent.at(at / MILLI) * self.ticks) as i64
    }

    /// Mark price in ticks.
    pub(crate) fn mark(&mut self, at: UnixNanos) -> i64 {
        self.price(at) as i64
    }

    /// Price a day ago in ticks.
    pub(crate) fn day_open(&mut self, at: UnixNanos) -> i64 {
        self.price(at.saturating_sub(86_400_000 * MILLI)) as i64
    }

    /// Next funding time (Unix ms), and the rate to be paid then.
    pub(crate) fn funding(&self, at: UnixNanos) -> (u64, Decimal) {
        let period = at / MILLI / FUNDING_PERIOD_MS + 1;
        let noise = Noise::new(self.seed, 700 + self.asset as u64, 1.0).at(period * 1_000);
        let hundred_millionths = 10_000 + (noise * 1e6) as i64 % 30_000;
        (period * FUNDING_PERIOD_MS, Decimal::new(hundred_millionths, 8))
    }
}
