//! `bond broker`: what foreign producers add to `stream:{id}` comes out as it is, in order, without a seam; or the client is told to come
//! again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::process::Broker;
use bond_e2e::redis::{Connection, Redis};
use bond_e2e::socket::{Came, Socket};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::watch;
use tokio::time::sleep;

const SECRET: &str = "a-secret-of-the-test-that-is-long-enough";

#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A token of Bond Broker's form, made as its clients make it.
fn legacy_token(stream: &str, expiry: u64) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
    mac.update(format!("{stream}.{expiry}").as_bytes());
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{expiry}.{}", &digest[..16])
}

async fn broker(redis: &Redis, settings: &[(&str, &str)]) -> Result<Broker> {
    let mut all = vec![("BOND_SECRET", SECRET)];
    all.extend(settings);
    Broker::start(&redis.url(), &all).await
}

fn url(broker: &Broker, stream: &str, more: &str) -> String {
    format!("{}/ws/{stream}?token={}{more}", broker.ws, legacy_token(stream, unix_now() + 60))
}

async fn add(connection: &mut Connection, stream: &str, data: &str) -> Result<()> {
    let key = format!("stream:{stream}");
    connection.command(&["XADD", &key, "*", "other", "x", "data", data]).await.map(drop)
}

#[tokio::test]
async fn what_is_added_comes_out_as_it_is() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let broker = broker(&redis, &[]).await?;
    let mut producer = redis.connect().await?;
    // A name that is none of Bond's own ids: nobody has registered it.
    let mut socket = Socket::open(&url(&broker, "any.name", "")).await?;
    let mut second = Socket::open(&url(&broker, "any.name", "&from=now-30s")).await?;
    served(&mut producer, "any.name", &mut second).await?;
    for data in [r#"{"price": 1.00 }"#, "no JSON at all", "ü 🙂", "", " \n"] {
        add(&mut producer, "any.name", data).await?;
        ensure!(skip_probes(&mut socket).await? == data, "{data:?}");
    }
    producer.command(&["XADD", "stream:any.name", "*", "no-data", "x"]).await?;
    add(&mut producer, "any.name", "after an entry without data").await?;
    ensure!(skip_probes(&mut socket).await? == "after an entry without data");
    Ok(())
}

/// Adds a probe and waits for it: then the stream is read.
async fn served(producer: &mut Connection, stream: &str, socket: &mut Socket) -> Result<()> {
    add(producer, stream, "probe").await?;
    ensure!(socket.text().await? == "probe");
    Ok(())
}

async fn skip_probes(socket: &mut Socket) -> Result<String> {
    loop {
        let text = socket.text().await?;
        if text != "probe" {
            return Ok(text);
        }
    }
}

/// Adds numbers until it is dropped, and shows the newest.
fn count_up(mut producer: Connection, stream: &'static str, every: Duration) -> watch::Receiver<u64> {
    let (newest, watched) = watch::channel(0);
    tokio::spawn(async move {
        for number in 1_u64.. {
            if add(&mut producer, stream, &number.to_string()).await.is_err() || newest.send(number).is_err()
            {
                break;
            }
            sleep(every).await;
        }
    });
    watched
}

async fn number(socket: &mut Socket) -> Result<u64> {
    Ok(socket.text().await?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_joins_the_present() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let broker = broker(&redis, &[]).await?;
    let mut watched = count_up(redis.connect().await?, "ticks", Duration::from_millis(1));
    watched.wait_for(|number| *number > 200).await?;
    for join in 0..30 {
        let known = *watched.borrow();
        let from = if join % 2 == 0 { "now-30s".to_owned() } else { (unix_now() - 20).to_string() };
        let mut socket = Socket::open(&url(&broker, "ticks", &format!("&from={from}"))).await?;
        for expected in 1..=known + 50 {
            ensure!(number(&mut socket).await? == expected, "join {join}, from={from}");
        }
    }
    let mut live = Socket::open(&url(&broker, "ticks", "")).await?;
    let first = number(&mut live).await?;
    for expected in first + 1..first + 100 {
        ensure!(number(&mut live).await? == expected);
    }
    Ok(())
}

#[tokio::test]
async fn two_brokers_serve_one_log_the_same() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let (one, other) = (broker(&redis, &[]).await?, broker(&redis, &[]).await?);
    let mut watched = count_up(redis.connect().await?, "ticks", Duration::from_millis(1));
    watched.wait_for(|number| *number > 100).await?;
    let mut sockets = Vec::new();
    for broker in [&one, &other] {
        sockets.push(Socket::open(&url(broker, "ticks", "&from=now-30s")).await?);
    }
    for expected in 1..300 {
        for socket in &mut sockets {
            ensure!(number(socket).await? == expected);
        }
    }
    Ok(())
}

#[tokio::test]
async fn tokens_and_starts_that_cannot_be_are_refused() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let broker = broker(&redis, &[]).await?;
    let expired = legacy_token("ticks", unix_now() - 1);
    let other = legacy_token("others", unix_now() + 60);
    for token in ["", "x", expired.as_str(), other.as_str()] {
        let mut socket = Socket::open(&format!("{}/ws/ticks?token={token}", broker.ws)).await?;
        ensure!(socket.closed().await?.0 == 1008, "{token}");
    }
    let mut socket = Socket::open(&url(&broker, "ticks", "&from=abc:7")).await?;
    let (code, reason) = socket.closed().await?;
    ensure!(code == 1008 && reason.contains("now-60s"), "{code} {reason}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_falls_behind_is_closed_and_never_skipped() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let broker = broker(&redis, &[("BOND_RING_MIB", "1")]).await?;
    let mut producer = redis.connect().await?;
    let mut slow = Socket::open(&url(&broker, "ticks", "&from=now-30s")).await?;
    // Whoever joins later than the ring reaches begins with the oldest that is kept.
    served(&mut producer, "ticks", &mut slow).await?;
    let filler = "x".repeat(16 * 1024);
    // Far more than the ring, the kernel and the client's own buffers hold together.
    for number in 0..2_000 {
        add(&mut producer, "ticks", &format!("{number:06}{filler}")).await?;
    }
    for expected in 0.. {
        match slow.next().await? {
            Came::Frame(text) => {
                ensure!(text[..6].parse::<u64>()? == expected, "{} after {expected}", &text[..6]);
            }
            Came::Closed(code, reason) => {
                ensure!(code == 4008 && expected < 2_000, "{code} {reason} after {expected}");
                return Ok(());
            }
        }
    }
    bail!("it was never closed")
}

#[tokio::test]
async fn entries_trimmed_before_they_were_read_close_the_connection() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let broker = broker(&redis, &[]).await?;
    let mut producer = redis.connect().await?;
    let mut socket = Socket::open(&url(&broker, "ticks", "&from=now-30s")).await?;
    add(&mut producer, "ticks", "seen").await?;
    ensure!(socket.text().await? == "seen");
    // In one transaction, so that the broker cannot read in between.
    producer.command(&["MULTI"]).await?;
    for number in 0..10 {
        let data = number.to_string();
        producer.command(&["XADD", "stream:ticks", "MAXLEN", "2", "*", "data", &data]).await?;
    }
    producer.command(&["EXEC"]).await?;
    let (code, reason) = socket.closed().await?;
    ensure!(code == 4008, "{code} {reason}");
    let mut again = Socket::open(&url(&broker, "ticks", "&from=now-30s")).await?;
    add(&mut producer, "ticks", "later").await?;
    loop {
        if again.text().await.context("a new connection is served")? == "later" {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn clients_are_served_again_after_redis_was_away() -> Result<()> {
    let mut redis = Redis::start().await?;
    let broker = broker(&redis, &[]).await?;
    let mut socket = Socket::open(&url(&broker, "ticks", "&from=now-30s")).await?;
    add(&mut redis.connect().await?, "ticks", "before").await?;
    ensure!(socket.text().await? == "before");
    redis.restart().await?;
    add(&mut redis.connect().await?, "ticks", "after").await?;
    ensure!(socket.text().await? == "after", "with its data, the stream goes on");
    redis.restart_empty().await?;
    add(&mut redis.connect().await?, "ticks", "anew").await?;
    match socket.next().await? {
        Came::Closed(4008, _) => Ok(()),
        other => bail!("{other:?}, where the loss had to be told"),
    }
}

#[tokio::test]
async fn a_key_that_is_no_stream_costs_its_own_clients_only() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let broker = broker(&redis, &[]).await?;
    let mut producer = redis.connect().await?;
    let mut good = Socket::open(&url(&broker, "good", "&from=now-30s")).await?;
    let mut bad = Socket::open(&url(&broker, "bad", "&from=now-30s")).await?;
    served(&mut producer, "good", &mut good).await?;
    served(&mut producer, "bad", &mut bad).await?;
    producer.command(&["DEL", "stream:bad"]).await?;
    producer.command(&["SET", "stream:bad", "no stream"]).await?;
    add(&mut producer, "good", "goes on").await?;
    ensure!(good.text().await? == "goes on");
    let (code, reason) = bad.closed().await?;
    ensure!(code == 1011 || code == 4008, "{code} {reason}");
    // And where it is so from the beginning.
    let mut bad = Socket::open(&url(&broker, "bad", "")).await?;
    ensure!(bad.closed().await?.0 == 1011);
    add(&mut producer, "good", "still").await?;
    ensure!(good.text().await? == "still");
    Ok(())
}

#[tokio::test]
async fn a_quiet_stream_keeps_its_clients_and_ids_need_not_be_times() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    let broker = broker(&redis, &[]).await?;
    let mut producer = redis.connect().await?;
    producer.command(&["XADD", "stream:counted", "1-0", "data", "before"]).await?;
    let mut counted = Socket::open(&url(&broker, "counted", "")).await?;
    let mut other = Socket::open(&url(&broker, "other", "&from=now-30s")).await?;
    // After this has come, what was asked for before it is read as well.
    served(&mut producer, "other", &mut other).await?;
    sleep(Duration::from_secs(3)).await;
    for number in 2..40 {
        producer
            .command(&["XADD", "stream:counted", &format!("{number}-0"), "data", &number.to_string()])
            .await?;
    }
    for expected in 2..40 {
        ensure!(number(&mut counted).await? == expected);
    }
    Ok(())
}
