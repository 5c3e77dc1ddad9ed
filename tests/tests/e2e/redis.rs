//! Several edges on one Redis are one Bond to their clients.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bond_e2e::numbers::{Head, Numbers};
use bond_e2e::process::Bond;
use bond_e2e::redis::Redis;
use bond_e2e::socket::Socket;
use serde_json::{Value, json};
use tokio::time::Instant;

/// One process that ingests, and two more edges.
async fn three(redis: &Redis) -> Result<[Bond; 3]> {
    let (url, settings) = (redis.url(), [("BOND_MAX_STREAMS", "50")]);
    let arguments = ["--redis", &url, "--sim-rate", "100"];
    let (up, one, two) = tokio::try_join!(
        Bond::up(&arguments, &settings),
        Bond::edge(&url, &settings),
        Bond::edge(&url, &settings)
    )?;
    tokio::try_join!(up.is_ready(), one.is_ready(), two.is_ready())?;
    Ok([up, one, two])
}

/// A created stream as another edge serves it, in the path form or its twin with all in the query.
fn at(bond: &Bond, created: &Value, path_form: bool, more: &str) -> Result<String> {
    let id = created["stream_id"].as_str().context("an id")?;
    let token = created["token"].as_str().context("a token")?;
    Ok(match path_form {
        true => format!("{}/ws/{id}?token={token}{more}", bond.ws),
        false => format!("{}/?stream={id}&token={token}{more}", bond.ws),
    })
}

/// The next `count` events to the letter, by number.
async fn frames(socket: &mut Socket, count: usize) -> Result<BTreeMap<u64, String>> {
    let mut frames = BTreeMap::new();
    while frames.len() < count {
        let text = socket.text().await?;
        let head = Head::read(&text)?;
        frames.extend(head.seq.filter(|_| head.is_event()).map(|seq| (seq, text)));
    }
    Ok(frames)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_edges_give_the_same_frames_and_a_client_may_move_between_them() -> Result<()> {
    let redis = Redis::start().await?;
    let bonds = three(&redis).await?;
    let created = bonds[1].stream("BTC trades tick by tick").await?;
    let mut sockets = Vec::new();
    for (index, bond) in bonds.iter().enumerate() {
        sockets.push(Socket::open(&at(bond, &created, index != 2, "&from=now-60s")?).await?);
    }
    let mut read = Vec::new();
    for socket in &mut sockets {
        read.push(frames(socket, 300).await?);
    }
    let common: Vec<u64> =
        read[0].keys().filter(|seq| read[1..].iter().all(|r| r.contains_key(seq))).copied().collect();
    ensure!(common.len() >= 200, "{} events in common", common.len());
    for seq in common {
        ensure!(
            read.iter().all(|frames| frames[&seq] == read[0][&seq]),
            "event {seq} differs: {}",
            read[0][&seq]
        );
    }

    let mut numbers = Numbers::default();
    for (turn, bond) in bonds.iter().cycle().take(7).enumerate() {
        let from = if turn == 0 { String::new() } else { format!("&from={}", numbers.position()) };
        let mut socket = Socket::open(&at(bond, &created, turn % 2 == 0, &from)?).await?;
        for _ in 0..30 {
            numbers.take(&socket.head().await?).with_context(|| format!("turn {turn}"))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_edge_is_told_all_edges_do() -> Result<()> {
    let redis = Redis::start().await?;
    let [up, one, two] = three(&redis).await?;
    let created = one.stream("ETH trades tick by tick").await?;
    let (mut here, mut there) = (
        Socket::open(&at(&up, &created, true, "")?).await?,
        Socket::open(&at(&two, &created, false, "")?).await?,
    );
    let (seen_here, seen_there) = (frames(&mut here, 20).await?, frames(&mut there, 20).await?);

    let path = format!("/v1/streams/{}", created["stream_id"].as_str().context("an id")?);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let figures = one.get(&format!("{path}/metrics")).await?.1;
        let (read, out) = ((seen_here.len() + seen_there.len()) as u64, figures["msgs_out"].as_u64());
        if out.is_some_and(|out| out >= read) && figures["msgs_in"].as_u64().is_some_and(|count| count > 0) {
            break;
        }
        ensure!(Instant::now() < deadline, "{read} events were read: {figures}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let mut feed = Socket::open(&format!("{}/?mode=feed&control=true", two.ws)).await?;
    feed.send(&json!({"type": "subscribe", "channels": ["ticker"], "symbols": ["SOL/USDT"]})).await?;
    let ticker = feed.event_of("ticker").await?;
    ensure!(ticker["symbol"] == "SOL/USDT", "{ticker}");

    let deleted = two.request("DELETE", &path, &[], "").await?;
    ensure!(deleted.0 == 200, "{deleted:?}");
    for socket in [&mut here, &mut there] {
        let begun = Instant::now();
        let (code, reason) = socket.closed().await?;
        ensure!(code == 4510, "closed with {code} {reason}");
        ensure!(begun.elapsed() < Duration::from_secs(5), "closed after {:?}", begun.elapsed());
    }
    ensure!(up.get(&path).await?.0 == 404 && one.get(&path).await?.0 == 404);
    Ok(())
}

/// Reads until a `status`, heartbeat or gap aside, `count` more events have come. A jump that no gap announced is an error. Returns how
/// many gaps there were.
async fn announced(
    socket: &mut Socket,
    numbers: &mut BTreeMap<String, Numbers>,
    count: usize,
) -> Result<usize> {
    let (mut events, mut gaps) = (0, 0);
    while events < count {
        let text = socket.text().await?;
        let message: Value = serde_json::from_str(&text)?;
        let Some(topic) = message["topic"].as_str() else { continue };
        let known = numbers.entry(topic.to_owned()).or_default();
        if message["type"] == "gap" {
            gaps += 1;
            known.epoch = message["epoch"].as_str().context("an epoch")?.to_owned();
            known.last = message["to_seq"].as_u64().context("a number")?;
        } else if message["seq"].is_u64() {
            // The first event after a gap that reaches back to the beginning is number 1.
            let is_first = known.last == 0 && !known.epoch.is_empty();
            let head = Head::read(&text)?;
            ensure!(!is_first || head.seq == Some(1), "{text} after a gap to the beginning");
            known.take(&head).with_context(|| text.clone())?;
            events += 1;
        }
    }
    Ok(gaps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_restarted_loses_nothing_unannounced() -> Result<()> {
    let mut redis = Redis::start().await?;
    let url = redis.url();
    let up = Bond::up(&["--redis", &url, "--sim-rate", "100"], &[]).await?;
    up.is_ready().await?;
    let mut feed = Socket::open(&format!("{}/stream?control=true", up.ws)).await?;
    feed.send(&json!({"type": "subscribe", "channels": ["trades"], "symbols": ["BTC/USDT"]})).await?;
    let mut numbers = BTreeMap::new();
    announced(&mut feed, &mut numbers, 100).await?;
    redis.restart().await?;
    announced(&mut feed, &mut numbers, 600).await?;

    redis.restart_empty().await?;
    let epochs: BTreeMap<_, _> =
        numbers.iter().map(|(topic, known)| (topic.clone(), known.epoch.clone())).collect();
    let mut gaps = 0;
    let is_new = |numbers: &BTreeMap<String, Numbers>| {
        numbers.iter().all(|(topic, n)| epochs.get(topic) != Some(&n.epoch))
    };
    while !is_new(&numbers) {
        gaps += announced(&mut feed, &mut numbers, 50).await?;
    }
    ensure!(gaps >= epochs.len(), "{gaps} gaps for {} topics that lost their history", epochs.len());
    announced(&mut feed, &mut numbers, 100).await.map(drop)
}
