//! Decoding of a real capture, Bond beside `barter-data`: normalised events per second on one core.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use bond_bench::capture::{self, Frame};
use bond_bench::decode::barter::{BarterTrades, BarterWire};
use bond_bench::decode::{Decoder, Rate, contest};
use bond_bench::table::{Table, compact};
use clap::Parser;

const CAPTURE: &str = "binance-spot-btcusdt-20240808.ndjson.gz";

#[derive(Parser)]
struct Arguments {
    /// Folder of the captures.
    #[arg(long, env = "BOND_CAPTURES", default_value = "../../shared/captures")]
    captures: PathBuf,
    /// Interleaved repetitions; the median counts.
    #[arg(long, default_value_t = 11)]
    repetitions: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let frames = capture::read(&arguments.captures.join(CAPTURE))?;
    let trades: Vec<&Frame> = frames.iter().filter(|frame| frame.is_of("trade")).collect();
    let mut decoders: Vec<Box<dyn Decoder>> =
        vec![Box::new(BarterTrades::new("BTCUSDT").await?), Box::new(BarterWire)];
    ensure_all_decoded(&mut decoders, &trades)?;
    let rates = contest(&mut decoders, &trades, arguments.repetitions);
    print(&format!("decoding, {} trade frames of Binance spot, one core", trades.len()), &rates);
    Ok(())
}

/// A decoder that skips frames would look fast.
fn ensure_all_decoded(decoders: &mut [Box<dyn Decoder>], frames: &[&Frame]) -> Result<()> {
    for decoder in decoders {
        let events: usize = frames.iter().map(|frame| decoder.decode(frame)).sum();
        ensure!(events == frames.len(), "{} made {events} events of {} frames", decoder.name(), frames.len());
    }
    Ok(())
}

/// Rates with their ratio to the first.
fn print(title: &str, rates: &[Rate]) {
    let mut table = Table::new(&["decoder", "frames/s", "events/s", "ratio"]);
    for rate in rates {
        let ratio = rate.events / rates[0].events;
        table.row(vec![
            rate.name.to_owned(),
            compact(rate.frames),
            compact(rate.events),
            format!("{ratio:.2}"),
        ]);
    }
    table.print(title);
}
