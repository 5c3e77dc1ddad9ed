//! The WebSocket API's rules.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::{Gateway, PATIENCE, Socket, close_code, close_frame, is_disconnect, probe, send, text};

const MINUTE: Duration = Duration::from_secs(60);

fn with_replies() -> Value {
    json!({"route_responses": ["$default"]})
}

/// The status with which a handshake is refused, and the length of what comes with it.
async fn refused(gateway: &Gateway, query: &str) -> (u16, usize) {
    match gateway.try_connect(query, &[]).await {
        Err(Error::Http(response)) => {
            (response.status().as_u16(), response.body().as_ref().map_or(0, Vec::len))
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn connect_is_told_who_asks_for_what() {
    let gateway = Gateway::start(json!({})).await;
    let (_socket, _) =
        gateway.try_connect("?stream=a&x=1&x=2", &[("x-api-key", "k"), ("user-agent", "me")]).await.unwrap();
    let event = &gateway.events().await[0];
    assert_eq!(event["queryStringParameters"], json!({"stream": "a", "x": "2"}));
    assert_eq!(event["multiValueQueryStringParameters"], json!({"stream": ["a"], "x": ["1", "2"]}));
    assert_eq!(
        (&event["headers"]["X-Api-Key"], &event["headers"]["Sec-WebSocket-Version"]),
        (&json!("k"), &json!("13"))
    );
    let context = &event["requestContext"];
    assert_eq!(
        (&context["routeKey"], &context["eventType"], &context["stage"]),
        (&json!("$connect"), &json!("CONNECT"), &json!("v1"))
    );
    assert_eq!(context["identity"], json!({"sourceIp": "127.0.0.1", "userAgent": "me"}));
    assert_eq!(
        (&context["domainName"], &context["connectedAt"]),
        (&json!("127.0.0.1"), &context["requestTimeEpoch"])
    );
    assert_eq!(context["connectionId"], gateway.only_connection().await.as_str());
}

#[tokio::test]
async fn connect_refuses_with_its_status_and_without_a_body() {
    let gateway = Gateway::start(json!({})).await;
    assert_eq!(refused(&gateway, "?status=401").await, (401, 0));
    assert_eq!(refused(&gateway, "?status=403").await, (403, 0));
    assert_eq!(refused(&gateway, "?do=fail").await, (502, 0));
    assert_eq!(refused(&gateway, "?do=malformed").await, (502, 0));
    // Nobody is told the end of what never began.
    assert!(!gateway.events().await.iter().any(is_disconnect));
    assert_eq!(
        gateway.stats().await["connections"],
        json!({"opened": 0, "refused": 4, "closed": 0, "open": 0})
    );
}

#[tokio::test]
async fn a_subprotocol_is_agreed_on_by_the_function_alone() {
    let gateway = Gateway::start(json!({})).await;
    let offer = [("sec-websocket-protocol", "bond.v1")];
    let (_socket, response) = gateway.try_connect("?protocol=bond.v1", &offer).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "bond.v1");
    let silent = gateway.try_connect("", &offer).await;
    assert!(matches!(silent, Err(Error::Protocol(_))), "{silent:?}");
}

#[tokio::test]
async fn connect_sends_nothing_to_the_client() {
    let gateway = Gateway::start(json!({"route_responses": ["$connect", "$default"]})).await;
    let mut socket = gateway.connect().await;
    send(&mut socket, r#"{"type": "ping"}"#).await;
    let first: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    assert_eq!(first["type"], "pong");
}

#[tokio::test]
async fn a_message_is_answered_only_through_a_route_response() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    send(&mut socket, "not json").await;
    gateway.events_once(|events| events.len() == 2).await;
    send(&mut socket, r#"{"type": "ping"}"#).await;
    assert!(text(&mut socket).await.contains("pong"));

    let gateway = Gateway::start(with_replies()).await;
    let mut socket = gateway.connect().await;
    send(&mut socket, r#"{"type": "other", "n": 1}"#).await;
    let event: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    assert_eq!(event["body"], r#"{"type": "other", "n": 1}"#);
    assert_eq!((&event["headers"], &event["requestContext"]["eventType"]), (&Value::Null, &json!("MESSAGE")));
    assert_eq!(event["requestContext"]["routeKey"], "$default");
}

#[tokio::test]
async fn a_failed_integration_is_told_without_a_reason() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    for order in ["fail", "malformed", "exit"] {
        send(&mut socket, &json!({"do": order}).to_string()).await;
        let answer: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
        assert_eq!(
            (&answer["message"], &answer["connectionId"]),
            (&json!("Internal server error"), &json!(id))
        );
        let mut members: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["connectionId", "message", "requestId"]);
    }
}

#[tokio::test]
async fn messages_of_one_client_are_handled_at_once() {
    let gateway = Gateway::start(with_replies()).await;
    let mut socket = gateway.connect().await;
    send(&mut socket, r#"{"sleep_ms": 1000, "n": "slow"}"#).await;
    send(&mut socket, r#"{"n": "fast"}"#).await;
    let replies = [text(&mut socket).await, text(&mut socket).await];
    assert!(replies[0].contains("fast") && replies[1].contains("slow"), "{replies:?}");
}

async fn send_fragments(socket: &mut Socket, bytes: usize, of: usize) {
    for start in (0..bytes).step_by(of) {
        let length = of.min(bytes - start);
        let code = OpCode::Data(if start == 0 { Data::Text } else { Data::Continue });
        let frame = Frame::message(vec![b'x'; length], code, start + length == bytes);
        // The simulator may close before it has taken all.
        let _ = socket.send(Message::Frame(frame)).await;
    }
}

#[tokio::test]
async fn a_frame_has_at_most_32_kb() {
    let gateway = Gateway::start(with_replies()).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    send(&mut socket, &"x".repeat(32 * 1024)).await;
    assert!(text(&mut socket).await.contains("xxx"));
    send(&mut socket, &"x".repeat(32 * 1024 + 1)).await;
    assert_eq!(close_code(&mut socket).await, 1009);
    assert_eq!(gateway.disconnected(&id).await["disconnectStatusCode"], 1009);
}

#[tokio::test]
async fn a_message_has_at_most_128_kb() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    send_fragments(&mut socket, 128 * 1024, 32 * 1024).await;
    let events = gateway.events_once(|events| events.len() == 2).await;
    assert_eq!(events[1]["body"].as_str().unwrap().len(), 128 * 1024);
    send_fragments(&mut socket, 128 * 1024 + 1, 32 * 1024).await;
    assert_eq!(close_code(&mut socket).await, 1009);
}

#[tokio::test]
async fn a_binary_frame_ends_the_connection() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    socket.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 1003);
}

#[tokio::test]
async fn an_idle_connection_ends_after_10_minutes() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    gateway.advance(9 * MINUTE).await;
    // Unanswered, so that only what the client sends keeps it.
    send(&mut socket, "x").await;
    gateway.events_once(|events| events.len() == 2).await;
    gateway.advance(9 * MINUTE).await;
    assert_eq!(gateway.post(&id, "a").await.0, 200);
    gateway.advance(9 * MINUTE).await;
    assert_eq!(gateway.only_connection().await, id);
    gateway.advance(MINUTE).await;
    let frame = close_frame(&mut socket).await;
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1001, "Idle timeout"));
    let context = gateway.disconnected(&id).await;
    assert_eq!(
        (&context["disconnectStatusCode"], &context["disconnectReason"]),
        (&json!(1001), &json!("Idle timeout"))
    );
}

#[tokio::test]
async fn a_connection_ends_after_2_hours_however_busy() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    for _ in 0..13 {
        gateway.advance(9 * MINUTE).await;
        assert_eq!(gateway.post(&id, "a").await.0, 200);
    }
    gateway.advance(3 * MINUTE).await;
    let frame = close_frame(&mut socket).await;
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1001, "Going away"));
}

#[tokio::test]
async fn events_follow_the_virtual_clock() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    gateway.advance(9 * MINUTE).await;
    send(&mut socket, "x").await;
    let events = gateway.events_once(|events| events.len() == 2).await;
    let at = |event: &Value| event["requestContext"]["requestTimeEpoch"].as_u64().unwrap();
    assert!(at(&events[1]) - at(&events[0]) >= 9 * 60_000, "{events:?}");
    assert_eq!(events[1]["requestContext"]["connectedAt"], at(&events[0]));
}

#[tokio::test]
async fn disconnect_is_told_the_clients_code() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    let frame = CloseFrame { code: CloseCode::Library(4001), reason: "enough".into() };
    socket.close(Some(frame)).await.unwrap();
    let context = gateway.disconnected(&id).await;
    assert_eq!(
        (&context["disconnectStatusCode"], &context["disconnectReason"]),
        (&json!(4001), &json!("enough"))
    );
    assert_eq!(gateway.connections().await, Vec::<String>::new());
}

#[tokio::test]
async fn disconnect_is_told_of_a_client_that_is_gone_without_a_word() {
    let gateway = Gateway::start(json!({})).await;
    let socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    drop(socket);
    assert_eq!(gateway.disconnected(&id).await["disconnectStatusCode"], 1006);
}

#[tokio::test]
async fn without_a_route_a_message_is_forbidden() {
    let gateway = Gateway::start(json!({"routes": {}})).await;
    let mut socket = gateway.connect().await;
    send(&mut socket, "x").await;
    let answer: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    assert_eq!(answer["message"], "Forbidden");
}

#[tokio::test]
async fn messages_beyond_the_concurrency_fail() {
    let gateway = Gateway::start(json!({"functions": {"probe": probe(json!({"concurrency": 1}))}})).await;
    let mut socket = gateway.connect().await;
    send(&mut socket, r#"{"sleep_ms": 500}"#).await;
    gateway.events_once(|events| events.len() == 2).await;
    send(&mut socket, "{}").await;
    assert!(text(&mut socket).await.contains("Internal server error"));
}

/// Pings at 2,000 a second for a second and a half, unheard; then what another client that comes meets.
async fn connect_beside_a_flood(gateway: &Gateway) -> Result<(), Error> {
    let mut flooder = gateway.connect().await;
    let flood = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..150 {
            ticks.tick().await;
            for _ in 0..20 {
                flooder.feed(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
            }
            flooder.flush().await.unwrap();
        }
        flooder
    });
    tokio::time::timeout(PATIENCE, async {
        while gateway.stats().await["throttled"].as_u64() < Some(100) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the flood meets its limit");
    let connected = gateway.try_connect("", &[]).await.map(drop);
    flood.await.unwrap();
    connected
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_flooded_leaves_the_others_their_room() {
    let limits = json!({"ping": {"rate": 200, "burst": 200}, "$connect": {"rate": 200, "burst": 400}});
    let gateway = Gateway::start(json!({"throttles": {"webSockets": limits}})).await;
    connect_beside_a_flood(&gateway).await.expect("connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_routes_share_a_limit_a_flood_on_one_shuts_the_others() {
    let limits = json!({"*": {"rate": 1, "burst": 200}});
    let gateway = Gateway::start(json!({"throttles": {"webSockets": limits}})).await;
    let refused = connect_beside_a_flood(&gateway).await;
    assert!(matches!(refused, Err(Error::Http(response)) if response.status() == 429));
}

#[tokio::test]
async fn a_message_beyond_its_routes_limit_is_told_so_and_reaches_no_function() {
    let limits = json!({"$default": {"rate": 1, "burst": 1}});
    let gateway =
        Gateway::start(json!({"route_responses": ["$default"], "throttles": {"webSockets": limits}})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    send(&mut socket, r#"{"n": 1}"#).await;
    assert!(text(&mut socket).await.contains("MESSAGE"));
    send(&mut socket, r#"{"n": 2}"#).await;
    let answer: Value = serde_json::from_str(&text(&mut socket).await).unwrap();
    assert_eq!((&answer["message"], &answer["connectionId"]), (&json!("Too Many Requests"), &json!(id)));
    assert!(answer["requestId"].is_string());
    assert_eq!(gateway.events().await.len(), 2);
}

#[tokio::test]
async fn many_clients_connect_at_once() {
    let gateway =
        Gateway::start(json!({"functions": {"probe": probe(json!({"concurrency": 100}))}, "routes": {}}))
            .await;
    let sockets = join_all((0..100).map(|_| gateway.connect())).await;
    assert_eq!((sockets.len(), gateway.connections().await.len()), (100, 100));
}

#[tokio::test]
async fn frames_that_reach_no_route_are_taken_at_a_pace() {
    let gateway = Gateway::start(json!({})).await;
    let (mut socket, begun) = (gateway.connect().await, Instant::now());
    for _ in 0..700 {
        socket.feed(Message::Ping(Vec::new().into())).await.unwrap();
    }
    socket.send(Message::Ping(b"last".to_vec().into())).await.unwrap();
    let is_last = |message: Message| message == Message::Pong(b"last".to_vec().into());
    while !tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().is_ok_and(is_last) {}
    // A burst of 400 and then 200 a second.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}
