//! Clients that send too much, too little or nothing, beside one that does neither.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::host::{Client, Host, until};

/// A host with one worker, which all clients share.
async fn host(change: impl FnOnce(&mut crate::ws::Limits)) -> Host {
    Host::with(|config| {
        config.workers = 1;
        change(&mut config.limits);
    })
    .await
}

/// Sends `frames` until the server has closed, and returns the code it closed with.
pub(crate) async fn flood(client: Client, frame: impl Fn(u32) -> Message + Send + 'static) -> u16 {
    let (mut sink, mut source) = client.socket.split();
    #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
    let sending = tokio::spawn(async move {
        for number in 0_u32.. {
            if sink.send(frame(number)).await.is_err() {
                return;
            }
        }
    });
    let closed = loop {
        match tokio::time::timeout(Duration::from_secs(20), source.next()).await.expect("closed in time") {
            Some(Ok(Message::Close(Some(close)))) => break close.code.into(),
            Some(Ok(_)) => {}
            // The close may be lost where the server resets a socket with bytes that nobody read.
            Some(Err(_)) | None => break 0,
        }
    };
    sending.abort();
    closed
}

pub(crate) fn fragment(number: u32) -> Message {
    let opcode = if number == 0 { Data::Text } else { Data::Continue };
    Message::Frame(Frame::message(Vec::new(), OpCode::Data(opcode), false))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_floods_is_sent_away_whatever_with_and_others_are_served() {
    let host = host(|_| {}).await;
    let mut other = host.stream("&control=true").await;
    other.next_of("heartbeat").await;
    let kinds: [fn(u32) -> Message; 4] = [
        |_| Message::Ping(Vec::new().into()),
        |_| Message::Pong(Vec::new().into()),
        |_| Message::text("{}"),
        fragment,
    ];
    for kind in kinds {
        let code = flood(host.stream("").await, kind).await;
        assert!([1008, 0].contains(&code), "{code}");
        assert!(other.is_quiet().await);
    }
    until(|| host.fanout.stats().connections == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_too_much_is_told_a_few_times_and_then_sent_away() {
    let host = host(|_| {}).await;
    let mut client = host.stream("&control=true").await;
    for _ in 0..199 {
        client.say(r#"{"type":"ping"}"#).await;
    }
    let mut refused = 0;
    client.socket.send(Message::Ping(Vec::new().into())).await.expect("send");
    loop {
        match client.frame().await {
            Message::Text(text) => refused += usize::from(text.contains("RATE_LIMIT_EXCEEDED")),
            Message::Pong(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 8);
    client.say(r#"{"type":"ping"}"#).await;
    let (code, reason) = client.closed().await;
    assert_eq!((code, reason.as_str()), (1008, "RATE_LIMIT_EXCEEDED: 20 messages a second are taken"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_held_to_their_bytes_as_well() {
    let host = host(|_| {}).await;
    let mut client = host.stream("&control=true").await;
    let long = "x".repeat(60_000);
    for _ in 0..40 {
        client.say(&long).await;
    }
    loop {
        let error = client.next_of("error").await;
        if error["code"] == "RATE_LIMIT_EXCEEDED" {
            assert!(error["message"].as_str().is_some_and(|text| text.contains("256 KiB")), "{error}");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_begun_and_not_ended_is_waited_for_so_long() {
    let host = host(|limits| limits.unfinished = Duration::from_millis(300)).await;
    let mut begun = host.stream("").await;
    begun.socket.send(fragment(0)).await.expect("send");
    assert_eq!(begun.closed().await.0, 1008);
    let mut whole = host.stream("").await;
    assert!(whole.is_quiet().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_no_sign_of_life_is_pinged_twice_and_then_sent_away() {
    let host = host(|limits| limits.silence = Duration::from_millis(200)).await;
    let mut lively = host.stream("").await;
    let mut pings = 0;
    let mut dead = super::lifecycle::deaf(&host, "").await;
    let mut frames = Vec::new();
    // It reads, but never answers; the other one answers as it reads.
    tokio::select! {
        _ = tokio::io::AsyncReadExt::read_to_end(&mut dead, &mut frames) => {}
        () = async { while let Message::Ping(_) = lively.frame().await { pings += 1; } } => panic!("no ping"),
    }
    let pinged = frames.windows(2).filter(|frame| *frame == [0x89, 0]).count();
    assert_eq!(pinged, 2, "{frames:?}");
    assert!(frames.windows(2).any(|code| code == 4009_u16.to_be_bytes()), "{frames:?}");
    assert!(pings >= 2);
    until(|| host.fanout.stats().connections == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_that_breaks_the_rules_is_answered_so() {
    let host = host(|_| {}).await;
    let cases: [(&[u8], u16); 4] =
        [(&[3], 1002), (&[3, 0xE7], 1002), (&[0x13, 0x88], 1002), (&[3, 0xE8, 0xFF], 1007)];
    for (payload, code) in cases {
        let mut client = host.stream("").await;
        let header = FrameHeader { opcode: OpCode::Control(Control::Close), ..FrameHeader::default() };
        let close = Frame::from_payload(header, payload.to_vec().into());
        client.socket.send(Message::Frame(close)).await.expect("send");
        assert_eq!(client.closed().await.0, code, "{payload:?}");
    }
}
