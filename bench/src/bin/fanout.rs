//! Fan-out of one stream to many connections: events per second, delivery latency and memory, Bond beside its peers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use bond_bench::fanout::fleet::Fleet;
use bond_bench::fanout::host::Order;
use bond_bench::fanout::server::{Server, Subject};
use bond_bench::fanout::sweep::{self, Cores, Step};
use bond_bench::fanout::{bond, peers};
use bond_bench::process;
use bond_bench::table::{Table, compact, millis};
use clap::Parser;

/// Deliveries per second at which every search begins.
const FIRST_LOAD: u64 = 50_000;

/// Descriptors for the connections, and some to spare.
const DESCRIPTORS: u64 = 19_900;

#[derive(Parser)]
struct Arguments {
    /// Connections of each round.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    connections: Vec<usize>,
    /// Length of one measurement in seconds.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Repetitions at each server's best load and at the peer's.
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Size of an event in bytes, before the server's own envelope.
    #[arg(long, default_value_t = 150)]
    payload: usize,
    /// Only servers whose name begins with one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Executable of the centrifuge peer.
    #[arg(long, default_value = "peers/bin/centrifuge")]
    centrifuge: PathBuf,
    /// Executable that serves Bond's edge.
    #[arg(long, env = "BOND_BENCH_HOST")]
    bond: Option<PathBuf>,
}

/// What one server did with one number of connections.
struct Outcome {
    name: &'static str,
    idle_bytes: f64,
    loaded_bytes: f64,
    steps: Vec<Step>,
    best: Option<Step>,
    at_reference: Option<Step>,
}

fn main() -> Result<()> {
    rlimit::increase_nofile_limit(DESCRIPTORS)?;
    let arguments = Arguments::parse();
    let subjects = subjects(&arguments)?;
    for &connections in &arguments.connections {
        round(&subjects, connections, &arguments)?;
    }
    print_missing(&arguments);
    Ok(())
}

fn print_missing(arguments: &Arguments) {
    if !arguments.centrifuge.exists() {
        println!("\ncentrifuge: not measured, {} was not built (needs Go)", arguments.centrifuge.display());
    }
    if arguments.bond.is_none() {
        println!("\nbond: not measured, no host of its edge was given (--bond)");
    }
}

/// The tuned peer first: its best load is where the others' latency is compared.
fn subjects(arguments: &Arguments) -> Result<Vec<Subject>> {
    let payload = arguments.payload;
    let peers = [
        peers::centrifuge_tuned(&arguments.centrifuge, payload),
        peers::centrifuge(&arguments.centrifuge, payload),
        peers::axum_broadcast(payload)?,
    ];
    let bond = arguments.bond.clone().map(|program| bond::subject(program, payload));
    let only = &arguments.only;
    let wanted =
        |subject: &Subject| only.is_empty() || only.iter().any(|name| subject.name.starts_with(name));
    Ok(peers.into_iter().chain(bond).filter(wanted).collect())
}

fn round(subjects: &[Subject], connections: usize, arguments: &Arguments) -> Result<()> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for subject in subjects {
        let outcome = run(subject, connections, reference_rate(&outcomes), arguments)?;
        outcomes.push(outcome);
    }
    print_steps(connections, &outcomes);
    print_outcomes(connections, &outcomes);
    Ok(())
}

/// The best load of the first server, once it is known.
fn reference_rate(outcomes: &[Outcome]) -> Option<u64> {
    Some(outcomes.first()?.best.as_ref()?.rate)
}

fn run(
    subject: &Subject,
    connections: usize,
    reference: Option<u64>,
    arguments: &Arguments,
) -> Result<Outcome> {
    eprintln!("{}: {connections} connections", subject.name);
    let mut server = Server::start(subject)?;
    let before = server.settled_memory()?;
    let mut fleet = Fleet::connect(&server.endpoint.clone(), subject.protocol, connections)
        .with_context(|| format!("cannot connect to {}", subject.name))?;
    let per_connection = |bytes: u64| bytes.saturating_sub(before) as f64 / connections as f64;
    let idle_bytes = per_connection(server.settled_memory()?);
    let mut measure = |rate| measure(&mut server, &mut fleet, rate, arguments.seconds);
    let steps = sweep::search((FIRST_LOAD / connections as u64).max(1), &mut measure)?;
    let best = sweep::confirm(&steps, arguments.repetitions, &mut measure)?;
    let at_reference = match reference {
        Some(rate) => sweep::repeat(rate, arguments.repetitions, &mut measure)?,
        None => best.clone(),
    };
    let loaded_bytes = per_connection(server.settled_memory()?);
    Ok(Outcome { name: subject.name, idle_bytes, loaded_bytes, steps, best, at_reference })
}

fn measure(server: &mut Server, fleet: &mut Fleet, rate: u64, seconds: u64) -> Result<Step> {
    let order = Order { rate, count: rate * seconds };
    fleet.reconnect_closed()?;
    fleet.reset();
    let before = busy(server)?;
    server.publish(order)?;
    let delivery = fleet.receive(Duration::from_secs(seconds), || server.published())?;
    let after = busy(server)?;
    let elapsed = delivery.elapsed.as_secs_f64().max(seconds as f64);
    let cores = Cores {
        server: (after.server - before.server) / elapsed,
        generator: (after.generator - before.generator) / elapsed,
        elsewhere: ((after.elsewhere - before.elsewhere) / elapsed).max(0.0),
    };
    let step = Step::judge(order, fleet.len(), &delivery, cores);
    eprintln!("  {}", step_cells("", &step).join("  "));
    Ok(step)
}

/// Processor seconds so far.
fn busy(server: &Server) -> Result<Cores> {
    let (server, generator) = (server.cpu_seconds()?, process::cpu_seconds(std::process::id())?);
    Ok(Cores { server, generator, elsewhere: process::machine_cpu_seconds()? - server - generator })
}

fn print_steps(connections: usize, outcomes: &[Outcome]) {
    let header = [
        "server",
        "published/s",
        "delivered/s",
        "p50",
        "p99",
        "server cores",
        "generator",
        "elsewhere",
        "kept",
    ];
    let mut table = Table::new(&header);
    for outcome in outcomes {
        let mut steps = outcome.steps.clone();
        steps.sort_by_key(|step| step.rate);
        steps.iter().for_each(|step| table.row(step_cells(outcome.name, step)));
    }
    table.print(&format!("fan-out, {connections} connections: every load"));
}

fn step_cells(name: &str, step: &Step) -> Vec<String> {
    let kept = if step.sustained { "yes" } else { "no" };
    vec![
        name.to_owned(),
        step.rate.to_string(),
        compact(step.delivered_per_second),
        millis(step.p50),
        millis(step.p99),
        format!("{:.2}", step.cores.server),
        format!("{:.2}", step.cores.generator),
        format!("{:.2}", step.cores.elsewhere),
        kept.to_owned(),
    ]
}

fn print_outcomes(connections: usize, outcomes: &[Outcome]) {
    let at_reference = match reference_rate(outcomes) {
        Some(rate) => format!("p99 at {rate}/s"),
        None => "p99".to_owned(),
    };
    let header = [
        "server",
        "best events/s",
        "per server core",
        "p50",
        "p99",
        &at_reference,
        "idle KB/conn",
        "loaded KB/conn",
    ];
    let mut table = Table::new(&header);
    outcomes.iter().for_each(|outcome| table.row(outcome_cells(outcome)));
    table.print(&format!("fan-out, {connections} connections: each at its own best load"));
}

fn outcome_cells(outcome: &Outcome) -> Vec<String> {
    let figure = |step: &Option<Step>, show: fn(&Step) -> String| step.as_ref().map_or("-".to_owned(), show);
    vec![
        outcome.name.to_owned(),
        figure(&outcome.best, |step| compact(step.delivered_per_second)),
        figure(&outcome.best, |step| compact(step.delivered_per_second / step.cores.server)),
        figure(&outcome.best, |step| millis(step.p50)),
        figure(&outcome.best, |step| millis(step.p99)),
        figure(
            &outcome.at_reference,
            |step| if step.sustained { millis(step.p99) } else { "not kept".to_owned() },
        ),
        format!("{:.1}", outcome.idle_bytes / 1024.0),
        format!("{:.1}", outcome.loaded_bytes / 1024.0),
    ]
}
