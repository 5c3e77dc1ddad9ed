//! What attackers do. Each returns what it saw, and fails where the server did not answer it as it should.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::raw::{self, CONTINUATION, PING, TEXT};
use super::site::Site;

/// How many attack at once with frames.
const FLOODERS: usize = 16;

/// How soon whoever floods must be sent away.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one floods who is held back instead: enough to see that others are served.
const HELD_BACK: Duration = Duration::from_millis(2_500);

/// Handshakes that will be refused, each reset within a millisecond: the server writes to sockets that are gone.
pub(super) async fn resets(site: &Site) -> Result<String> {
    let request = raw::handshake(&site.refusing, None);
    let mut attackers = JoinSet::new();
    for lane in 0..3u64 {
        attackers.spawn(reset_often(site.ws, request.clone(), lane));
    }
    attackers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    Ok("2,000 refused handshakes were reset".to_owned())
}

async fn reset_often(address: SocketAddr, request: String, lane: u64) -> Result<()> {
    for number in 0..667 {
        let mut socket = TcpStream::connect(address).await?;
        socket.write_all(request.as_bytes()).await?;
        let pause = Duration::from_micros((number * 7 + lane * 331) % 1_000);
        // A timer of the runtime is too coarse for what is to hit between two packets.
        tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await?;
        raw::reset(socket);
    }
    Ok(())
}

/// Sockets that ask and ask, and read no answer.
pub(super) async fn unread_answers(site: &Site) -> Result<String> {
    const SOCKETS: usize = 4_200;
    let request = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let mut held = Vec::new();
    let mut failed = 0;
    for _ in 0..SOCKETS {
        match timeout(Duration::from_secs(1), raw::connect_with(site.ws, 2_048)).await {
            Ok(Ok(socket)) => {
                // As much as is taken: the server need not read it all.
                let _ = socket.try_write(request.as_bytes());
                held.push(socket);
            }
            _ => failed += 1,
        }
    }
    // By now the first have had their time; the sockets are held on to.
    sleep(Duration::from_secs(15)).await;
    let begun = Instant::now();
    timeout(Duration::from_secs(5), site.health()).await??;
    let took = begun.elapsed().as_millis();
    Ok(format!("{} sockets read nothing, {failed} did not connect; /health then took {took} ms", held.len()))
}

/// Feeds and streams that name instruments which no venue lists, as many as one may and more.
pub(super) async fn unlisted(site: &Site) -> Result<String> {
    let mut feeds = Vec::new();
    for feed in 0..20 {
        let mut socket = site.attacker().await?;
        let names = |count: usize| (0..count).map(|n| format!("A{feed}X{n}/U")).collect::<Vec<_>>();
        let channels = ["trades", "ticker", "orderbook", "funding"];
        for count in [3_000, 100] {
            socket.send(&json!({"type": "subscribe", "channels": channels, "symbols": names(count)})).await?;
        }
        feeds.push(socket);
    }
    let created = create_unlisted(site).await?;
    sleep(Duration::from_secs(6)).await;
    Ok(format!("20 feeds and {created} streams of 100 unlisted symbols"))
}

async fn create_unlisted(site: &Site) -> Result<usize> {
    let mut created = 0;
    for stream in 0..5 {
        let symbols: Vec<String> = (0..100).map(|n| format!("S{stream}Y{n}/USDT")).collect();
        let spec = json!({"version": "v1", "sources": [{"type": "market", "symbols": symbols}]});
        let (status, _) = site.mallory.post("/v1/streams", &json!({ "spec": spec })).await?;
        created += usize::from(status == 200);
    }
    Ok(created)
}

/// Subscribes of the largest size that is taken, to a venue that is not served, as fast as they are taken.
pub(super) async fn commands(site: &Site) -> Result<String> {
    let end = Instant::now() + Duration::from_secs(6);
    let mut clients = JoinSet::new();
    for client in 0..4 {
        let mut socket = site.attacker().await?;
        clients.spawn(async move {
            let mut sent = 0;
            while Instant::now() < end {
                let symbols: Vec<String> =
                    (0..100).map(|n| format!("{:A>30}{n}/USDT", client * 1_000_000 + sent)).collect();
                let wish = json!({"type": "subscribe", "exchanges": ["kraken"], "symbols": symbols});
                // The server may send it away; that is an answer too.
                if socket.send(&wish).await.is_err() {
                    break;
                }
                sent += 1;
                sleep(Duration::from_millis(20)).await;
            }
            sent
        });
    }
    let sent: u64 = clients.join_all().await.into_iter().sum();
    Ok(format!("{sent} large subscribes"))
}

/// Specs that are costly to read, several at a time.
pub(super) async fn compiles(site: &Site) -> Result<String> {
    let sources: Vec<Value> = (0..17).map(|_| json!({"type": "market"})).collect();
    let spec = json!({"version": "v1", "sources": sources, "symbols": vec!["abcde"; 7_900]});
    let body = json!({ "spec": spec }).to_string();
    let end = Instant::now() + Duration::from_secs(4);
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let (api, body) = (site.mallory.clone(), body.clone());
        callers.spawn(async move {
            let mut answered = Vec::new();
            while Instant::now() < end {
                let json = [("content-type", "application/json")];
                // Who is refused for its pace may be cut off before it has sent all.
                let answer = api.request("POST", "/v1/compile", &json, body.clone()).await;
                answered.push(answer.map_or(429, |(status, _)| status));
            }
            answered
        });
    }
    let answers: Vec<u16> = callers.join_all().await.into_iter().flatten().collect();
    ensure!(answers.iter().all(|status| matches!(status, 400 | 429 | 503)), "{answers:?}");
    Ok(format!("{} costly specs refused", answers.len()))
}

/// Messages whose answers are a hundred times as long, from clients that do not read.
pub(super) async fn unread_errors(site: &Site) -> Result<String> {
    const CLIENTS: usize = 150;
    let symbols = vec!["?"; 7_000];
    let message =
        json!({"type": "subscribe", "symbols": symbols, "correlation_id": "x".repeat(250)}).to_string();
    let message = raw::frame(TEXT, true, message.as_bytes());
    let mut held = Vec::new();
    for _ in 0..CLIENTS {
        let mut socket = raw::open(site.ws, &site.feed, site.mallory.key.as_deref()).await?;
        // The server may close on it, which is an answer too.
        let _ = socket.write_all(&message).await;
        held.push(socket);
    }
    sleep(Duration::from_secs(3)).await;
    Ok(format!("{} clients left their errors unread", held.len()))
}

/// Messages that are begun and never finished.
pub(super) async fn unfinished(site: &Site) -> Result<String> {
    let part = raw::frame(TEXT, false, &vec![b' '; 60_000]);
    let mut clients = JoinSet::new();
    for _ in 0..150 {
        let mut socket = raw::open(site.ws, &site.feed, site.mallory.key.as_deref()).await?;
        socket.write_all(&part).await?;
        clients.spawn(async move {
            timeout(Duration::from_secs(20), raw::until_closed(&mut socket)).await.is_ok()
        });
    }
    let closed = clients.join_all().await.into_iter().filter(|closed| *closed).count();
    ensure!(closed == 150, "{closed} of 150 were closed");
    Ok("150 clients were closed over an unfinished message".to_owned())
}

/// Pings as fast as they are taken.
pub(super) async fn pings(site: &Site) -> Result<String> {
    flood(site, raw::frame(PING, true, b"")).await
}

/// Continuations that continue a message by nothing.
pub(super) async fn empty_fragments(site: &Site) -> Result<String> {
    flood(site, raw::frame(CONTINUATION, false, b"")).await
}

/// Messages of one byte.
pub(super) async fn short_texts(site: &Site) -> Result<String> {
    flood(site, raw::frame(TEXT, true, b"x")).await
}

/// Messages of nearly the largest size.
pub(super) async fn long_texts(site: &Site) -> Result<String> {
    flood(site, raw::frame(TEXT, true, &vec![b'x'; 60_000])).await
}

/// Messages that a platform answers by itself.
pub(super) async fn said_pings(site: &Site) -> Result<String> {
    flood(site, raw::frame(TEXT, true, br#"{"type":"ping"}"#)).await
}

async fn flood(site: &Site, frame: Vec<u8>) -> Result<String> {
    let patience = if site.is_behind_platform { HELD_BACK } else { PATIENCE };
    let mut flooders = JoinSet::new();
    for _ in 0..FLOODERS {
        let mut socket = raw::open(site.ws, &site.feed, site.mallory.key.as_deref()).await?;
        if frame[0] & 0x0f == CONTINUATION {
            socket.write_all(&raw::frame(TEXT, false, b"x")).await?;
        }
        let burst = frame.repeat((1 << 20) / frame.len().max(1_000));
        flooders.spawn(timeout(patience, flood_until_closed(socket, burst)));
    }
    let closed = flooders.join_all().await.into_iter().filter(Result::is_ok).count();
    let is_enough = closed == FLOODERS || site.is_behind_platform;
    ensure!(is_enough, "{closed} of {FLOODERS} flooders were sent away within {PATIENCE:?}");
    Ok(format!("{closed} flooders were sent away"))
}

async fn flood_until_closed(socket: TcpStream, burst: Vec<u8>) {
    let (mut read, mut write) = socket.into_split();
    let reading = async {
        let mut scratch = vec![0; 16 * 1024];
        while tokio::io::AsyncReadExt::read(&mut read, &mut scratch).await.is_ok_and(|count| count > 0) {}
    };
    let writing = async {
        while write.write_all(&burst).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    tokio::select! { () = reading => {}, () = writing => {} }
}

/// Requests of strangers, with paths as long as they may be.
pub(super) async fn refused_requests(site: &Site) -> Result<String> {
    const REQUESTS: usize = 10_000;
    let path = "x".repeat(8_000);
    let request = format!("GET /v1/streams/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut sent = 0;
    while sent < REQUESTS {
        let mut socket = TcpStream::connect(site.ws).await?;
        let (mut read, mut write) = socket.split();
        let reading = async {
            let mut scratch = vec![0; 64 * 1024];
            while tokio::io::AsyncReadExt::read(&mut read, &mut scratch).await.is_ok_and(|count| count > 0) {}
        };
        let writing = async {
            for _ in 0..500 {
                if write.write_all(request.as_bytes()).await.is_err() {
                    break;
                }
                sent += 1;
            }
            write.shutdown().await
        };
        let _ = tokio::join!(timeout(Duration::from_secs(10), reading), writing);
    }
    Ok(format!("{sent} requests were refused"))
}

/// Connections that are opened and kept, by one who holds one key where the host has keys.
pub(super) async fn hoard(site: &Site, most: usize) -> Result<String> {
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..most {
        match raw::open(site.ws, &site.feed, site.mallory.key.as_deref()).await {
            Ok(socket) => held.push(socket),
            Err(_) => refused += 1,
        }
    }
    let has_share = site.mallory.key.is_some() && !site.is_behind_platform;
    ensure!(refused > 0 || !has_share, "{} connections of one key, none refused", held.len());
    Ok(format!("{} connections of one client, {refused} refused", held.len()))
}
