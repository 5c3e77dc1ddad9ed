//! What clients are told beside events, and what they are answered.

use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::host::{Client, Host, STREAM, stream_topic};
use futures_util::SinkExt;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asked_for_nothing_gets_events_alone() {
    let host = Host::with(|config| config.limits.heartbeat = Duration::from_millis(1)).await;
    let mut client = host.stream("").await;
    host.publish(1).await;
    host.keep(&stream_topic(), r#""source":"okx","state":"stale""#).await;
    host.publish(2).await;
    assert_eq!(client.seqs(3).await, [1, 2, 3]);
    assert!(client.is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_come_in_their_place_and_again_with_a_resume() {
    let host = Host::start().await;
    let mut live = host.stream("&control=true").await;
    live.next_of("heartbeat").await;
    host.publish(2).await;
    host.keep(&stream_topic(), r#""source":"okx","state":"stale""#).await;
    host.publish(1).await;
    let epoch = host.epoch().await;
    let mut resumed = host.stream(&format!("&from={epoch}:2")).await;
    resumed.next_of("heartbeat").await;
    assert_eq!(live.seqs(2).await, [1, 2]);
    for client in [&mut live, &mut resumed] {
        let status = client.next().await;
        assert_eq!((status["type"].as_str(), status["after_seq"].as_u64()), (Some("status"), Some(2)));
        assert_eq!(
            (status["source"].as_str(), status["topic"].as_str()),
            (Some("okx"), Some(&*stream_topic()))
        );
        assert_eq!(client.seqs(1).await, [3]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_and_changes_nothing() {
    let host = Host::with(|config| config.limits.heartbeat = Duration::from_millis(1)).await;
    let mut client = host.stream("").await;
    client.say(r#"{"type":"ping","correlation_id":17}"#).await;
    let pong = client.next().await;
    assert_eq!((pong["type"].as_str(), pong["correlation_id"].as_u64()), (Some("pong"), Some(17)));
    assert!(client.is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_other_message_turns_control_on() {
    let host = Host::start().await;
    let mut client = host.stream("").await;
    client.say("what is this?").await;
    client.next_of("heartbeat").await;
    let error = client.next().await;
    assert_eq!((error["type"].as_str(), error["code"].as_str()), (Some("error"), Some("INVALID_MESSAGE")));
    client.say(r#"{"type":"refresh","token":"new","correlation_id":"a"}"#).await;
    let ack = client.next().await;
    assert_eq!((ack["type"].as_str(), ack["correlation_id"].as_str()), (Some("ack"), Some("a")));
    client.say(r#"{"type":"subscribe","channels":["trades"]}"#).await;
    assert_eq!(client.next().await["type"], "error", "one stream takes no filter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_subprotocol_turns_control_and_batches_on() {
    let host = Host::start().await;
    let url = host.url(&format!("/ws/{STREAM}"));
    let mut client = Client::connect(&url, Some("other, bond.v1")).await;
    assert_eq!(client.subprotocol.as_deref(), Some("bond.v1"));
    client.next_of("heartbeat").await;
    host.publish(1).await;
    assert_eq!(client.next().await[0]["seq"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_go_on() {
    let host = Host::with(|config| config.limits.heartbeat = Duration::from_millis(1)).await;
    let mut client = host.stream("&control=true").await;
    for number in 1..=3 {
        let heartbeat = client.next_of("heartbeat").await;
        assert_eq!(
            (heartbeat["seq_internal"].as_u64(), heartbeat["exchange"].as_str()),
            (Some(number), Some("system"))
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_start_is_live_and_an_error_where_control_is_on() {
    let host = Host::start().await;
    host.publish(1).await;
    let mut quiet = host.stream("&from=yesterday").await;
    let mut told = host.stream("&from=yesterday&control=true").await;
    assert_eq!(told.next_of("error").await["code"], "INVALID_MESSAGE");
    host.publish(1).await;
    assert_eq!(quiet.seqs(1).await, [2]);
    assert_eq!(told.seqs(1).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_pieces_is_one_message() {
    let host = Host::start().await;
    let mut client = host.stream("").await;
    let piece =
        |text: &'static str, opcode, last| Message::Frame(Frame::message(text, OpCode::Data(opcode), last));
    client.socket.send(piece(r#"{"type":"#, Data::Text, false)).await.expect("send");
    client.socket.send(Message::Ping("between".into())).await.expect("send");
    client.socket.send(piece(r#""ping"}"#, Data::Continue, true)).await.expect("send");
    assert_eq!(client.frame().await, Message::Pong("between".into()));
    assert_eq!(client.next().await["type"], "pong");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_talks_too_much_is_told_and_kept() {
    let host = Host::start().await;
    let mut client = host.stream("").await;
    for _ in 0..150 {
        client.say(r#"{"type":"ping"}"#).await;
    }
    assert_eq!(client.next_of("error").await["code"], "RATE_LIMIT_EXCEEDED");
    host.publish(1).await;
    client.next_of("trade").await;
}
