//! Clients that have agreed on compression, beside those that have not.

use bond_core::log::EventKind;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::host::{Host, PATIENCE, STREAM, stream_topic};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";

/// A WebSocket client that takes nothing off the frames.
struct RawClient {
    socket: TcpStream,
    /// The head of the server's answer.
    head: String,
}

impl RawClient {
    async fn connect(host: &Host, path: &str, headers: &str) -> Self {
        let url = host.url("");
        let address = url.strip_prefix("ws://").expect("a URL");
        let mut socket = TcpStream::connect(address).await.expect("connect");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).await.expect("write");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, socket.read_u8()).await.expect("in time").expect("a byte"));
        }
        Self { socket, head: String::from_utf8(head).expect("text").to_ascii_lowercase() }
    }

    /// A client of the stream that offers compression and asks for it.
    async fn compressed(host: &Host, query: &str) -> Self {
        Self::connect(host, &format!("/ws/{STREAM}?token=t&compression=true{query}"), OFFER).await
    }

    /// The first byte of the next frame, and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let first = self.socket.read_u8().await?;
            let length = match self.socket.read_u8().await? {
                126 => usize::from(self.socket.read_u16().await?),
                127 => usize::try_from(self.socket.read_u64().await?).expect("a length"),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.socket.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>((first, payload))
        };
        timeout(PATIENCE, read).await.expect("a frame in time").expect("a frame")
    }

    /// The next message, and whether it came compressed.
    async fn next(&mut self) -> (Value, bool) {
        let (first, payload) = self.frame().await;
        let text = match first {
            0x81 => payload.clone(),
            0xC1 => inflated(&payload),
            other => panic!("{other:x}: {payload:?}"),
        };
        (serde_json::from_slice(&text).expect("JSON"), first == 0xC1)
    }

    /// Sends a frame with this first byte.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0x80 | 126];
        frame.extend_from_slice(&u16::try_from(payload.len()).expect("short").to_be_bytes());
        // A mask of zeros leaves the payload as it is.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.socket.write_all(&frame).await.expect("write");
    }

    /// The code that the server closes with, whatever comes before.
    async fn closed(&mut self) -> u16 {
        loop {
            let (first, payload) = self.frame().await;
            if first == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }
}

fn inflated(payload: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(1 << 20);
    let whole = [payload, &[0, 0, 0xFF, 0xFF]].concat();
    Decompress::new(false).decompress_vec(&whole, &mut text, FlushDecompress::Sync).expect("inflate");
    text
}

fn deflated(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1024);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(text, &mut out, FlushCompress::Sync).expect("compress");
    out.truncate(out.len() - 4);
    out
}

/// Fields that compress well, in so many bytes or more.
fn long(bytes: usize) -> String {
    format!("\"n\":1,\"text\":\"{}\"", "a word ".repeat(bytes / 7))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_is_agreed_on_where_it_is_offered_and_asked_for() {
    let host = Host::start().await;
    let path = format!("/ws/{STREAM}?token=t");
    let asks = format!("{path}&compression=true");
    let narrow = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    for (path, headers, is_agreed) in [
        (path.as_str(), OFFER, false),
        (asks.as_str(), "", false),
        (asks.as_str(), narrow, false),
        (asks.as_str(), OFFER, true),
        ("/stream?token=t&compression=true", OFFER, true),
        ("/raw?token=t&compression=true", OFFER, true),
    ] {
        let client = RawClient::connect(&host, path, headers).await;
        let answer = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; \
                      client_no_context_takeover\r\n";
        assert_eq!(client.head.contains(answer), is_agreed, "{path} {headers} {}", client.head);
        assert_eq!(client.head.contains("sec-websocket-extensions"), is_agreed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_events_come_compressed_short_ones_and_other_clients_plain_and_all_are_equal() {
    let host = Host::start().await;
    let mut compressed = RawClient::compressed(&host, "").await;
    let mut batched = RawClient::compressed(&host, "&batch=3&wait_ms=10000").await;
    let mut plain = host.stream("").await;
    let noise: String =
        (0_u64..200).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    let bodies = ["\"n\":1".to_owned(), long(300), long(100_000), format!("\"noise\":\"{noise}\"")];
    host.append(&stream_topic(), EventKind::Custom, bodies[..3].to_vec()).await;
    let mut events = Vec::new();
    for is_long in [false, true, true] {
        let (event, was_compressed) = compressed.next().await;
        assert_eq!(was_compressed, is_long, "{event}");
        assert_eq!(event, plain.next().await);
        events.push(event);
    }
    let (batch, was_compressed) = batched.next().await;
    assert!(was_compressed);
    assert_eq!(batch, Value::Array(events[..2].to_vec()));
    host.append(&stream_topic(), EventKind::Custom, bodies[3..].to_vec()).await;
    assert_eq!(compressed.next().await.0, plain.next().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_resumes_gets_the_same_compressed_frames_again() {
    let host = Host::start().await;
    host.append(&stream_topic(), EventKind::Custom, vec![long(400), long(500), long(600)]).await;
    let epoch = host.epoch().await;
    let mut frames = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::compressed(&host, &format!("&from={epoch}:1")).await;
        let mut events = Vec::new();
        while events.len() < 2 {
            let (first, payload) = client.frame().await;
            if first == 0xC1 {
                events.push(payload);
            }
        }
        frames.push(events);
    }
    assert_eq!(frames[0], frames[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compressed_messages_are_heard_whole_and_in_fragments() {
    let host = Host::start().await;
    let mut client = RawClient::compressed(&host, "").await;
    let ping = deflated(br#"{"type":"ping","correlation_id":"c1"}"#);
    client.send(0xC1, &ping).await;
    assert_eq!(client.next().await.0["correlation_id"], "c1");
    let (head, tail) = ping.split_at(ping.len() / 2);
    client.send(0x41, head).await;
    client.send(0x80, tail).await;
    assert_eq!(client.next().await.0["type"], "pong");
    client.send(0x81, br#"{"type":"ping"}"#).await;
    assert_eq!(client.next().await.0["type"], "pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_and_what_was_not_agreed_on_close_with_their_codes() {
    let host = Host::start().await;
    let bomb = deflated(&vec![b' '; 20 << 20]);
    let ping = deflated(br#"{"type":"ping"}"#);
    type Fragments<'a> = &'a [(u8, &'a [u8])];
    let cases: [(Fragments<'_>, u16); 5] = [
        (&[(0xC1, &bomb)], 1009),
        (&[(0xC1, &ping[..ping.len() - 3])], 1007),
        (&[(0x41, &ping), (0xC0, &ping)], 1002),
        (&[(0xC9, b"")], 1002),
        (&[(0xE1, &ping)], 1002),
    ];
    for (frames, code) in cases {
        let mut client = RawClient::compressed(&host, "").await;
        for (first, payload) in frames {
            client.send(*first, payload).await;
        }
        assert_eq!(client.closed().await, code, "{:x}", frames[0].0);
    }
    let mut unasked = RawClient::connect(&host, &format!("/ws/{STREAM}?token=t"), OFFER).await;
    unasked.send(0xC1, &ping).await;
    assert_eq!(unasked.closed().await, 1002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_message_inflates_to_counts_against_the_clients_budget() {
    let host = Host::start().await;
    let mut client = RawClient::compressed(&host, "&control=true").await;
    // A ping of 60 KiB, and of a hundred bytes on the wire.
    let padded = format!(r#"{{"type":"ping"{}}}"#, " ".repeat(60 * 1024));
    let message = deflated(padded.as_bytes());
    assert!(message.len() < 200);
    for _ in 0..20 {
        client.send(0xC1, &message).await;
    }
    loop {
        let (answer, _) = client.next().await;
        if answer["code"] == "RATE_LIMIT_EXCEEDED" {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_topics_get_compressed_frames_once_they_ask_and_acks_say_so() {
    let host = Host::start().await;
    let state = format!("{{{}}}", long(2_000));
    host.delta("prices.X", &state).await;
    let path = "/ws/market/X?token=user:u1";
    let subscribe = br#"{"type":"subscribe","topic":"prices.X","compression":true}"#;
    let mut later = RawClient::connect(&host, path, OFFER).await;
    let (snapshot, was_compressed) = later.next().await;
    assert_eq!((&snapshot["type"], was_compressed), (&"snapshot".into(), false));
    later.send(0x81, subscribe).await;
    assert_eq!(later.next().await.0["compression_enabled"], true);
    let asks = format!("{path}&compression=true");
    let mut at_once = RawClient::connect(&host, &asks, OFFER).await;
    assert_eq!(at_once.next().await, (snapshot, true));
    let mut without = RawClient::connect(&host, &asks, "").await;
    assert!(!without.next().await.1);
    without.send(0x81, subscribe).await;
    assert_eq!(without.next().await.0["compression_enabled"], false);
    host.delta("prices.X", &state).await;
    let (delta, was_compressed) = without.next().await;
    assert_eq!((&delta["type"], was_compressed), (&"delta".into(), false));
    let frame = later.frame().await;
    assert_eq!(frame.0, 0xC1);
    assert_eq!(at_once.frame().await, frame, "everybody gets the same frame");
    assert_eq!(serde_json::from_slice::<Value>(&inflated(&frame.1)).expect("JSON"), delta);
}
