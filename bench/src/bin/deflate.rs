//! What compression saves and costs: one stream to many connections, plain and with permessage-deflate.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_bench::fanout::bond;
use bond_bench::fanout::fleet::Fleet;
use bond_bench::fanout::host::Order;
use bond_bench::fanout::server::Server;
use bond_bench::table::Table;
use clap::Parser;

/// Descriptors for the connections, and some to spare.
const DESCRIPTORS: u64 = 19_900;

#[derive(Parser)]
struct Arguments {
    /// Connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000])]
    connections: Vec<usize>,
    /// Length of one measurement in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Events a second.
    #[arg(long, default_value_t = 20)]
    rate: u64,
    /// Sizes of an event in bytes, before Bond's own envelope.
    #[arg(long, value_delimiter = ',', default_values_t = [300, 1_400, 10_000])]
    payload: Vec<usize>,
    /// Executable that serves Bond's edge.
    #[arg(long, env = "BOND_BENCH_HOST")]
    bond: Option<PathBuf>,
}

/// What one measurement came to, for each event that was delivered.
struct Outcome {
    bytes: f64,
    cpu_micros: f64,
}

fn main() -> Result<()> {
    rlimit::increase_nofile_limit(DESCRIPTORS)?;
    let arguments = Arguments::parse();
    let mut table = Table::new(&[
        "connections",
        "payload",
        "plain B/event",
        "deflate B/event",
        "plain CPU us/event",
        "deflate CPU us/event",
    ]);
    for &connections in &arguments.connections {
        for &payload in &arguments.payload {
            let plain = measure(&arguments, connections, payload, false)?;
            let deflated = measure(&arguments, connections, payload, true)?;
            table.row(vec![
                connections.to_string(),
                payload.to_string(),
                format!("{:.0}", plain.bytes),
                format!("{:.0}", deflated.bytes),
                format!("{:.2}", plain.cpu_micros),
                format!("{:.2}", deflated.cpu_micros),
            ]);
        }
    }
    table.print(&format!("compression, {} events a second: for each event and connection", arguments.rate));
    Ok(())
}

fn measure(arguments: &Arguments, connections: usize, payload: usize, is_deflated: bool) -> Result<Outcome> {
    let program = arguments.bond.clone().context("no host of Bond's edge was given (--bond)")?;
    let mut subject = bond::subject(program, payload);
    subject.arguments.push("--levels".to_owned());
    let mut server = Server::start(&subject)?;
    let mut endpoint = server.endpoint.clone();
    if is_deflated {
        endpoint.path.push_str("&compression=true");
        endpoint.offers_deflate = true;
    }
    let mut fleet = Fleet::connect(&endpoint, subject.protocol, connections)?;
    let order = Order { rate: arguments.rate, count: arguments.rate * arguments.seconds };
    let before = server.cpu_seconds()?;
    server.publish(order)?;
    let delivery = fleet.receive(Duration::from_secs(arguments.seconds), || server.published())?;
    let busy = server.cpu_seconds()? - before;
    let expected = order.count * connections as u64;
    ensure!(delivery.events == expected, "{} of {expected} events came", delivery.events);
    let per_event = |value: f64| value / delivery.events as f64;
    Ok(Outcome { bytes: per_event(delivery.bytes as f64), cpu_micros: per_event(busy * 1e6) })
}
