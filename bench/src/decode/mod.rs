//! Decoders timed against each other on the same frames: one thread, frames in memory, repetitions interleaved, so that
//! what else the machine does falls on all of them alike.

pub mod barter;
pub mod bond;

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::capture::Frame;
use crate::stats::median;

/// Shortest time one repetition takes; shorter corpora are read again.
const REPETITION: Duration = Duration::from_millis(200);

/// Turns one frame into normalised events.
pub trait Decoder {
    /// Name in the table.
    fn name(&self) -> &'static str;

    /// Decodes and drops what came out; answers how many events there were.
    fn decode(&mut self, frame: &Frame) -> usize;
}

/// Median rate of one decoder.
pub struct Rate {
    /// The decoder's name.
    pub name: &'static str,
    /// Frames per second.
    pub frames: f64,
    /// Normalised events per second.
    pub events: f64,
}

/// Times each decoder over `frames`, in turn, `repetitions` times.
pub fn contest(decoders: &mut [Box<dyn Decoder>], frames: &[&Frame], repetitions: usize) -> Vec<Rate> {
    let mut rates = vec![Vec::new(); decoders.len()];
    for _ in 0..repetitions {
        for (decoder, rates) in decoders.iter_mut().zip(&mut rates) {
            rates.push(time(decoder.as_mut(), frames));
        }
    }
    decoders.iter().zip(rates).map(|(decoder, rates)| middle(decoder.name(), &rates)).collect()
}

fn middle(name: &'static str, rates: &[(f64, f64)]) -> Rate {
    let of = |pick: fn(&(f64, f64)) -> f64| median(rates.iter().map(pick).collect()).unwrap_or(0.0);
    Rate { name, frames: of(|rate| rate.0), events: of(|rate| rate.1) }
}

/// Frames and events per second.
fn time(decoder: &mut dyn Decoder, frames: &[&Frame]) -> (f64, f64) {
    let start = Instant::now();
    let (mut read, mut events) = (0, 0);
    while start.elapsed() < REPETITION {
        events += frames.iter().map(|frame| decoder.decode(black_box(frame))).sum::<usize>();
        read += frames.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    (read as f64 / seconds, events as f64 / seconds)
}
