//! Whatever must run and panics ends its process at once and with an error; clients come back without an undeclared gap.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::numbers::Numbers;
use bond_e2e::process::{Bond, Process, fresh_dir, ws_url};
use bond_e2e::redis::Redis;
use bond_e2e::socket::{Came, Socket};
use serde_json::{Value, json};

/// For the broker, which makes none of its own.
const SECRET: &str = "a-secret-of-these-tests-that-is-long-enough";

/// A second is promised from the panic to the end; the rest is for a machine that is busy with other tests.
const ENDS_WITHIN: Duration = Duration::from_secs(3);

const ALONE: [&str; 8] =
    ["fanout-0", "tail", "feeds", "listener-0", "listener-1", "server", "engine", "ingest"];
const ON_REDIS: [&str; 7] = ["fanout-0", "tail", "engine", "leader", "lease", "commands", "vitals"];
const ON_EDGE: [&str; 3] = ["fanout-0", "tail", "vitals"];
const IN_BROKER: [&str; 3] = ["supply", "listener-0", "server"];

fn ended_by(name: &str, (took, code): (Duration, Option<i32>), log: &str) -> Result<()> {
    println!("{name}: ended {took:?} after its panic");
    ensure!(code == Some(1), "{name}: exit code {code:?}: {log}");
    ensure!(took < ENDS_WITHIN, "{name}: {took:?}");
    ensure!(log.contains(&format!("{name} has panicked")), "{name} is not told of: {log}");
    Ok(())
}

/// Reads on until the server has gone, by a close that asks to come back or by a cut.
async fn is_sent_away(socket: &mut Socket, numbers: &mut Numbers) -> Result<()> {
    loop {
        match socket.next().await {
            Ok(Came::Frame(text)) => {
                let head = bond_e2e::numbers::Head::read(&text)?;
                if head.is_event() {
                    numbers.take(&head)?;
                }
            }
            Ok(Came::Closed(code, reason)) => {
                ensure!(
                    [1001, 1006, 1012].contains(&code) || (4000..4500).contains(&code),
                    "{code} {reason}"
                );
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
    }
}

/// Goes on after `numbers`: with the next number, or behind a gap that says what is missing.
async fn goes_on(bond: &Bond, created: &Value, numbers: &Numbers) -> Result<()> {
    let (id, token) = (created["stream_id"].as_str(), created["token"].as_str());
    let (id, token) = (id.context("id")?, token.context("token")?);
    let url = format!("{}/ws/{id}?token={token}&from={}", bond.ws, numbers.position());
    let mut socket = Socket::open(&url).await?;
    let mut next = numbers.clone();
    loop {
        let event = socket.event().await?;
        match event["type"].as_str() {
            Some("gap") => {
                next.epoch = event["epoch"].as_str().context("epoch")?.to_owned();
                next.last = event["to_seq"].as_u64().context("to_seq")?;
            }
            _ if event["seq"].is_u64() => {
                let follows = event["seq"] == json!(next.last + 1) && event["epoch"] == json!(next.epoch);
                ensure!(follows, "after {next:?} came {event}");
                return Ok(());
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_ends_the_process_and_clients_resume_after_its_restart() -> Result<()> {
    let data_dir = fresh_dir("up")?;
    let plant = Bond::planted_in(&data_dir);
    // A secret of its own, so that tokens outlive the process.
    let settings = [("BOND_PLANT_FILE", plant.as_str()), ("BOND_SECRET", "0123456789abcdef0123456789abcdef")];
    let start = || Bond::up_in(data_dir.clone(), &["--sim-rate", "500"], &settings);
    let mut bond = start().await?;
    for name in ALONE {
        let created = bond.stream("BTC trades tick by tick").await?;
        let mut socket = Socket::open(&ws_url(&created, "&control=true")).await?;
        let mut numbers = Numbers::default();
        numbers.take(&socket.head().await?)?;
        let ended = bond.panic_in(name).await?;
        ended_by(name, ended, &bond.log())?;
        is_sent_away(&mut socket, &mut numbers).await?;
        bond = start().await?;
        goes_on(&bond, &created, &numbers).await.with_context(|| format!("after {name}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_a_process_on_redis_ends_it() -> Result<()> {
    let redis = Redis::start().await?;
    for name in ON_REDIS {
        let data_dir = fresh_dir("up")?;
        let plant = Bond::planted_in(&data_dir);
        let arguments = ["--redis", &redis.url(), "--sim-rate", "50"];
        let mut bond = Bond::up_in(data_dir, &arguments, &[("BOND_PLANT_FILE", &plant)]).await?;
        bond.is_ready().await?;
        let ended = bond.panic_in(name).await?;
        ended_by(name, ended, &bond.log())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_any_part_of_an_edge_or_a_broker_ends_it() -> Result<()> {
    let redis = Redis::start().await?;
    let url = redis.url();
    for (command, names) in [("edge", ON_EDGE), ("broker", IN_BROKER)] {
        for name in names {
            let dir = fresh_dir(command)?;
            let plant = Bond::planted_in(&dir);
            let data_dir = dir.to_string_lossy().into_owned();
            let edge = ["--rest-port", "0", "--ws-port", "0", "--data-dir", &data_dir];
            let own = if command == "edge" { &edge[..] } else { &["--port", "0"][..] };
            let words = [&[command, "--redis", &url][..], own].concat();
            let (mut process, _) =
                Process::start(dir, &words, &[("BOND_PLANT_FILE", &plant), ("BOND_SECRET", SECRET)]).await?;
            let ended = process.panic_in(name).await?;
            ended_by(name, ended, &process.log())?;
        }
    }
    Ok(())
}
