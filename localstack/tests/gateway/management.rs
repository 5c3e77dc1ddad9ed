//! `@connections`.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::{Gateway, close_code, eventually, outcome, text};

fn gone() -> (u16, String) {
    (410, "GoneException".to_owned())
}

fn limited() -> (u16, String) {
    (429, "LimitExceededException".to_owned())
}

#[tokio::test]
async fn a_post_reaches_its_client() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    assert_eq!(gateway.post(&id, "ä").await, (200, String::new()));
    assert_eq!(text(&mut socket).await, "ä");
}

#[tokio::test]
async fn a_post_to_nobody_is_gone() {
    let gateway = Gateway::start(json!({})).await;
    assert_eq!(gateway.post("AAAAAAAAAAAAAAA=", "a").await, gone());
    let socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    drop(socket);
    gateway.disconnected(&id).await;
    assert_eq!(gateway.post(&id, "a").await, gone());
    assert_eq!(gateway.stats().await["posts"]["gone"], 2);
}

#[tokio::test]
async fn a_post_within_connect_is_gone() {
    let gateway = Gateway::start(json!({})).await;
    let (_socket, _) = gateway.try_connect("?do=post", &[]).await.unwrap();
    assert_eq!(gateway.stats().await["posts"]["gone"], 1);
    let id = gateway.only_connection().await;
    assert_eq!(gateway.post(&id, "a").await.0, 200);
}

#[tokio::test]
async fn a_message_of_more_than_32_kb_goes_in_frames() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    let longest = "x".repeat(128 * 1024);
    assert_eq!(gateway.post(&id, longest.clone()).await.0, 200);
    assert_eq!(text(&mut socket).await, longest);
    let sent = &gateway.stats().await["sent"];
    assert_eq!((&sent["frames"], &sent["billed"], &sent["messages"]), (&json!(4), &json!(4), &json!(1)));
    assert_eq!(gateway.post(&id, format!("{longest}x")).await, (413, "PayloadTooLargeException".to_owned()));
}

#[tokio::test]
async fn a_post_is_text() {
    let gateway = Gateway::start(json!({})).await;
    let _socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    assert_eq!(gateway.post(&id, vec![0xff]).await.0, 400);
}

#[tokio::test]
async fn a_request_has_to_be_signed() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    let path = format!("/v1/@connections/{}", id.replace('=', "%3D"));
    for method in ["POST", "GET", "DELETE"] {
        let missing = gateway.request(method, &path).send().await.unwrap();
        assert_eq!(outcome(&missing), (403, "MissingAuthenticationTokenException".to_owned()), "{method}");
        let foreign = gateway.signed(method, &path, "lambda").send().await.unwrap();
        assert_eq!(outcome(&foreign), (403, "IncompleteSignatureException".to_owned()), "{method}");
    }
    assert_eq!(gateway.post(&id, "still here").await.0, 200);
    assert_eq!(text(&mut socket).await, "still here");
}

#[tokio::test]
async fn a_connection_is_described() {
    let gateway = Gateway::start(json!({})).await;
    let _socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    let response = gateway.connection("GET", &id).send().await.unwrap();
    let description: Value = response.json().await.unwrap();
    assert_eq!(description["identity"]["sourceIp"], "127.0.0.1");
    assert!(description["connectedAt"].as_str().unwrap().ends_with('Z'), "{description}");
    assert_eq!(outcome(&gateway.connection("GET", "AAAAAAAAAAAAAAA=").send().await.unwrap()), gone());
}

#[tokio::test]
async fn a_deleted_connection_is_closed_and_told() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    assert_eq!(gateway.connection("DELETE", &id).send().await.unwrap().status(), 204);
    assert_eq!(close_code(&mut socket).await, 1000);
    gateway.disconnected(&id).await;
    assert_eq!(outcome(&gateway.connection("DELETE", &id).send().await.unwrap()), gone());
}

#[tokio::test]
async fn the_accounts_quota_is_a_bucket_of_half_a_second() {
    let gateway = Gateway::start(json!({"account_posts_per_second": 1})).await;
    let _socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    assert_eq!(gateway.post(&id, "a").await.0, 200);
    assert_eq!(gateway.post(&id, "a").await, limited());
    assert_eq!(gateway.stats().await["posts"]["quota"], 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_refused_alone_and_heard_again_once_it_reads() {
    let gateway = Gateway::start(json!({})).await;
    let mut slow = gateway.connect().await;
    let slow_id = gateway.only_connection().await;
    let mut other = gateway.connect().await;
    let other_id = gateway.connections().await.into_iter().find(|id| *id != slow_id).unwrap();
    let large = "x".repeat(64 * 1024);
    let mut sent = 0;
    while gateway.post(&slow_id, large.clone()).await.0 == 200 {
        sent += 1;
        assert!(sent < 30, "2 MB wait for a client that does not read");
    }
    assert_eq!(gateway.post(&slow_id, large.clone()).await, limited());
    assert_eq!(gateway.post(&other_id, "b").await.0, 200);
    assert_eq!(text(&mut other).await, "b");
    for _ in 0..sent {
        assert_eq!(text(&mut slow).await.len(), large.len());
    }
    eventually("a post that is taken", async || (gateway.post(&slow_id, "c").await.0 == 200).then_some(()))
        .await;
    assert_eq!(text(&mut slow).await, "c");
}

#[tokio::test]
async fn a_client_that_does_not_read_can_be_closed() {
    let gateway = Gateway::start(json!({})).await;
    let _slow = gateway.connect().await;
    let id = gateway.only_connection().await;
    while gateway.post(&id, "x".repeat(64 * 1024)).await.0 == 200 {}
    assert_eq!(gateway.connection("DELETE", &id).send().await.unwrap().status(), 204);
    gateway.disconnected(&id).await;
}

#[tokio::test]
async fn a_post_takes_its_time() {
    let gateway = Gateway::start(json!({"post_ms": 50})).await;
    let _socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    let begun = Instant::now();
    gateway.post(&id, "a").await;
    assert!(begun.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_silent_end_is_told_to_nobody() {
    let gateway = Gateway::start(json!({})).await;
    let mut socket = gateway.connect().await;
    let id = gateway.only_connection().await;
    let path = format!("/_admin/connections/{}?silent=true", id.replace('=', "%3D"));
    assert_eq!(gateway.request("DELETE", &path).send().await.unwrap().status(), 204);
    assert!(socket.next().await.unwrap().is_err());
    assert_eq!(gateway.post(&id, "a").await, gone());
    let closed = async || (gateway.stats().await["connections"]["closed"] == 1).then_some(());
    eventually("the end", closed).await;
    assert_eq!(gateway.stats().await["functions"]["probe"]["invocations"], 1);
}
