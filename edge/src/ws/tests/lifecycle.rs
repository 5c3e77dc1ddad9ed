//! How connections end, and what those cost that do not.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::host::{Host, STREAM, stream_topic, until};
use crate::ws::connection::Purpose;
use bond_core::code::{CloseCode, Code};
use bond_core::log::EventKind;
use bond_core::message::MessageError;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_told_why() {
    let host = Host::start().await;
    for path in [format!("/ws/{STREAM}?token=bad"), "/stream?token=bad".into(), "/raw?token=bad".into()] {
        let (code, reason) = host.connect(&path).await.closed().await;
        assert_eq!((code, reason.as_str()), (1008, "AUTH_INVALID: get a new token"));
    }
    assert_eq!(host.connect("/ws/nonsense").await.closed().await.0, 1008);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_ends_the_connection_unless_it_was_refreshed() {
    let host = Host::start().await;
    let mut refreshed = host.connect(&format!("/ws/{STREAM}?token=brief")).await;
    refreshed.say(r#"{"type":"refresh","token":"good"}"#).await;
    refreshed.next_of("ack").await;
    let mut client = host.connect(&format!("/ws/{STREAM}?token=brief")).await;
    assert_eq!(client.closed().await.0, 1008);
    assert!(refreshed.is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_the_rules_is_closed_with_its_code() {
    let host = Host::start().await;
    let cases = [(Message::binary(vec![1]), 1003), (Message::text("x".repeat(65 * 1024)), 1009)];
    for (message, expected) in cases {
        let mut client = host.stream("").await;
        client.socket.send(message).await.expect("send");
        assert_eq!(client.closed().await.0, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_close_is_answered() {
    let host = Host::start().await;
    let mut client = host.stream("").await;
    client.socket.close(None).await.expect("close");
    assert_eq!(client.closed().await.0, 1000);
    until(|| host.fanout.stats().connections == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_deleted_ends_its_connections() {
    let host = Host::start().await;
    let mut waiting = host.stream("").await;
    host.publish(1).await;
    assert_eq!(waiting.seqs(1).await, [1]);
    host.registry.0.lock().clear();
    host.end(&stream_topic()).await;
    assert_eq!(waiting.closed().await.0, 4510);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_began_ends_too() {
    let host = Host::start().await;
    let mut waiting = host.stream("").await;
    host.registry.0.lock().clear();
    assert_eq!(waiting.closed().await.0, 4510);
}

/// The server's end of a connection that the client has reset.
async fn reset() -> std::net::TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let client = TcpStream::connect(listener.local_addr().expect("address")).await.expect("connect");
    let (socket, _) = listener.accept().await.expect("accepted");
    client.set_zero_linger().expect("a reset instead of an end");
    drop(client);
    assert!(socket.peek(&mut [0]).await.is_err(), "reset");
    socket.into_std().expect("socket")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_refused_and_has_reset_its_socket_costs_nobody_else() {
    let host = Host::with(|config| config.workers = 1).await;
    let refused = || Purpose::Refused { code: CloseCode::PolicyViolation, reason: "no".into() };
    let errors = vec![MessageError::new(Code::InvalidMessage, "no")];
    for (purpose, control) in [(refused(), false), (refused(), true), (Purpose::Feed { wish: None }, true)] {
        host.hand_over(reset().await, purpose, control, errors.clone());
    }
    host.stream("&control=true").await.next_of("heartbeat").await;
    until(|| host.fanout.stats().connections == 0).await;
}

/// A client that has sent its handshake and reads nothing.
pub(super) async fn deaf(host: &Host, query: &str) -> TcpStream {
    deaf_at(host, &format!("/ws/{STREAM}?x=1{query}")).await
}

/// As [`deaf`], of another path.
pub(super) async fn deaf_at(host: &Host, path: &str) -> TcpStream {
    let address = host.url("").trim_start_matches("ws://").to_owned();
    let mut socket = TcpStream::connect(address).await.expect("connect");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("send");
    let mut head = [0; 12];
    socket.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 101");
    socket
}

async fn flood(host: &Host, megabytes: usize) {
    let body = format!("\"text\":\"{}\"", "x".repeat(10_000));
    for _ in 0..megabytes {
        host.append(&stream_topic(), EventKind::Custom, vec![body.clone(); 100]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_skipped_and_then_dropped_and_nobody_else_notices() {
    let host = Host::with(|config| {
        config.ring_bytes = 4 << 20;
        config.limits.stall = Duration::from_millis(600);
    })
    .await;
    let _deaf = deaf(&host, "").await;
    let mut reader = host.stream("").await;
    for round in 0..20 {
        flood(&host, 1).await;
        let expected: Vec<u64> = (round * 100 + 1..=round * 100 + 100).collect();
        assert_eq!(reader.seqs(100).await, expected);
    }
    until(|| host.fanout.stats().connections == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_too_slowly_is_told_what_it_missed() {
    let host = Host::with(|config| config.ring_bytes = 1 << 20).await;
    let mut slow = host.stream("&control=true").await;
    slow.next_of("heartbeat").await;
    host.publish(1).await;
    assert_eq!(slow.seqs(1).await, [1]);
    flood(&host, 30).await;
    let (mut last, mut missed) = (1, 0);
    while last < 3_001 {
        let message = slow.next().await;
        if message["type"] == "gap" {
            assert_eq!(message["reason"], "slow_consumer");
            assert_eq!(message["from_seq"].as_u64(), Some(last + 1));
            last = message["to_seq"].as_u64().expect("a number");
            missed += 1;
        } else {
            assert_eq!(message["seq"].as_u64(), Some(last + 1), "after {missed} gaps");
            last += 1;
        }
    }
    assert!(missed > 0);
    let meter = host.meters.of(&bond_core::topic::StreamId::parse(STREAM).expect("id"));
    until(|| meter.msgs_out() + meter.dropped() == 3_001).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_are_let_go_within_two_seconds_even_the_deaf() {
    let host = Host::start().await;
    let deaf = futures_util::future::join_all((0..50).map(|_| deaf(&host, "&control=true"))).await;
    let told = futures_util::future::join_all((0..950).map(|_| host.stream("&control=true"))).await;
    flood(&host, 8).await;
    let reading = told.into_iter().map(|mut client| async move {
        let reconnect = client.next_of("reconnect").await;
        assert!(reconnect["after_ms"].as_u64().is_some_and(|ms| ms >= 100));
        client.closed().await.0
    });
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let reading = tokio::spawn(futures_util::future::join_all(reading));
    let began = Instant::now();
    host.shutdown.cancel();
    host.served.await.expect("served");
    let took = began.elapsed();
    assert!(reading.await.expect("clients").iter().all(|code| *code == 4000));
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(deaf);
}
