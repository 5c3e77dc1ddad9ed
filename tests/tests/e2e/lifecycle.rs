//! Streams that end, processes that end, and what comes after.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::numbers::Head;
use bond_e2e::process::{Bond, ws_url};
use bond_e2e::socket::{Came, PATIENCE, Socket};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

const SENTENCE: &str = "BTC trades tick by tick";

fn id_of(created: &Value) -> &str {
    created["stream_id"].as_str().unwrap_or_default()
}

/// How the server said goodbye to one client.
struct Goodbye {
    code: u16,
    /// The message just before the close.
    last: Option<Value>,
}

/// Reads until the server closes.
async fn goodbye(mut socket: Socket) -> Result<Goodbye> {
    let mut last = None;
    let deadline = Instant::now() + PATIENCE;
    loop {
        ensure!(Instant::now() < deadline, "not closed, but goes on");
        match socket.next().await? {
            Came::Frame(text) => last = Some(text),
            Came::Closed(code, _) => {
                let last = last.map(|text| serde_json::from_str(&text)).transpose()?;
                return Ok(Goodbye { code, last });
            }
        }
    }
}

/// Opens `count` connections, every second of them with control on, and has each wait for its end.
async fn crowd(url: &str, count: usize) -> Result<JoinSet<Result<(bool, Goodbye)>>> {
    let mut clients = JoinSet::new();
    for number in 0..count {
        let control = number % 2 == 0;
        let url = if control { format!("{url}&control=true") } else { url.to_owned() };
        let mut socket = Socket::open(&url).await.with_context(|| format!("client {number}"))?;
        if control {
            socket.event_of("heartbeat").await?;
        }
        clients.spawn(async move { Ok((control, goodbye(socket).await?)) });
    }
    Ok(clients)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_sends_a_thousand_clients_away_in_order() -> Result<()> {
    let mut bond = Bond::up(&[], &[]).await?;
    let created = bond.stream("BTC price every 1s").await?;
    let mut clients = crowd(&ws_url(&created, ""), 1_000).await?;
    let (took, clean) = bond.terminate().await?;
    println!("1000 clients were sent away in {took:?}");
    assert!(clean, "exit code: {}", bond.log());
    // Two seconds are promised; the rest is for a machine that is busy with other tests.
    assert!(took < Duration::from_secs(4), "{took:?}");
    while let Some(client) = clients.join_next().await {
        let (control, Goodbye { code, last }) = client??;
        ensure!((4000..4500).contains(&code), "closed with {code}");
        let told = last.as_ref().is_some_and(|last| last["type"] == "reconnect");
        ensure!(told == control, "control {control}, and the last message was {last:?}");
        ensure!(!told || last.is_some_and(|last| last["after_ms"].is_u64()), "no after_ms");
    }
    Ok(())
}

#[tokio::test]
async fn a_restart_brings_streams_back_in_a_new_epoch() -> Result<()> {
    let mut bond = Bond::up(&["--sim-rate", "500"], &[]).await?;
    let (first, second) = (bond.stream(SENTENCE).await?, bond.stream("ETH price every 1s").await?);
    let mut ids = [id_of(&first), id_of(&second)];
    ids.sort_unstable();
    let mut socket = Socket::open(&ws_url(&first, "")).await?;
    let last = socket.head().await?;
    let (_, clean) = bond.terminate().await?;
    assert!(clean, "{}", bond.log());
    let bond = Bond::up_in(bond.data_dir.clone(), &["--sim-rate", "500"], &[]).await?;
    let (_, listed) = bond.get("/v1/streams").await?;
    let listed: Vec<&str> = listed.as_array().context("a list")?.iter().map(id_of).collect();
    assert_eq!(listed, ids);
    // The token is still good; the position is of an epoch that is gone.
    let (epoch, seq) = (last.epoch.context("epoch")?, last.seq.context("seq")?);
    let token = first["token"].as_str().unwrap_or_default();
    let url = format!("{}/ws/{}?token={token}&from={epoch}:{seq}", bond.ws, id_of(&first));
    let mut socket = Socket::open(&url).await?;
    let gap = socket.event_of("gap").await?;
    let next = socket.head().await?;
    assert_eq!((&gap["from_seq"], &gap["reason"]), (&Value::Null, &json!("epoch_changed")));
    assert_eq!(
        (gap["epoch"].as_str(), gap["to_seq"].as_u64()),
        (next.epoch.as_deref(), next.seq.map(|seq| seq - 1))
    );
    assert_ne!(next.epoch, Some(epoch));
    Ok(())
}

#[tokio::test]
async fn a_deleted_stream_ends_for_everyone_and_begins_anew() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "500"], &[]).await?;
    let created = bond.stream(SENTENCE).await?;
    let path = format!("/v1/streams/{}", id_of(&created));
    let mut clients = Vec::new();
    let mut epoch = None;
    for query in ["", "&control=true", "&batch=10"] {
        let mut socket = Socket::open(&ws_url(&created, query)).await?;
        let text = socket.text().await?;
        epoch = Head::read(&text).ok().and_then(|head| head.epoch).or(epoch);
        clients.push(socket);
    }
    let deleted = bond.request("DELETE", &path, &[], "").await?;
    assert_eq!(deleted, (200, json!({"stream_id": id_of(&created), "deleted": true, "status": "deleted"})));
    for mut client in clients {
        assert_eq!(client.closed().await?.0, 4510);
    }
    let refused = Socket::open(&ws_url(&created, "")).await?.next().await?;
    assert!(matches!(&refused, Came::Closed(1008, reason) if reason.starts_with("NOT_FOUND")), "{refused:?}");
    for method in ["GET", "DELETE"] {
        assert_eq!(bond.request(method, &path, &[], "").await?.0, 404);
    }
    let again = bond.stream(SENTENCE).await?;
    assert_eq!((id_of(&again), &again["created"]), (id_of(&created), &json!(true)));
    let mut socket = Socket::open(&ws_url(&again, "&from=now-60s")).await?;
    let first = socket.head().await?;
    assert_eq!(first.seq, Some(1));
    assert_ne!(first.epoch, epoch.context("an epoch")?.into());
    Ok(())
}

#[tokio::test]
async fn a_claim_that_runs_out_ends_the_stream() -> Result<()> {
    let bond = Bond::up(&["--sim-rate", "500"], &[]).await?;
    let wish = json!({"natural_language": SENTENCE, "ttl_sec": 2});
    let (_, created) = bond.post("/v1/streams", &wish).await?;
    let mut socket = Socket::open(&ws_url(&created, "")).await?;
    assert_eq!(socket.closed().await?.0, 4510);
    assert_eq!(bond.get("/v1/streams").await?.1, json!([]));
    Ok(())
}
