//! Clients of a broker that take more than their share, over real sockets, beside those who do not.

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Extension;
use bond_core::token::TokenKey;
use bond_core::topic::StreamId;
use bond_redis::external::{Entry, EntryId};
use bond_redis::{Redis, RedisConfig};
use bytes::Bytes;
use futures_util::SinkExt;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;
use crate::server::{self, Peer, ServerConfig};
use crate::ws::tests::floods::{flood, fragment};
use crate::ws::tests::host::{Client, until};
use bond_core::clock::SystemClock;

const STREAM: &str = "0123456789abcdef";
const ANOTHER: &str = "fedcba9876543210";

/// A broker on a Redis of its own.
struct Host {
    broker: Broker,
    address: SocketAddr,
    stop: CancellationToken,
    _redis: Server,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A Redis server, which ends with this value.
struct Server {
    child: Child,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails where it has ended already.
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

async fn redis() -> (Server, Redis) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("address").port().to_string();
    drop(free);
    let dir = tempfile::tempdir().expect("a directory");
    let child = Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::null())
        .spawn();
    let child = child.expect("redis-server, which scripts/tools/redis installs");
    let server = Server { child, _dir: dir };
    let config = RedisConfig { url: format!("redis://127.0.0.1:{port}"), password: None };
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Redis::connect(&config).await {
            Ok(redis) => return (server, redis),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn tokens() -> TokenKeys {
    TokenKeys::new(TokenKey::new("a-secret-of-these-tests-that-is-long-enough"), None)
}

fn config() -> BrokerConfig {
    BrokerConfig {
        tokens: tokens(),
        is_local: true,
        window: Duration::from_secs(60),
        stream_bytes: 32 << 20,
        total_bytes: 64 << 20,
        streams: 10,
        limits: Limits::default(),
        clock: Arc::new(SystemClock),
    }
}

fn path(stream: &str) -> String {
    let id = StreamId::parse(stream).expect("an id");
    let token = tokens().issue(&id, None, SystemClock.now(), Duration::from_secs(60));
    format!("/ws/{stream}?token={token}")
}

impl Host {
    async fn with(change: impl FnOnce(&mut BrokerConfig)) -> Self {
        Self::seen_from([127, 0, 0, 1], change).await
    }

    /// One whose clients all seem to come from this address.
    async fn seen_from(peer: [u8; 4], change: impl FnOnce(&mut BrokerConfig)) -> Self {
        let (server, redis) = redis().await;
        let (mut config, supervisor) = (config(), Supervisor::default());
        change(&mut config);
        let broker = Broker::start(config, ForeignStreams::new(redis), &supervisor);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let router = broker.router().layer(Extension(Peer(IpAddr::from(peer))));
        let stop = CancellationToken::new();
        let server_config = ServerConfig::new(&supervisor);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(server::serve(server_config, vec![listener], router, async {}, stop.clone()));
        Self { broker, address, stop, _redis: server }
    }

    async fn client(&self, stream: &str) -> Client {
        Client::connect(&format!("ws://{}{}", self.address, path(stream)), None).await
    }

    /// The status that refuses a client.
    async fn refusal(&self) -> u16 {
        match connect_async(format!("ws://{}{}", self.address, path(STREAM))).await {
            Err(Error::Http(answer)) => answer.status().as_u16(),
            other => panic!("{other:?}"),
        }
    }

    /// A connection that has asked to be a client.
    async fn asking(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.expect("connect");
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            path(STREAM)
        );
        socket.write_all(request.as_bytes()).await.expect("send");
        socket
    }

    /// A client that neither reads nor answers.
    async fn deaf(&self) -> TcpStream {
        let mut socket = self.asking().await;
        let mut head = [0; 12];
        socket.read_exact(&mut head).await.expect("an answer");
        assert_eq!(&head, b"HTTP/1.1 101");
        socket
    }

    fn clients(&self) -> usize {
        self.broker.0.seats.taken()
    }

    /// Has entries come in, as from Redis.
    fn publish(&self, count: usize, bytes: usize) {
        let ring = Arc::clone(&self.broker.0.rings.lock()[STREAM]);
        let data = Bytes::from(vec![b'x'; bytes]);
        let entries: Vec<_> =
            (0..count).map(|_| Entry { id: EntryId::default(), data: data.clone() }).collect();
        ring.push(&entries, Instant::now());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_floods_is_sent_away_whatever_with_and_others_are_served() {
    let host = Host::with(|_| {}).await;
    let mut other = host.client(STREAM).await;
    let kinds: [fn(u32) -> Message; 4] =
        [|_| Message::Ping(Bytes::new()), |_| Message::Pong(Bytes::new()), |_| Message::text("x"), fragment];
    for kind in kinds {
        let code = flood(host.client(STREAM).await, kind).await;
        assert!([1008, 0].contains(&code), "{code}");
        assert!(other.is_quiet().await);
    }
    until(|| host.clients() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pace_holds_for_bytes_and_the_close_says_so() {
    let host = Host::with(|_| {}).await;
    let mut client = host.client(STREAM).await;
    // 512 KiB at once are taken, of what follows a hundred frames in one bout are not.
    for _ in 0..8 + 99 + 8 {
        if client.socket.send(Message::text("x".repeat(60_000))).await.is_err() {
            break;
        }
    }
    let (code, reason) = client.closed().await;
    let told = "RATE_LIMIT_EXCEEDED: 200 frames and 256 KiB a second are taken";
    assert_eq!((code, reason.as_str()), (1008, told));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_rules_of_messages_is_told_so() {
    let host = Host::with(|_| {}).await;
    for (message, code) in
        [(Message::text("x".repeat(64 * 1024 + 1)), 1009), (Message::Binary(Bytes::new()), 1003)]
    {
        let mut client = host.client(STREAM).await;
        client.socket.send(message).await.expect("send");
        assert_eq!(client.closed().await.0, code);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_begun_and_not_ended_is_waited_for_so_long() {
    let host = Host::with(|config| config.limits.unfinished = Duration::from_millis(300)).await;
    let mut begun = host.client(STREAM).await;
    begun.socket.send(fragment(0)).await.expect("send");
    assert_eq!(begun.closed().await.0, 1008);
    assert!(host.client(STREAM).await.is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_no_sign_of_life_is_pinged_twice_and_then_sent_away() {
    let host = Host::with(|config| config.limits.silence = Duration::from_millis(200)).await;
    let mut lively = host.client(STREAM).await;
    let (mut dead, mut pings, mut frames) = (host.deaf().await, 0, Vec::new());
    // It reads, but never answers; the other one answers as it reads.
    tokio::select! {
        _ = dead.read_to_end(&mut frames) => {}
        () = async { while let Message::Ping(_) = lively.frame().await { pings += 1; } } => panic!("no ping"),
    }
    let pinged = frames.windows(2).filter(|frame| *frame == [0x89, 0]).count();
    assert_eq!(pinged, 2, "{frames:?}");
    assert!(frames.windows(2).any(|code| code == 4009_u16.to_be_bytes()), "{frames:?}");
    assert!(pings >= 2);
    drop(dead);
    until(|| host.clients() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_is_dropped_though_all_it_needs_is_kept() {
    let host = Host::with(|config| config.limits.stall = Duration::from_millis(300)).await;
    let mut reader = host.client(STREAM).await;
    let deaf = host.deaf().await;
    // More than the kernel keeps for a client, less than the ring does.
    host.publish(160, 100_000);
    for _ in 0..160 {
        assert!(matches!(reader.frame().await, Message::Text(_)));
    }
    until(|| host.clients() == 1).await;
    drop(deaf);
    assert!(reader.is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_its_share_of_the_seats_and_a_seat_is_given_back() {
    let host = Host::seen_from([192, 0, 2, 1], |config| config.limits.connections_per_address = 2).await;
    let held = [host.client(STREAM).await, host.client(STREAM).await];
    assert_eq!(host.refusal().await, 429);
    drop(held);
    until(|| host.clients() == 0).await;
    assert!(host.client(STREAM).await.is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seats_of_the_process_are_bounded_for_loopback_too() {
    let host = Host::with(|config| {
        (config.limits.connections, config.limits.connections_per_address) = (2, 1);
    })
    .await;
    let mut held = [host.client(STREAM).await, host.client(STREAM).await];
    assert_eq!(host.refusal().await, 503);
    assert!(held[0].is_quiet().await && held[1].is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_for_one_stream_too_many_is_told_to_come_again() {
    let host = Host::with(|config| config.streams = 1).await;
    let mut first = host.client(STREAM).await;
    let (code, reason) = host.client(ANOTHER).await.closed().await;
    assert_eq!(code, 1013, "{reason}");
    assert!(first.is_quiet().await && host.client(STREAM).await.is_quiet().await);
    assert_eq!(host.broker.0.rings.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_let_go_whose_clients_left_before_they_were_served() {
    let host = Host::with(|_| {}).await;
    for _ in 0..200 {
        let socket = host.asking().await;
        socket.set_zero_linger().expect("a reset");
    }
    until(|| host.clients() == 0 && host.broker.0.rings.lock().is_empty()).await;
}
