//! Fan-out of one stream to many connections: events per second, delivery latency and memory, Bond beside its peers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use bond_bench::bond;
use bond_bench::fleet::Fleet;
use bond_bench::host::Order;
use bond_bench::server::{Protocol, Server, Subject};
use bond_bench::sweep::{self, Step};
use bond_bench::table::{Table, compact, millis};
use bond_bench::tally::Framing;
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
    /// Servers to run, by name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Executable of the centrifuge peer.
    #[arg(long, default_value = "peers/bin/centrifuge")]
    centrifuge: PathBuf,
    /// Further arguments of the centrifuge peer.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    centrifuge_arguments: Vec<String>,
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
    rlimit::Resource::NOFILE.set(
        DESCRIPTORS,
        DESCRIPTORS.max(rlimit::Resource::NOFILE.get_hard()?),
    )?;
    let arguments = Arguments::parse();
    let subjects = subjects(&arguments)?;
    for &connections in &arguments.connections {
        let mut outcomes: Vec<Outcome> = Vec::new();
        for subject in &subjects {
            let reference = outcomes
                .first()
                .and_then(|peer| Some(peer.best.as_ref()?.rate));
            outcomes.push(run(subject, connections, reference, &arguments)?);
        }
        print_steps(connections, &outcomes);
        print_outcomes(connections, &outcomes);
    }
    if arguments.bond.is_none() {
        println!("\nbond: not measured, no host of its edge was given (--bond)");
    }
    Ok(())
}

/// The peer first, for its best load is where the others' latency is compared.
fn subjects(arguments: &Arguments) -> Result<Vec<Subject>> {
    let payload = ["--payload".to_owned(), arguments.payload.to_string()];
    let centrifuge = Subject {
        name: "centrifuge",
        program: arguments.centrifuge.clone(),
        arguments: [&payload[..], &arguments.centrifuge_arguments].concat(),
        protocol: CENTRIFUGE,
    };
    let axum = Subject {
        name: "axum broadcast",
        program: beside_this_executable("axum-broadcast")?,
        arguments: payload.to_vec(),
        protocol: PLAIN,
    };
    let bond = arguments
        .bond
        .clone()
        .map(|program| bond::subject(program, arguments.payload));
    let wanted = |subject: &Subject| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == subject.name)
    };
    Ok([centrifuge, axum]
        .into_iter()
        .chain(bond)
        .filter(wanted)
        .collect())
}

const PLAIN: Protocol = Protocol {
    framing: Framing::EventPerFrame,
    hello: None,
    replies: 0,
};

const CENTRIFUGE: Protocol = Protocol {
    framing: Framing::Lines,
    hello: Some("{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"bench\"}}"),
    replies: 2,
};

fn beside_this_executable(name: &str) -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    Ok(executable.parent().unwrap_or(Path::new(".")).join(name))
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
    let best = match sweep::best(&steps) {
        Some(step) => repeat(step.rate, arguments.repetitions, &mut measure)?,
        None => None,
    };
    let at_reference = match reference {
        Some(rate) => repeat(rate, arguments.repetitions, &mut measure)?,
        None => best.clone(),
    };
    let loaded_bytes = per_connection(server.settled_memory()?);
    Ok(Outcome {
        name: subject.name,
        idle_bytes,
        loaded_bytes,
        steps,
        best,
        at_reference,
    })
}

fn repeat(
    rate: u64,
    times: usize,
    measure: &mut impl FnMut(u64) -> Result<Step>,
) -> Result<Option<Step>> {
    let steps = (0..times)
        .map(|_| measure(rate))
        .collect::<Result<Vec<_>>>()?;
    Ok(sweep::summary(&steps))
}

fn measure(server: &mut Server, fleet: &mut Fleet, rate: u64, seconds: u64) -> Result<Step> {
    let order = Order {
        rate,
        count: rate * seconds,
    };
    fleet.reconnect_closed()?;
    fleet.reset();
    server.publish(order)?;
    let delivery = fleet.receive(Duration::from_secs(seconds), || server.published())?;
    let step = Step::judge(order, fleet.len(), &delivery);
    eprintln!(
        "  {rate}/s: {} delivered/s, p99 {}, sustained {}",
        compact(step.delivered_per_second),
        millis(step.p99),
        step.sustained
    );
    Ok(step)
}

fn print_steps(connections: usize, outcomes: &[Outcome]) {
    let mut table = Table::new(&[
        "server",
        "published/s",
        "delivered/s",
        "p50",
        "p99",
        "sustained",
    ]);
    for outcome in outcomes {
        let mut steps = outcome.steps.clone();
        steps.sort_by_key(|step| step.rate);
        steps
            .iter()
            .for_each(|step| table.row(step_cells(outcome.name, step)));
    }
    table.print(&format!("fan-out, {connections} connections: every load"));
}

fn step_cells(name: &str, step: &Step) -> Vec<String> {
    let sustained = if step.sustained { "yes" } else { "no" };
    vec![
        name.to_owned(),
        step.rate.to_string(),
        compact(step.delivered_per_second),
        millis(step.p50),
        millis(step.p99),
        sustained.to_owned(),
    ]
}

fn print_outcomes(connections: usize, outcomes: &[Outcome]) {
    let header = [
        "server",
        "best events/s",
        "p50",
        "p99",
        "p99 at the peer's best",
        "idle KB/conn",
        "loaded KB/conn",
    ];
    let mut table = Table::new(&header);
    outcomes
        .iter()
        .for_each(|outcome| table.row(outcome_cells(outcome)));
    table.print(&format!(
        "fan-out, {connections} connections: each at its own best load"
    ));
}

fn outcome_cells(outcome: &Outcome) -> Vec<String> {
    let figure =
        |step: &Option<Step>, show: fn(&Step) -> String| step.as_ref().map_or("-".to_owned(), show);
    vec![
        outcome.name.to_owned(),
        figure(&outcome.best, |step| compact(step.delivered_per_second)),
        figure(&outcome.best, |step| millis(step.p50)),
        figure(&outcome.best, |step| millis(step.p99)),
        figure(&outcome.at_reference, |step| millis(step.p99)),
        format!("{:.1}", outcome.idle_bytes / 1024.0),
        format!("{:.1}", outcome.loaded_bytes / 1024.0),
    ]
}
