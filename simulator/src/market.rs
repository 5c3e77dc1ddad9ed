//! The seeded market: instruments whose books, trades and liquidations follow one latent price path.
//!
//! Everything here happens at scheduled times drawn from the seed. How often the caller looks does not change what happens.

mod book;
mod event;
mod fair;
mod instrument;
mod latent;
mod spec;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) use book::{Change, Level, Side, difference};
pub(crate) use event::{Event, Liquidation, Trade};
pub(crate) use instrument::Instrument;
pub use latent::LatentPrice;
pub(crate) use spec::{ASSETS, Spec};

use crate::clock::{MILLI, UnixNanos};
use crate::config::{Market, Venue};

/// The finest period at which a venue publishes: OKX `bbo-tbt` and Bybit level 1.
pub(crate) const BOUNDARY: u64 = 10 * MILLI;
/// A simulator that was stopped for longer (a debugger, a suspended laptop) does not make up for the time.
const LONGEST_CATCH_UP: u64 = 5_000 * MILLI;

/// What the schedule brought.
#[derive(Debug)]
pub(crate) enum Step {
    /// Something happened in one instrument.
    Events { instrument: usize, events: Vec<Event> },
    /// A multiple of [`BOUNDARY`] was reached: periodic channels look at what changed.
    Boundary { at: UnixNanos },
}

/// All instruments of one venue.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) instruments: Vec<Instrument>,
    rng: ChaCha8Rng,
    /// Mean gap between events in nanoseconds.
    mean_gap: f64,
    next_event: UnixNanos,
    next_boundary: UnixNanos,
    next_liquidation: UnixNanos,
}

impl Exchange {
    /// A venue's instruments at `start`; OKX has spot and swaps behind one address.
    pub(crate) fn new(seed: u64, venue: Venue, market: Market, rate: f64, start: UnixNanos) -> Self {
        let markets = if venue == Venue::Okx { vec![Market::Spot, Market::Perpetual] } else { vec![market] };
        let specs =
            markets.iter().flat_map(|market| (0..ASSETS.len()).map(|asset| Spec::new(venue, *market, asset)));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(10_000 + venue as u64 * 10 + market as u64);
        let instruments = specs.map(|spec| Instrument::new(seed, venue, spec, start, &mut rng)).collect();
        Self {
            instruments,
            rng,
            mean_gap: 1e9 / rate.clamp(0.01, 1e7),
            next_event: start,
            next_liquidation: start + 1_000 * MILLI,
            next_boundary: (start / BOUNDARY + 1) * BOUNDARY,
        }
    }

    /// When the next step is due.
    pub(crate) fn due(&self) -> UnixNanos {
        self.next_event.min(self.next_boundary)
    }

    /// Gives up the steps of a long pause.
    pub(crate) fn skip_pause(&mut self, now: UnixNanos) {
        if now.saturating_sub(self.due()) > LONGEST_CATCH_UP {
            self.next_event = now;
            self.next_boundary = (now / BOUNDARY + 1) * BOUNDARY;
        }
    }

    /// Carries out the next step.
    pub(crate) fn step(&mut self) -> Step {
        if self.next_boundary <= self.next_event {
            let at = self.next_boundary;
            self.next_boundary += BOUNDARY;
            return Step::Boundary { at };
        }
        let at = self.next_event;
        self.next_event += self.gap();
        let instrument = self.pick();
        let liquidation = self.liquidates(instrument, at);
        let events = self.instruments[instrument].act(at, liquidation, &mut self.rng);
        Step::Events { instrument, events }
    }

    /// Exponentially distributed: events of independent traders.
    fn gap(&mut self) -> u64 {
        let uniform: f64 = self.rng.random_range(1e-9..1.0);
        (-uniform.ln() * self.mean_gap) as u64
    }

    fn pick(&mut self) -> usize {
        let drawn = self.rng.random_range(0..100);
        let mut sum = 0;
        let asset = ASSETS.iter().position(|asset| {
            sum += asset.weight;
            drawn < sum
        });
        let markets = self.instruments.len() / ASSETS.len();
        let market = if markets > 1 { self.rng.random_range(0..markets) } else { 0 };
        market * ASSETS.len() + asset.unwrap_or(0)
    }

    /// Whether the event is a liquidation: on perpetuals one each 1 to 5 s.
    fn liquidates(&mut self, instrument: usize, at: UnixNanos) -> bool {
        let perpetual = self.instruments[instrument].spec.market == Market::Perpetual;
        let due = perpetual && at >= self.next_liquidation;
        if due {
            self.next_liquidation = at + self.rng.random_range(1_000..5_000) * MILLI;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_795_000_000_000 * MILLI;

    fn run(market: &mut Exchange, until: UnixNanos) -> Vec<String> {
        let mut seen = Vec::new();
        while market.due() <= until {
            seen.push(format!("{:?}", market.step()));
        }
        seen
    }

    #[test]
    fn what_happens_depends_on_the_seed_and_not_on_who_looks_when() {
        let mut once = Exchange::new(5, Venue::Okx, Market::Spot, 200.0, START);
        let mut often = Exchange::new(5, Venue::Okx, Market::Spot, 200.0, START);
        let all = run(&mut once, START + 2_000 * MILLI);
        let parts: Vec<String> =
            (1..=200).flat_map(|part| run(&mut often, START + part * 10 * MILLI)).collect();
        assert_eq!(all, parts);
        let mut other = Exchange::new(6, Venue::Okx, Market::Spot, 200.0, START);
        assert_ne!(all, run(&mut other, START + 2_000 * MILLI));
    }

    #[test]
    fn venues_of_one_seed_agree_on_the_price() {
        let venues = [Venue::Binance, Venue::Okx, Venue::Bybit];
        let mids: Vec<Vec<f64>> = venues.iter().map(|venue| mids(*venue, Market::Spot)).collect();
        for asset in 0..ASSETS.len() {
            let latent =
                LatentPrice::new(9, ASSETS[asset].name).unwrap().at((START + 20_000 * MILLI) / MILLI);
            for mid in &mids {
                let off = (mid[asset] / latent - 1.0).abs();
                assert!(off < 6e-4, "{} is {off} off", ASSETS[asset].name);
            }
        }
    }

    fn mids(venue: Venue, market: Market) -> Vec<f64> {
        let mut exchange = Exchange::new(9, venue, market, 500.0, START);
        run(&mut exchange, START + 20_000 * MILLI);
        exchange
            .instruments
            .iter()
            .map(|instrument| {
                let bid = instrument.book.best(Side::Bid).unwrap().ticks;
                let ask = instrument.book.best(Side::Ask).unwrap().ticks;
                (bid + ask) as f64 / 2.0 / 10_f64.powi(instrument.spec.price_scale as i32)
            })
            .collect()
    }

    #[test]
    fn the_rate_is_kept() {
        let mut market = Exchange::new(1, Venue::Bybit, Market::Perpetual, 2_000.0, START);
        let steps = run(&mut market, START + 20_000 * MILLI);
        let events = steps.iter().filter(|step| step.starts_with("Events")).count();
        assert!((38_000..42_000).contains(&events), "{events} in 20 s");
        let liquidations = steps.iter().filter(|step| step.contains("Liquidation")).count();
        assert!((4..20).contains(&liquidations), "{liquidations} in 20 s");
    }
}
