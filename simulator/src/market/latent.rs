//! The price that lies under every simulated venue.
//!
//! The path is value noise: octaves of smooth noise between lattice points, each point read from a seekable ChaCha stream. It is
//! therefore a function of seed, asset and time alone, and simulators that share a seed agree on it without talking to each other.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Relative movement that one second brings, about 1 basis point: roughly 3 % a day.
const MOVE_PER_ROOT_SECOND: f64 = 1e-4;
/// Lattice periods in milliseconds. Their amplitudes grow with the square root, as a random walk does.
const PERIODS_MS: [u64; 8] = [2_000, 8_000, 32_000, 128_000, 512_000, 2_048_000, 8_192_000, 86_400_000];

/// A smooth random walk around zero: relative deviation as a function of time.
#[derive(Debug)]
pub(crate) struct Noise {
    rng: ChaCha8Rng,
    scale: f64,
    octaves: [Octave; PERIODS_MS.len()],
}

#[derive(Debug, Clone, Copy, Default)]
struct Octave {
    cell: Option<u64>,
    from: f64,
    to: f64,
}

impl Noise {
    /// `stream` separates independent paths of one seed; `scale` 1 is the movement of a price.
    pub(crate) fn new(seed: u64, stream: u64, scale: f64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self { rng, scale, octaves: Default::default() }
    }

    /// Relative deviation at `at_ms` (Unix milliseconds).
    pub(crate) fn at(&mut self, at_ms: u64) -> f64 {
        let sum: f64 = (0..PERIODS_MS.len()).map(|octave| self.octave(octave, at_ms)).sum();
        sum * self.scale
    }

    fn octave(&mut self, index: usize, at_ms: u64) -> f64 {
        let period = PERIODS_MS[index];
        let cell = at_ms / period;
        if self.octaves[index].cell != Some(cell) {
            let (from, to) = (self.lattice(index, cell), self.lattice(index, cell + 1));
            self.octaves[index] = Octave { cell: Some(cell), from, to };
        }
        let Octave { from, to, .. } = self.octaves[index];
        let x = (at_ms % period) as f64 / period as f64;
        let smooth = x * x * (3.0 - 2.0 * x);
        let amplitude = MOVE_PER_ROOT_SECOND * (period as f64 / 1000.0).sqrt();
        amplitude * (from + (to - from) * smooth)
    }

    /// Uniform in -1..1. A cell has a block of words of its own per octave.
    fn lattice(&mut self, octave: usize, cell: u64) -> f64 {
        let word = (u128::from(cell) * PERIODS_MS.len() as u128 + octave as u128) * 16;
        self.rng.set_word_pos(word);
        f64::from(self.rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0
    }
}

/// What one coin costs in USDT under a given seed, before any venue adds its spread and noise.
///
/// This is the oracle of tests that compare venues: simulators with one seed stay within a few basis points of it.
#[derive(Debug)]
pub struct LatentPrice {
    base: f64,
    noise: Noise,
}

impl LatentPrice {
    /// The path of `asset` (`"BTC"`, `"ETH"`, `"SOL"`, `"XRP"` or `"DOGE"`); `None` for any other.
    #[must_use]
    pub fn new(seed: u64, asset: &str) -> Option<Self> {
        let index = super::ASSETS.iter().position(|known| known.name == asset)?;
        let base = super::ASSETS[index].price;
        Some(Self { base, noise: Noise::new(seed, index as u64, 1.0) })
    }

    /// Price in USDT at `at_ms` (Unix milliseconds).
    pub fn at(&mut self, at_ms: u64) -> f64 {
        self.base * (1.0 + self.noise.at(at_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_795_000_000_000;

    #[test]
    fn a_seed_gives_one_path_however_it_is_read() {
        let mut forwards = LatentPrice::new(7, "BTC").unwrap();
        let mut backwards = LatentPrice::new(7, "BTC").unwrap();
        let times: Vec<u64> = (0..500).map(|step| NOON + step * 731).collect();
        let up: Vec<f64> = times.iter().map(|at| forwards.at(*at)).collect();
        let mut down: Vec<f64> = times.iter().rev().map(|at| backwards.at(*at)).collect();
        down.reverse();
        assert_eq!(up, down);
        assert_ne!(up[0], LatentPrice::new(8, "BTC").unwrap().at(NOON));
    }

    #[test]
    fn the_path_moves_but_does_not_jump() {
        let mut path = LatentPrice::new(3, "ETH").unwrap();
        let prices: Vec<f64> = (0..36_000).map(|step| path.at(NOON + step * 100)).collect();
        let steepest = prices.windows(2).map(|w| (w[1] / w[0] - 1.0).abs()).fold(0.0, f64::max);
        let (low, high) = prices.iter().fold((f64::MAX, 0.0_f64), |(l, h), p| (l.min(*p), h.max(*p)));
        assert!(steepest < 2e-4, "moved {steepest} in 100 ms");
        assert!(high / low > 1.001, "an hour between {low} and {high}");
    }
}
