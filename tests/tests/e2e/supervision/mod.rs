//! Whatever must run and panics is begun anew, or ends its process soon and with an error; `/ready` tells meanwhile, and clients go on
//! without an undeclared gap.

mod cloud;
mod ends;
mod mends;
mod table;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::numbers::{Head, Numbers};
use bond_e2e::plant::{Answer, Ended};
use bond_e2e::process::Process;
use bond_e2e::socket::{Came, Socket};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// A second is promised from the panic to the end; the rest is for a machine that is busy with other tests.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// How long before its end a process may answer for the last time. It takes more than that to end where a client does not answer its close.
const UNHEARD: Duration = Duration::from_millis(300);

/// How long it may take until all runs that must.
const START: Duration = Duration::from_secs(30);

/// Waits until all that must run in a process of this `kind` does, as ARCHITECTURE.md has it. Nothing else may.
async fn runs_all(process: &Process, kind: &str) -> Result<()> {
    let (must, may) = (table::watched(kind)?, table::owned()?);
    let deadline = Instant::now() + START;
    loop {
        let runs = |how: &str| -> BTreeSet<String> {
            let names = process.names().into_iter().filter(|(of, _)| of == how);
            names.map(|(_, name)| table::kind(&name)).collect()
        };
        let (watched, owned) = (runs("watched"), runs("owned"));
        let unknown: Vec<_> = watched.difference(&must).chain(owned.difference(&may)).collect();
        ensure!(unknown.is_empty(), "{unknown:?} in bond {kind}: name them in ARCHITECTURE.md");
        let missing: Vec<_> = must.difference(&watched).collect();
        if missing.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{missing:?} do not run in bond {kind}: {}", process.log());
        sleep(Duration::from_millis(20)).await;
    }
}

/// Has the first `part` panic of a process of this `kind`, and holds what happens against what is promised.
async fn ends_by(process: &mut Process, kind: &str, part: &str) -> Result<()> {
    let names = process.names().into_iter();
    let mut watched = names.filter(|(how, name)| how == "watched" && table::kind(name) == part);
    let (_, name) = watched.next().with_context(|| format!("no {part} runs"))?;
    let path = if kind == "broker" { "/health" } else { "/ready" };
    let ended = process.panic_in(&name, path).await?;
    is_as_promised(kind, &name, process, &ended)
        .with_context(|| format!("{name}: {ended:?}: {}", process.log()))
}

fn is_as_promised(kind: &str, name: &str, process: &Process, ended: &Ended) -> Result<()> {
    println!("{name}: ended {:?} after its panic", ended.took);
    ensure!(ended.code == Some(1), "exit code");
    ensure!(ended.took < ENDS_WITHIN, "too late");
    ensure!(process.log().contains(&format!("{name} has panicked")), "not told of");
    // Where the only door has died, nobody answers. In a process with listeners, `server` is none.
    let is_door = name == "listener-0" || name == "server" && kind == "cloud ingest";
    if is_door && process.doors().len() == 1 { Ok(()) } else { told_of(name, ended) }
}

/// Whoever asked was told of the death to the end, and nobody otherwise after it. What has no words tells by the status alone.
fn told_of(name: &str, ended: &Ended) -> Result<()> {
    let reason = format!("{name} has panicked");
    let tells =
        |answer: &Answer| answer.status == 503 && (answer.text.is_empty() || answer.text.contains(&reason));
    let last = ended.told.last().filter(|answer| tells(answer)).context("nobody was told")?;
    ensure!(ended.took - last.after < UNHEARD, "nobody was told at last");
    let mut after = ended.told.iter().skip_while(|answer| !answer.text.contains(&reason));
    ensure!(after.all(tells), "somebody was told otherwise after it");
    Ok(())
}

/// Reads on until the server has gone, by a close that asks to come back or by a cut.
async fn is_sent_away(socket: &mut Socket, numbers: &mut Numbers) -> Result<()> {
    loop {
        match socket.next().await {
            Ok(Came::Frame(text)) => {
                let head = Head::read(&text)?;
                if head.is_event() {
                    numbers.take(&head)?;
                }
            }
            Ok(Came::Closed(code, reason)) => {
                ensure!(code == 4000, "{code} {reason}");
                return Ok(());
            }
            Err(_) => return Ok(()),
        }
    }
}

/// Goes on after `numbers` at `ws`: with the next number, or behind a gap that says what is missing.
async fn goes_on(ws: &str, created: &Value, numbers: &Numbers) -> Result<()> {
    let (id, token) = (created["stream_id"].as_str(), created["token"].as_str());
    let (id, token) = (id.context("id")?, token.context("token")?);
    let url = format!("{ws}/ws/{id}?token={token}&from={}", numbers.position());
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
