//! Decoding of a real capture, Bond beside `barter-data`: normalised events per second on one core.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use bond_bench::capture::{self, Frame};
use bond_bench::decode::barter::{BarterTrades, BarterWire};
use bond_bench::decode::bond::BondDecoder;
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
    trades(&frames, arguments.repetitions).await?;
    channels(&frames, arguments.repetitions)
}

async fn trades(frames: &[Frame], repetitions: usize) -> Result<()> {
    let frames: Vec<&Frame> = frames.iter().filter(|frame| frame.is_of("trade")).collect();
    let barter = BarterTrades::new("BTCUSDT").await?;
    let bond = BondDecoder::binance_spot("BTC/USDT")?;
    let mut decoders: Vec<Box<dyn Decoder>> = vec![Box::new(barter), Box::new(BarterWire), Box::new(bond)];
    ensure_all_decoded(&mut decoders, &frames)?;
    let rates = contest(&mut decoders, &frames, repetitions);
    print(&format!("decoding, {} trade frames of Binance spot, one core", frames.len()), &rates);
    Ok(())
}

/// Every channel of the capture, Bond alone.
fn channels(frames: &[Frame], repetitions: usize) -> Result<()> {
    let mut table = Table::new(&["channel", "frames", "frames/s", "events/s"]);
    for (label, kind) in
        [("trade", "trade"), ("bookTicker", "bookTicker"), ("depth@100ms", "depth"), ("all", "")]
    {
        let chosen: Vec<&Frame> =
            frames.iter().filter(|frame| kind.is_empty() || frame.is_of(kind)).collect();
        let mut bond: [Box<dyn Decoder>; 1] = [Box::new(BondDecoder::binance_spot("BTC/USDT")?)];
        ensure_all_decoded(&mut bond, &chosen)?;
        for rate in contest(&mut bond, &chosen, repetitions) {
            table.row(vec![
                label.to_owned(),
                chosen.len().to_string(),
                compact(rate.frames),
                compact(rate.events),
            ]);
        }
    }
    table.print("decoding, each channel, bond alone");
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
