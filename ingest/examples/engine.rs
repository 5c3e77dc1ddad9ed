//! What wants and reports cost the engine, and what topics cost that are quiet: `cargo run --release -p bond-ingest --example engine`.

use std::error::Error;
use std::time::{Duration, Instant};

use bond_core::source::SourceState;
use bond_ingest::engine::probe::Probe;

const WANTS: usize = 10_000;
const QUIET: usize = 100_000;
const WAKES: u32 = 10_000;

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut probe = Probe::alone(2 * QUIET).await?;
    let idle = timed(|| (0..WAKES).for_each(|_| probe.wake()));
    let wants = timed(|| probe.want(WANTS));
    let reports = timed(|| probe.report(WANTS, SourceState::Unavailable));
    println!(
        "{WANTS} wants in {wants:.1?}, then a report for each in {reports:.1?}, {} topics told",
        probe.told()
    );
    probe.want(QUIET);
    let quiet = timed(|| (0..WAKES).for_each(|_| probe.wake()));
    println!("{WAKES} wake-ups in {idle:.1?} without topics, in {quiet:.1?} with {QUIET} quiet ones");
    Ok(())
}
