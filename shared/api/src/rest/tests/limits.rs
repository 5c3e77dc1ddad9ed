//! What a caller may cost, and what a stranger.

use std::cell::RefCell;
use std::io::Write;

use super::*;

#[tokio::test]
async fn an_owner_who_calls_faster_than_the_pace_is_told_when_to_come_again() {
    let server = Server::with(true, |settings| settings.per_second = 2);
    let (ann, bob) = (server.key("ann"), server.key("bob"));
    for _ in 0..8 {
        assert_eq!(server.call_as(&ann, "GET", "/v1/streams", &Value::Null).await.status, 200);
    }
    for (method, path) in [("GET", "/v1/streams"), ("POST", "/v1/compile"), ("POST", "/v1/streams")] {
        let refused = server.call_as(&ann, method, path, &spec("BTC/USDT")).await;
        assert_eq!(refused.problem(), (429, "RATE_LIMIT_EXCEEDED"), "{path}");
        assert_eq!((refused.header("retry-after"), &refused.json["retryable"]), ("1", &json!(true)));
    }
    assert_eq!(server.call_as(&bob, "GET", "/v1/streams", &Value::Null).await.status, 200, "bob is not ann");
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(server.call_as(&ann, "GET", "/v1/streams", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn on_a_keyed_server_metrics_need_a_key_unless_they_are_opened() {
    let server = Server::new();
    let ann = server.key("ann");
    assert_eq!(server.get("/metrics").await.problem(), (401, "AUTH_REQUIRED"));
    assert_eq!(server.call_as(&ann, "GET", "/metrics", &Value::Null).await.status, 200);
    for path in ["/", "/health", "/ready", "/openapi.json", "/asyncapi.json"] {
        assert_eq!(server.get(path).await.status, 200, "{path} says nothing of anybody");
    }
    let opened = Server::with(true, |settings| settings.open_metrics = true);
    opened.key("ann");
    assert_eq!(opened.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn answers_are_for_no_other_site_and_those_with_tokens_are_not_kept() {
    let server = Server::new();
    let made = server.post("/v1/streams", &spec("BTC/USDT")).await;
    let refused = server.get("/v1/nonsense").await;
    let health = server.get("/health").await;
    for (answer, kept) in [(made, "no-store"), (refused, "no-store"), (health, "")] {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(answer.header("cache-control"), kept);
    }
}

thread_local! {
    /// What this thread has logged. A subscriber for one thread alone would not do: whether a line is wanted is remembered for all threads.
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Logged;

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What this thread has logged since it was asked last.
fn logged() -> String {
    String::from_utf8(LOGGED.take()).expect("text")
}

#[tokio::test]
async fn ten_thousand_refused_strangers_are_a_few_lines_in_the_log() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Logged).init();
    let server = Server::new();
    let ann = server.key("ann");
    let router = router(Arc::clone(&server.state), Router::new());
    let long = format!("/v1/streams/{}", "x".repeat(15_000));
    for _ in 0..10_000 {
        let request = request("GET", &long).body(Body::empty()).expect("request");
        assert_eq!(router.clone().oneshot(request).await.expect("infallible").status(), 401);
    }
    let size = logged().len();
    assert!((1_000..100_000).contains(&size), "some are told, all are not: {size} bytes");
    let refused = request("GET", &long).header(header::AUTHORIZATION, format!("Bearer {}", ann.expose()));
    let refused = router.clone().oneshot(refused.body(Body::empty()).expect("request")).await;
    assert_eq!(refused.expect("infallible").status(), 404);
    let line = logged();
    assert!((1..1_000).contains(&line.len()), "a known caller's refusal is told, cut: {line}");
    server.clock.advance(Duration::from_secs(1));
    let stranger = request("GET", "/v1/streams").body(Body::empty()).expect("request");
    router.oneshot(stranger).await.expect("infallible");
    assert!(logged().contains("left_out=9990"), "the rest is counted");
}

#[tokio::test]
async fn whoever_asks_whether_it_is_ready_costs_one_look_a_second() {
    let server = Server::new();
    assert_eq!(server.get("/ready").await.status, 200);
    server.readiness.set(false);
    assert_eq!(server.get("/ready").await.status, 200, "what was found holds for a second");
    server.clock.advance(Duration::from_secs(1));
    assert_eq!(server.get("/ready").await.status, 503);
}
