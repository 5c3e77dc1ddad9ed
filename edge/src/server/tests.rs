//! Clients that are slow, idle or unlucky, over real sockets. Time is that of the runtime, which passes by itself while nothing else happens.

use axum::Json;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Server {
    async fn start(connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let address = listener.local_addr().expect("address");
        let router = Router::new()
            .route("/", get(async || "ok"))
            .route("/large", get(async || "x".repeat(1 << 20)))
            .route("/taken", post(async |body: String| Json(body.len())))
            .route("/panics", get(panics));
        let shutdown = CancellationToken::new();
        let config = ServerConfig { connections, ..ServerConfig::new(&Supervisor::default()) };
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(serve(config, vec![listener], router, async {}, shutdown.clone()));
        Self { address, shutdown }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connect")
    }

    async fn ask(&self, request: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.expect("send");
        rest_of(&mut socket).await
    }
}

#[allow(clippy::panic, reason = "it is what is tested")]
async fn panics() -> &'static str {
    panic!("planned")
}

/// What comes until the server closes.
async fn rest_of(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = socket.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

const OK: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_its_answers_is_closed_and_its_place_given_back() {
    let server = Server::start(1).await;
    let mut deaf = server.connect().await;
    let began = tokio::time::Instant::now();
    // Ends where the server has closed: it reads no more requests while the answer to one is not taken.
    while deaf.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.is_ok() {}
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(server.ask(OK).await.contains("200 OK"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_waited_for_thirty_seconds() {
    let server = Server::start(2).await;
    let began = tokio::time::Instant::now();
    let answer = server.ask("POST /taken HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_waited_for_ten_seconds() {
    let server = Server::start(2).await;
    let began = tokio::time::Instant::now();
    server.ask("GET / HTTP/1.1\r\nHost").await;
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn idle_clients_keep_nobody_out() {
    let server = Server::start(3).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(server.connect().await);
    }
    let began = tokio::time::Instant::now();
    for _ in 0..10 {
        assert!(server.ask(OK).await.contains("200 OK"));
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(rest_of(&mut idle[0]).await, "", "the one that was idle for longest has given way");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_panics_gives_its_place_back() {
    let server = Server::start(1).await;
    for _ in 0..10 {
        assert_eq!(server.ask("GET /panics HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
    }
    assert!(server.ask(OK).await.contains("200 OK"));
}

#[tokio::test]
async fn a_rush_of_clients_that_all_speak_is_served_whatever_the_places() {
    let server = Server::start(16).await;
    let asking = (0..200).map(|_| server.ask(OK));
    let answers = futures_util::future::join_all(asking).await;
    assert!(answers.iter().all(|answer| answer.contains("200 OK")), "{answers:?}");
}
