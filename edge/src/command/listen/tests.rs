use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::*;
use crate::cli::ServerArgs;

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// These events of this epoch, and then the connection is cut.
    Events(&'static str, u64, u64),
    /// A close frame.
    Close(u16, &'static str),
    /// Bytes instead of an answer.
    Raw(&'static str),
    /// A heartbeat, and then the connection is cut.
    Heartbeat,
    /// Nothing at all is ever said.
    Silence,
}

/// A server that does as its script says, and keeps the requests that came.
struct Scripted {
    url: String,
    sockets: Mutex<VecDeque<Act>>,
    rest: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<String>>,
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";

impl Scripted {
    async fn start(rest: &[Act], sockets: &[Act]) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Arc::new(Self {
            url: address.to_string(),
            sockets: Mutex::new(sockets.iter().copied().collect()),
            rest: Mutex::new(rest.iter().copied().collect()),
            asked: Mutex::default(),
        });
        let shared = server.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(shared.clone().serve(socket));
            }
        });
        server
    }

    async fn serve(self: Arc<Self>, mut socket: TcpStream) {
        let head = read_head(&mut socket).await;
        self.asked.lock().push(head.lines().next().unwrap_or_default().to_owned());
        let Some(key) = header(&head, "sec-websocket-key") else { return self.answer(socket, &head).await };
        let act = self.sockets.lock().pop_front().unwrap_or(Act::Raw(""));
        match act {
            Act::Raw(bytes) => drop(socket.write_all(bytes.as_bytes()).await),
            act => play(act, upgraded(socket, &key).await).await,
        }
    }

    async fn answer(&self, mut socket: TcpStream, head: &str) {
        let length = header(head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let _ = socket.read_exact(&mut vec![0; length]).await;
        let number = self.asked.lock().len();
        let body = json!({"stream_id": "0123456789abcdef", "spec": {}, "ws_url": format!("ws://{}/ws/s?token=t{number}", self.url)});
        let body = body.to_string();
        let good = format!("{GOOD}content-length: {}\r\n\r\n{body}", body.len());
        let act = self.rest.lock().pop_front();
        let answer = match act {
            Some(Act::Raw(bytes)) => bytes.to_owned(),
            _ => good,
        };
        let _ = socket.write_all(answer.as_bytes()).await;
    }

    /// Listens until `count` events came, and gives what was printed.
    async fn listen(&self, count: u64, json: bool) -> (Outcome, String) {
        let url = format!("http://{}", self.url);
        let server = ServerArgs { url, api_key: None };
        let args = ListenArgs { text: "BTC price".to_owned(), server, count: Some(count), json };
        let client = RestClient::new(&args.server).expect("a client");
        let mut listener = Listener::new(&args, false, Vec::new());
        let outcome = follow(&client, &args, &mut listener).await;
        (outcome, String::from_utf8(listener.out).expect("text"))
    }
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("a head in UTF-8")
}

fn header(head: &str, name: &str) -> Option<String> {
    let (_, value) = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    Some(value.to_owned())
}

async fn upgraded(mut socket: TcpStream, key: &str) -> WebSocketStream<TcpStream> {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("an open socket");
    WebSocketStream::from_raw_socket(socket, Role::Server, None).await
}

async fn play(act: Act, mut socket: WebSocketStream<TcpStream>) {
    match act {
        Act::Events(epoch, from, to) => {
            for seq in from..=to {
                let event = json!({"type": "aggregate", "topic": "streams.s", "epoch": epoch, "seq": seq});
                let _ = socket.send(Message::text(event.to_string())).await;
            }
        }
        Act::Heartbeat => drop(socket.send(Message::text(json!({"type": "heartbeat"}).to_string())).await),
        Act::Close(code, reason) => {
            let _ = socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await;
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
        }
        Act::Silence => std::future::pending().await,
        Act::Raw(_) => {}
    }
}

fn numbers(printed: &str) -> Vec<u64> {
    let number = |line: &str| serde_json::from_str::<Value>(line).ok()?["seq"].as_u64();
    printed.lines().filter_map(number).collect()
}

const BUSY: Act = Act::Raw("HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");

#[tokio::test]
async fn a_loss_of_any_kind_is_followed_by_a_resume() {
    let losses = [
        Act::Close(1000, ""),
        Act::Close(1001, "going away"),
        Act::Close(1012, ""),
        Act::Close(1013, ""),
        Act::Close(4000, "shutdown"),
        Act::Close(4008, "slow"),
        Act::Close(1008, "AUTH_EXPIRED: the token has expired"),
        Act::Close(1008, "INTERNAL_ERROR: no redis"),
        Act::Raw(""),
        Act::Raw("<html>starting</html>"),
        Act::Raw("HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n"),
        Act::Raw("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"),
        Act::Raw("HTTP/1.1 502 X\r\ncontent-length: 0\r\n\r\n"),
        BUSY,
    ];
    for loss in losses {
        let script = [Act::Events("e", 1, 3), loss, Act::Events("e", 2, 6)];
        let server = Scripted::start(&[], &script).await;
        let (outcome, printed) = server.listen(6, true).await;
        assert!(outcome.is_ok(), "{loss:?}: {outcome:?}");
        assert_eq!(numbers(&printed), [1, 2, 3, 4, 5, 6], "{loss:?}");
        let asked = server.asked.lock().clone();
        let opened: Vec<&String> = asked.iter().filter(|line| line.contains("/ws/")).collect();
        assert!(opened.len() == 3 && opened[2].contains("from=e:3"), "{loss:?}: {opened:?}");
        assert!(opened[2].contains("token=t5"), "a fresh token for each connection: {opened:?}");
    }
}

#[tokio::test]
async fn numbers_begin_anew_in_a_new_epoch() {
    let server = Scripted::start(&[], &[Act::Events("a", 1, 3), Act::Events("b", 1, 2)]).await;
    let (outcome, printed) = server.listen(5, true).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(numbers(&printed), [1, 2, 3, 1, 2]);
}

#[tokio::test]
async fn a_busy_rest_interface_is_asked_again() {
    let garbage = Act::Raw("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n<htm");
    for fault in [BUSY, garbage, Act::Raw("")] {
        let fine = Act::Silence;
        let script = [Act::Events("e", 1, 2), Act::Events("e", 3, 4)];
        let server = Scripted::start(&[BUSY, fine, fault], &script).await;
        let (outcome, printed) = server.listen(4, true).await;
        assert!(outcome.is_ok(), "{fault:?}: {outcome:?}");
        assert_eq!(numbers(&printed), [1, 2, 3, 4], "{fault:?}");
    }
}

#[tokio::test]
async fn ends_that_are_final_are_told_with_the_exit_code_for_refusals() {
    let ends = [
        Act::Close(4510, "the stream has ended"),
        Act::Close(4999, ""),
        Act::Close(1008, "AUTH_INVALID: not a token of this stream"),
        Act::Close(1008, ""),
        Act::Raw("HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n"),
        Act::Raw("HTTP/1.1 401 X\r\ncontent-length: 0\r\n\r\n"),
    ];
    for end in ends {
        let server = Scripted::start(&[], &[Act::Events("e", 1, 1), end, Act::Events("e", 2, 9)]).await;
        let (outcome, printed) = server.listen(9, true).await;
        assert_eq!(outcome.map_err(|failure| failure.exit), Err(Exit::Refused), "{end:?}");
        assert_eq!(numbers(&printed), [1], "{end:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    let server = Scripted::start(&[Act::Raw("")], &[]).await;
    let (outcome, _) = server.listen(1, true).await;
    assert_eq!(outcome.map_err(|failure| failure.exit), Err(Exit::Unreachable));
}

#[tokio::test]
async fn heartbeats_are_no_progress() {
    let script = [Act::Heartbeat, Act::Heartbeat, Act::Heartbeat, Act::Events("e", 1, 1)];
    let server = Scripted::start(&[], &script).await;
    let before = tokio::time::Instant::now();
    let (outcome, _) = server.listen(1, true).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    // At least half of 200, 400 and 800 ms.
    assert!(before.elapsed() >= Duration::from_millis(700), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_obeyed() {
    let busy = "HTTP/1.1 503 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
    let server = Scripted::start(&[], &[Act::Raw(busy), Act::Events("e", 1, 1)]).await;
    let before = tokio::time::Instant::now();
    let (outcome, _) = server.listen(1, true).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_given_up() {
    let server = Scripted::start(&[], &[Act::Silence]).await;
    let session = Session::open(&format!("ws://{}/ws/s?token=t", server.url)).await;
    let mut session = session.ok().expect("a connection").with_silence(Duration::from_millis(50));
    let ended = tokio::time::timeout(Duration::from_secs(10), session.frame()).await;
    assert!(matches!(ended, Ok(Err(Ended::Lost { .. }))));
}
