//! Against a scripted `@connections` on loopback: what each answer is taken for.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::*;
use crate::Aws;

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Act {
    Answer(u16, &'static str),
    /// Never answers.
    Hang,
}

const OK: Act = Act::Answer(200, "");
const LIMIT: Act = Act::Answer(429, "LimitExceededException");

/// A request as it came: method, connection, body, and whether it was signed for this service.
#[derive(Debug, PartialEq, Eq)]
struct Seen(&'static str, String, String, bool);

#[derive(Clone, Default)]
struct Script {
    acts: Arc<Mutex<VecDeque<Act>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Script {
    fn bodies(&self) -> Vec<String> {
        self.seen.lock().iter().map(|Seen(_, _, body, _)| body.clone()).collect()
    }
}

async fn play(
    State(script): State<Script>,
    method: Method,
    Path(connection): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let method = ["GET", "POST", "DELETE"].into_iter().find(|name| *name == method.as_str()).expect("method");
    let authorization =
        headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = authorization.contains("/eu-central-1/execute-api/aws4_request");
    script.seen.lock().push(Seen(method, connection, body, signed));
    let act = script.acts.lock().pop_front();
    match act.unwrap_or(OK) {
        Act::Answer(status, error) => {
            let status = StatusCode::from_u16(status).expect("status");
            (status, [("x-amzn-errortype", format!("{error}:http://docs/"))]).into_response()
        }
        Act::Hang => std::future::pending().await,
    }
}

/// A gateway whose posts meet these acts in turn, then 200.
async fn gateway(acts: impl IntoIterator<Item = Act>) -> (ApiGateway, Script) {
    let script = Script::default();
    script.acts.lock().extend(acts);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/live", listener.local_addr().expect("address"));
    let app = Router::new().route("/live/@connections/{id}", any(play)).with_state(script.clone());
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(axum::serve(listener, app).into_future());
    let aws = Aws::for_tests("http://127.0.0.1:9").await;
    (aws.api_gateway(&url, 100_000).expect("gateway"), script)
}

fn messages<const N: usize>(texts: [&'static str; N]) -> [Bytes; N] {
    texts.map(Bytes::from)
}

fn connection() -> ConnectionId {
    ConnectionId::new("L0SM9cOFvHcCIhw=")
}

fn stopped(taken: usize, stop: Stop) -> Delivery {
    Delivery { taken, stop: Some(stop) }
}

#[tokio::test]
async fn messages_go_one_by_one_signed_and_in_order() {
    let (gateway, script) = gateway([]).await;
    let delivery = gateway.deliver(&connection(), &messages(["1", "2", "3"]), 0).await;
    assert_eq!(delivery, Delivery { taken: 3, stop: None });
    let seen = |body: &str| Seen("POST", "L0SM9cOFvHcCIhw=".into(), body.into(), true);
    assert_eq!(*script.seen.lock(), [seen("1"), seen("2"), seen("3")]);
}

#[tokio::test]
async fn batches_go_as_arrays_and_are_taken_whole() {
    let (gateway, script) = gateway([OK, Act::Answer(410, "GoneException")]).await;
    let delivery = gateway.deliver(&connection(), &messages(["1", "2", "3", "4", "5"]), 2).await;
    assert_eq!(delivery, stopped(2, Stop::Gone), "the first batch was taken, the second was not");
    assert_eq!(script.bodies(), ["[1,2]", "[3,4]"], "nothing is sent past what was not taken");
}

#[tokio::test]
async fn every_refusal_stops_and_says_why() {
    let refusals = [
        (410, "GoneException", Stop::Gone),
        (413, "PayloadTooLargeException", Stop::TooLarge),
        (429, "LimitExceededException", Stop::Slow),
        (429, "TooManyRequestsException", Stop::Quota),
        (403, "ForbiddenException", Stop::Failed),
        (500, "InternalServerError", Stop::Failed),
    ];
    for (status, error, stop) in refusals {
        let (gateway, script) = gateway([OK, Act::Answer(status, error)]).await;
        let delivery = gateway.deliver(&connection(), &messages(["1", "2", "3"]), 0).await;
        assert_eq!(delivery, stopped(1, stop), "{status} {error}");
        assert_eq!(script.bodies(), ["1", "2"], "{status}: not repeated");
    }
}

#[tokio::test]
async fn refusals_of_many_connections_at_once_are_the_quota() {
    let (gateway, _script) = gateway([LIMIT; 6]).await;
    let mut stops = Vec::new();
    for n in 0..6 {
        let delivery = gateway.deliver(&ConnectionId::new(format!("c{n}")), &messages(["1"]), 0).await;
        stops.extend(delivery.stop);
    }
    assert_eq!(stops, [Stop::Slow, Stop::Slow, Stop::Slow, Stop::Quota, Stop::Quota, Stop::Quota]);
}

#[tokio::test]
async fn a_message_that_fits_no_post_is_not_sent() {
    let (gateway, script) = gateway([]).await;
    let run = [Bytes::from_static(b"1"), Bytes::from(vec![b'1'; MESSAGE_BYTES + 1])];
    assert_eq!(gateway.deliver(&connection(), &run, 0).await, stopped(1, Stop::TooLarge));
    assert_eq!(script.bodies(), ["1"]);
}

#[tokio::test]
async fn a_deadline_ends_a_post_and_leaves_its_outcome_open() {
    let (gateway, script) = gateway([Act::Hang]).await;
    let deadline = Instant::now() + Duration::from_millis(200);
    let delivery = gateway.until(deadline).deliver(&connection(), &messages(["1", "2"]), 0).await;
    assert_eq!(delivery, stopped(0, Stop::Deadline));
    assert!(Instant::now() >= deadline, "it had all its time");
    let late = gateway.until(deadline).deliver(&connection(), &messages(["2"]), 0).await;
    assert_eq!(late, stopped(0, Stop::Quota), "there is no turn after it");
    assert!(!script.bodies().contains(&"2".to_owned()), "and nothing is sent after it");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failure() {
    let aws = Aws::for_tests("http://127.0.0.1:9").await;
    let gateway = aws.api_gateway("http://127.0.0.1:9/live", 100).expect("gateway");
    assert_eq!(gateway.deliver(&connection(), &messages(["1"]), 0).await, stopped(0, Stop::Failed));
    assert_eq!(gateway.is_open(&connection()).await, None);
}

#[tokio::test]
async fn connections_are_closed_and_asked_for() {
    let gone = Act::Answer(410, "GoneException");
    let (gateway, script) = gateway([OK, gone, gone, Act::Answer(500, ""), OK]).await;
    gateway.close(&connection()).await;
    gateway.close(&connection()).await;
    assert_eq!(gateway.is_open(&connection()).await, Some(false));
    assert_eq!(gateway.is_open(&connection()).await, None, "an error tells nothing");
    assert_eq!(gateway.is_open(&connection()).await, Some(true));
    let seen = ["DELETE", "DELETE", "GET", "GET", "GET"]
        .map(|method| Seen(method, "L0SM9cOFvHcCIhw=".into(), String::new(), true));
    assert_eq!(*script.seen.lock(), seen, "once each, signed");
}

#[tokio::test]
async fn a_deadline_ends_closing_and_asking_too() {
    let (gateway, _script) = gateway([Act::Hang, Act::Hang]).await;
    let gateway = gateway.until(Instant::now() + Duration::from_millis(200));
    gateway.close(&connection()).await;
    assert_eq!(gateway.is_open(&connection()).await, None);
}

#[tokio::test]
async fn a_callback_url_must_be_one() {
    let aws = Aws::for_tests("http://127.0.0.1:9").await;
    for url in ["", "live", "/live", "https://"] {
        assert!(aws.api_gateway(url, 1).is_err(), "{url}");
    }
}
