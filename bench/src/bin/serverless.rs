//! The serverless shape in figures: posts of the fan-out function, what API Gateway would bill, cold starts and zip sizes.

use std::time::Duration;

use anyhow::Result;
use bond_bench::serverless::cold::ColdStarts;
use bond_bench::serverless::load::{Audience, Work};
use bond_bench::serverless::{FUNCTIONS, POST_MS, billing, cold, load, sizes, start};
use bond_bench::stats::median;
use bond_bench::table::{Table, compact};
use clap::Parser;
use tokio::time::sleep;

/// The most events of a frame under load, for clients that take batches.
const BATCH: usize = 100;

#[derive(Parser)]
struct Arguments {
    /// Connections of each load.
    #[arg(long, value_delimiter = ',', default_values_t = [50, 200])]
    connections: Vec<usize>,
    /// Length of one measurement in seconds.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Events per second of each simulated venue under load.
    #[arg(long, default_value_t = 400)]
    rate: u32,
    /// Events per second of each simulated venue where messages are counted as billed: about 10 trades per second in the stream.
    #[arg(long, default_value_t = 7)]
    billed_rate: u32,
    /// Connections where messages are counted as billed.
    #[arg(long, default_value_t = 20)]
    billed_connections: usize,
    /// Cold starts of each function.
    #[arg(long, default_value_t = 9)]
    cold_starts: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    calm(&arguments).await?;
    loaded(&arguments).await?;
    print_sizes()
}

/// What is measured while the machine has little to do.
async fn calm(arguments: &Arguments) -> Result<()> {
    let cloud = start(arguments.billed_rate).await?;
    print_cold_starts(&cold::measure(&cloud, arguments.cold_starts).await?);
    let mut table = Table::new(&["wait_ms", "events/s and connection", "billed messages per million events"]);
    for wait_ms in [0, 100, 1000] {
        let duration = Duration::from_secs(arguments.seconds);
        let bill = billing::measure(&cloud, arguments.billed_connections, wait_ms, duration).await?;
        table.row(vec![wait_ms.to_string(), format!("{:.1}", bill.rate), format!("{:.0}", bill.per_million)]);
    }
    table.print("messages to clients as API Gateway bills them; aim with wait_ms=1000: 100000");
    Ok(())
}

async fn loaded(arguments: &Arguments) -> Result<()> {
    let cloud = start(arguments.rate).await?;
    let mut table = Table::new(&[
        "connections",
        "batch",
        "posts/s",
        "posts/s of fanout's CPU",
        "events/s",
        "events/frame",
        "gaps",
        "processes",
        "fanout",
        "gateway",
        "ingest",
        "rest",
    ]);
    for &connections in &arguments.connections {
        for batch in [None, Some(BATCH)] {
            let audience = Audience { connections, batch };
            table.row(cells(
                audience,
                &load::measure(&cloud, audience, Duration::from_secs(arguments.seconds)).await?,
            ));
            // The relay is done with those who left.
            sleep(Duration::from_secs(1)).await;
        }
    }
    table.print(&format!("fan-out function at {POST_MS} ms a post; aim: 5000 posts/s of its CPU; the last columns are cores kept busy"));
    Ok(())
}

fn cells(audience: Audience, work: &Work) -> Vec<String> {
    let cores = |seconds: f64| format!("{:.2}", seconds / work.seconds);
    vec![
        audience.connections.to_string(),
        audience.batch.map_or("-".to_owned(), |size| size.to_string()),
        compact(work.posts / work.seconds),
        compact(work.posts_per_cpu_second()),
        compact(work.events / work.seconds),
        format!("{:.1}", work.events_per_frame()),
        work.gaps.to_string(),
        work.processes.to_string(),
        cores(work.fanout),
        cores(work.gateway),
        cores(work.ingest),
        cores(work.rest),
    ]
}

fn print_cold_starts(all: &[ColdStarts]) {
    let mut table = Table::new(&["function", "starts", "least", "median", "most"]);
    for ColdStarts { function, ms } in all {
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        let (least, most) = (ms.iter().copied().reduce(f64::min), ms.iter().copied().reduce(f64::max));
        table.row(vec![
            (*function).to_owned(),
            ms.len().to_string(),
            shown(least),
            shown(median(ms.clone())),
            shown(most),
        ]);
    }
    table.print("cold start, from spawn to first answer; aim: 60 ms");
}

fn print_sizes() -> Result<()> {
    let mut table = Table::new(&["function", "this machine", "arm64 (make package)"]);
    let megabytes = |bytes: u64| format!("{:.2} MB", bytes as f64 / 1e6);
    for function in FUNCTIONS {
        let sizes = sizes::measure(function)?;
        let deployed = sizes.deployed.map_or("-".to_owned(), megabytes);
        table.row(vec![function.to_owned(), megabytes(sizes.here), deployed]);
    }
    table.print("zips; aim: 6 MB each");
    Ok(())
}
