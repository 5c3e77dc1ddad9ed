//! Who is begun anew by its owner: the process goes on, and its clients' numbers with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bond_e2e::numbers::{Head, Numbers};
use bond_e2e::process::{Bond, fresh_dir, ws_url};
use bond_e2e::socket::Socket;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// A second is promised; the rest is for a machine that is busy with other tests.
const MENDED_WITHIN: Duration = Duration::from_secs(3);

/// A `bond up` in which panics can be planted, with a further setting.
async fn up(setting: (&str, &str)) -> Result<Bond> {
    let dir = fresh_dir("up")?;
    let plant = Bond::planted_in(&dir);
    Bond::up_in(dir, &["--sim-rate", "200"], &[("BOND_PLANT_FILE", &plant), setting]).await
}

/// Reads on without a hole until an event is the one that is looked for.
async fn reads_until(
    socket: &mut Socket,
    numbers: &mut Numbers,
    is_it: impl Fn(&Head, &str) -> bool,
) -> Result<()> {
    loop {
        let text = socket.text().await?;
        let head = Head::read(&text)?;
        if head.is_event() {
            numbers.take(&head)?;
            if is_it(&head, &text) {
                return Ok(());
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_a_venue_that_panics_is_made_anew_at_once() -> Result<()> {
    let mut bond = up(("BOND_LOG", "info")).await?;
    let created = bond.stream("BTC trades on Binance tick by tick").await?;
    let mut socket = Socket::open(&ws_url(&created, "")).await?;
    let mut numbers = Numbers::default();
    reads_until(&mut socket, &mut numbers, |_, _| true).await?;
    bond.process().plant("connection-binance-spot")?;
    let panicked = bond.process().panicked().await?;
    // What had come before may be on its way still.
    let after = unix_ms();
    reads_until(&mut socket, &mut numbers, |head, _| head.ts_event > Some(after)).await?;
    ensure!(panicked.elapsed() < MENDED_WITHIN, "{:?}", panicked.elapsed());
    ensure!(bond.log().contains("connection task failed"), "{}", bond.log());
    bond.is_ready().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_own_socket_that_panics_begins_anew_and_ends_nothing_else() -> Result<()> {
    let mut bond = up(("BOND_ALLOW_PRIVATE_SOURCES", "true")).await?;
    let (url, mut connections) = source().await?;
    let custom = json!({"type": "websocket", "url": url, "map": {"value": "/p"}});
    let own = bond.stream_of(json!({"version": "v1", "sources": [custom], "interval_sec": null})).await?;
    let mut socket = Socket::open(&ws_url(&own, "&from=now-60s")).await?;
    let mut numbers = Numbers::default();
    reads_until(&mut socket, &mut numbers, |_, text| text.contains(r#""value":1"#)).await?;
    connections.recv().await.context("a connection")?;
    bond.process().plant("own-socket")?;
    let panicked = bond.process().panicked().await?;
    timeout(MENDED_WITHIN, connections.recv()).await.context("no other connection")?;
    reads_until(&mut socket, &mut numbers, |_, text| text.contains(r#""value":2"#)).await?;
    ensure!(panicked.elapsed() < MENDED_WITHIN, "{:?}", panicked.elapsed());
    bond.is_ready().await
}

/// A user's server, which says on each connection the number of it every 20 ms. It tells when one is made.
async fn source() -> Result<(String, tokio::sync::mpsc::Receiver<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}/prices", listener.local_addr()?);
    let (made, connections) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        for number in 1.. {
            let Ok((socket, _)) = listener.accept().await else { return };
            if made.send(()).await.is_err() {
                return;
            }
            tokio::spawn(says(number, socket));
        }
    });
    Ok((url, connections))
}

async fn says(number: u32, socket: tokio::net::TcpStream) {
    let Ok(socket) = tokio_tungstenite::accept_async(socket).await else { return };
    let (mut sink, mut source) = socket.split();
    while sink.send(Message::text(json!({"p": number}).to_string())).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while source.next().await.is_some_and(|message| message.is_ok()) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_the_log_that_panics_ends_the_process_as_the_tail_it_belongs_to() -> Result<()> {
    let mut bond = up(("BOND_LOG", "info")).await?;
    let created = bond.stream("BTC trades tick by tick").await?;
    bond.process().plant("look")?;
    // Whoever follows a topic first has it looked at.
    let asking = tokio::spawn(async move { Socket::open(&ws_url(&created, "")).await });
    let ended = bond.process().ended().await?;
    drop(asking.await?);
    ensure!(ended == Some(1), "{ended:?}");
    ensure!(bond.log().contains("tail has panicked"), "{}", bond.log());
    Ok(())
}
