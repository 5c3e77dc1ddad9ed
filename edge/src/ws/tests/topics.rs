//! Topics by name: snapshots, resumes, filters, thinning, and what clients are told.

use std::time::Duration;

use bond_core::log::EventKind;
use bond_core::topic::Topic;
use serde_json::Value;

use super::host::{Client, Host, until};

const TOPIC: &str = "prices.X";

fn subscribe(rest: &str) -> String {
    format!(r#"{{"type":"subscribe","topic":"{TOPIC}"{rest}}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_begins_with_the_state_and_goes_on_live() {
    let host = Host::start().await;
    host.delta(TOPIC, r#"{"bid":99.40,"ask":100.5}"#).await;
    host.delta(TOPIC, r#"{"ask":null,"last":1.0}"#).await;
    for path in ["/ws/market/X", "/api/v1/ws/market/X"] {
        let mut client = host.connect(&format!("{path}?token=user:u1")).await;
        let snapshot = client.next().await;
        assert_eq!((&snapshot["type"], &snapshot["seq"]), (&"snapshot".into(), &2.into()));
        assert_eq!(snapshot["payload"].to_string(), r#"{"bid":99.4,"last":1.0}"#);
        assert_eq!(snapshot["meta"]["synthetic"], true);
        host.delta(TOPIC, r#"{"bid":98}"#).await;
        let delta = client.next().await;
        assert_eq!((&delta["type"], &delta["payload"]["bid"]), (&"delta".into(), &98.into()));
        host.publish_to(TOPIC, r#"{"type":"snapshot","payload":{"bid":99.40,"last":1.0}}"#).await;
        client.next_of("snapshot").await;
        host.delta(TOPIC, r#"{"back":null}"#).await;
        host.publish_to(TOPIC, r#"{"type":"delta","payload":{}}"#).await;
        // Two further numbers, so that both paths begin at an even one.
        host.end(TOPIC).await;
        host.delta(TOPIC, r#"{"bid":99.40,"ask":100.5}"#).await;
        host.delta(TOPIC, r#"{"ask":null,"last":1.0}"#).await;
        // Whoever comes next finds all of it.
        client.next_of("status").await;
        client.next_of("delta").await;
        client.next_of("delta").await;
    }
    let mut quiet = host.connect("/ws/auction/nobody?token=user:u1").await;
    quiet.say(r#"{"type":"subscribe","topic":"auctions.nobody"}"#).await;
    // Nothing before the answer: there is no state.
    quiet.tells(["ack subscribe 0/0"]).await;
    host.delta("auctions.nobody", "1").await;
    quiet.tells(["delta 1 1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_answered_by_where_it_stands_then_the_state_then_events() {
    let host = Host::start().await;
    let mut client = host.connect("/ws").await;
    client.say(&subscribe(r#","correlation_id":"c1""#)).await;
    let ack = client.next().await;
    assert_eq!((&ack["type"], &ack["seq"], &ack["correlation_id"]), (&"ack".into(), &0.into(), &"c1".into()));
    assert_eq!((&ack["success"], &ack["message"]), (&true.into(), &"Subscription successful".into()));
    assert_eq!(ack["rate_limits"]["burst"], 1000);
    host.delta(TOPIC, r#"{"a":1}"#).await;
    client.tells([r#"delta 1 {"a":1}"#]).await;
    client.say(&subscribe("")).await;
    client.tells(["ack subscribe 1/1"]).await;
    host.delta(TOPIC, r#"{"a":2}"#).await;
    client.tells([r#"delta 2 {"a":2}"#]).await;
    client.say(r#"{"type":"unsubscribe","topic":"prices.X"}"#).await;
    client.tells(["ack unsubscribe 2/2"]).await;
    host.delta(TOPIC, r#"{"a":3}"#).await;
    client.say(r#"{"type":"unsubscribe","topic":"prices.X"}"#).await;
    client.tells(["error NOT_FOUND"]).await;
    assert!(client.is_quiet().await, "nothing after the ack");
}

/// Events 1 to 120, of which the last hundred are kept once the ring is over; here all are.
async fn host_with_history() -> (Host, String) {
    let host = Host::start().await;
    for n in 1..=20 {
        host.delta(TOPIC, &format!(r#"{{"n":{n}}}"#)).await;
    }
    let topic: Topic = TOPIC.parse().expect("topic");
    use bond_core::log::EventLog;
    let epoch = host.log.head(&topic).await.expect("head").expect("history").epoch.to_string();
    (host, epoch)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_gets_what_follows_or_a_gap_and_the_state() {
    let (host, epoch) = host_with_history().await;
    let state = r#"snapshot 20 {"n":20}"#;
    for (rest, expected) in [
        (
            r#","resume_from_seq":18"#.to_owned(),
            vec!["ack subscribe 18/20", r#"delta 19 {"n":19}"#, r#"delta 20 {"n":20}"#],
        ),
        (r#","resume_from_seq":20"#.to_owned(), vec!["ack subscribe 20/20"]),
        (
            format!(r#","resume_from_seq":19,"epoch":"{epoch}""#),
            vec!["ack subscribe 19/20", r#"delta 20 {"n":20}"#],
        ),
        (
            r#","resume_from_seq":12345"#.to_owned(),
            vec!["ack subscribe 20/20", "gap null-20 epoch_changed", state],
        ),
        (
            r#","resume_from_seq":19,"epoch":"another""#.to_owned(),
            vec!["ack subscribe 20/20", "gap null-20 epoch_changed", state],
        ),
        (
            r#","rewind":2"#.to_owned(),
            vec!["ack subscribe 18/20", r#"delta 19 {"n":19}"#, r#"delta 20 {"n":20}"#],
        ),
        (String::new(), vec!["ack subscribe 20/20", state]),
    ] {
        let mut client = host.connect("/ws").await;
        client.say(&subscribe(&rest)).await;
        for expected in expected {
            assert_eq!(client.told().await, expected, "of {rest}");
        }
        assert!(client.is_quiet().await, "nothing more of {rest}");
    }
    let mut client = host.connect("/ws/market/X?token=user:u1&resume_from_seq=19").await;
    client.tells([r#"delta 20 {"n":20}"#]).await;
    client.say(&subscribe(r#","resume_from_seq":18"#)).await;
    client.tells(["ack subscribe 18/20", r#"delta 19 {"n":19}"#, r#"delta 20 {"n":20}"#]).await;
    let mut two = host.connect("/ws?topic=prices.X,prices.Y&resume_from_seq=19").await;
    two.tells(["error INVALID_MESSAGE", state]).await;
    let mut none = host.connect("/ws?topic=prices.Z&resume_from_seq=7").await;
    none.tells(["gap null-0 epoch_changed"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_lets_through_what_it_names_and_alerts_and_unmarked_events_always() {
    let host = Host::start().await;
    let mut client = host.connect("/ws").await;
    client.say(&subscribe(r#","subtopics":{"levels":"L1","trades":true}"#)).await;
    client.tells(["ack subscribe 0/0"]).await;
    for (kind, subtopic) in [("delta", "L1"), ("delta", "L2"), ("delta", "trades"), ("alert", "L2")] {
        let event = format!(r#"{{"type":"{kind}","payload":1,"meta":{{"subtopic":"{subtopic}"}}}}"#);
        host.publish_to(TOPIC, &event).await;
    }
    host.delta(TOPIC, "2").await;
    client.tells(["delta 1 1", "delta 3 1", "alert 4 1", "delta 5 2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_background_merges_events_into_snapshots_and_alerts_go_at_once() {
    let host = Host::start().await;
    let mut client = host.connect("/ws?background=true").await;
    client.say(&subscribe("")).await;
    client.tells(["ack subscribe 0/0"]).await;
    host.delta(TOPIC, r#"{"a":1}"#).await;
    client.tells([r#"delta 1 {"a":1}"#]).await;
    for n in 2..=4 {
        host.delta(TOPIC, &format!(r#"{{"a":{n},"b{n}":true}}"#)).await;
    }
    host.alert(TOPIC, r#"{"look":1}"#).await;
    client.tells([r#"snapshot 4 {"a":4,"b2":true,"b3":true,"b4":true}"#, r#"alert 5 {"look":1}"#]).await;
    host.delta(TOPIC, r#"{"a":6}"#).await;
    host.alert(TOPIC, r#"{"look":2}"#).await;
    client.tells([r#"delta 6 {"a":6}"#, r#"alert 7 {"look":2}"#]).await;
    host.delta(TOPIC, r#"{"a":8}"#).await;
    host.delta(TOPIC, r#"{"a":9}"#).await;
    client.say(r#"{"type":"background_mode","enabled":false}"#).await;
    client.tells(["ack background_mode 0/0", r#"delta 8 {"a":8}"#, r#"delta 9 {"a":9}"#]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_is_told_in_the_old_words_and_sent_away() {
    let host = Host::start().await;
    for (path, reason) in [
        ("/ws/market/X", "AUTH_REQUIRED"),
        ("/ws/market/X?token=bad", "AUTH_INVALID"),
        ("/ws/trading/u2?token=user:u1", "FORBIDDEN"),
        ("/ws?token=bad", "AUTH_INVALID"),
    ] {
        let mut client = host.connect(path).await;
        let error = client.next().await;
        assert_eq!((&error["type"], &error["code"]), (&"error".into(), &"AUTH_REQUIRED".into()), "{path}");
        assert_eq!(error["error"], "Authentication required");
        assert_eq!(error["details"]["reason"], reason, "{path}");
        assert_eq!(client.closed().await.0, 1008, "{path}");
    }
    let mut client = host.connect("/ws/trading/u1?token=user:u1").await;
    client.say(r#"{"type":"subscribe","topic":"trading.other"}"#).await;
    client.tells(["error FORBIDDEN"]).await;
    for path in ["/ws/market/a.b", "/ws/sports/x"] {
        let refused = tokio_tungstenite::connect_async(host.url(path)).await.expect_err("refused");
        assert!(refused.to_string().contains("404"), "{path}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_warned_of_refreshed_and_ends() {
    let host = Host::start().await;
    let mut client = host.connect("/ws?topic=prices.X,trading.u1&token=user:u1:2500").await;
    let warned = client.next_of("reconnect").await;
    assert_eq!((&warned["reason"], &warned["after_ms"]), (&"token_expires".into(), &0.into()));
    client.say(r#"{"type":"refresh","token":"user:u1"}"#).await;
    client.tells(["ack refresh 0/0"]).await;
    client.say(r#"{"type":"refresh","token":"user:u2:2500"}"#).await;
    client.tells(["ack refresh 0/0", "error FORBIDDEN"]).await;
    client.next_of("reconnect").await;
    let error = client.next_of("error").await;
    assert_eq!(error["code"], "AUTH_EXPIRED");
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_are_free_and_a_family_has_its_burst() {
    let host = Host::start().await;
    let mut client = host.connect("/ws").await;
    for n in 0..300 {
        client.say(&format!(r#"{{"type":"ping","correlation_id":"{n}"}}"#)).await;
    }
    for n in 0..300 {
        let pong = client.next().await;
        assert_eq!((&pong["type"], &pong["correlation_id"]), (&"pong".into(), &n.to_string().into()));
    }
    let mut client = host.connect("/ws?token=user:u1").await;
    for _ in 0..101 {
        client.say(r#"{"type":"subscribe","topic":"risk.u1"}"#).await;
    }
    for _ in 0..100 {
        assert_eq!(client.next().await["type"], "ack");
    }
    let error = client.next().await;
    assert_eq!(error["code"], "RATE_LIMIT_EXCEEDED");
    assert!(
        error["details"]["retry_after_ms"].as_u64().is_some_and(|wait| (1..=6_000).contains(&wait)),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_topic_is_told_and_begins_anew() {
    let host = Host::start().await;
    host.delta(TOPIC, "1").await;
    let mut client = host.connect("/ws?topic=prices.X").await;
    client.tells(["snapshot 1 1"]).await;
    host.end(TOPIC).await;
    client.tells(["status ended"]).await;
    host.delta(TOPIC, "2").await;
    client.tells(["gap null-0 epoch_changed", "delta 1 2"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_another_kind_comes_in_the_envelope() {
    let mut host = Host::start().await;
    let mut client = host.connect("/ws").await;
    client.say(r#"{"type":"subscribe","topic":"trades.okx.BTC-USDT"}"#).await;
    client.tells(["ack subscribe 0/0"]).await;
    let command = host.command().await;
    assert!(format!("{command:?}").contains("BTC"), "ingest is told: {command:?}");
    host.append("trades.okx.BTC-USDT", EventKind::Trade, vec![r#""price":61838.50"#.into()]).await;
    let trade = client.next().await;
    assert_eq!(
        (&trade["type"], &trade["seq"], &trade["meta"]["kind"]),
        (&"delta".into(), &1.into(), &"trade".into())
    );
    assert_eq!(trade["payload"].to_string(), r#"{"price":61838.50}"#.replace(".50", ".5"));
    host.keep("trades.okx.BTC-USDT", r#""source":"okx","state":"reconnecting""#).await;
    client.tells(["status reconnecting"]).await;
}

/// A number from 0 to below `below`, one after the other from a seed.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

fn random_event(seed: &mut u64) -> String {
    let key = draw(seed, 6);
    let value = match draw(seed, 4) {
        0 => "null".to_owned(),
        1 => format!("0.{:04}0", draw(seed, 10_000)),
        2 => format!(r#"{{"x{}":{},"y":null}}"#, draw(seed, 3), draw(seed, 100)),
        _ => format!("[{}]", draw(seed, 10)),
    };
    match draw(seed, 20) {
        0 => format!(r#"{{"type":"snapshot","payload":{{"k{key}":{value}}}}}"#),
        1 => r#"{"type":"alert","payload":{"text":"look"}}"#.to_owned(),
        _ => format!(r#"{{"payload":{{"k{key}":{value}}}}}"#),
    }
}

/// The payload of a message as its text, with the digits that were sent.
async fn payload(client: &mut Client) -> (String, u64, String) {
    #[derive(serde::Deserialize)]
    struct Told<'a> {
        #[serde(rename = "type")]
        kind: String,
        seq: u64,
        #[serde(borrow)]
        payload: &'a serde_json::value::RawValue,
    }
    let frame = client.frame().await.into_text().expect("text");
    let told: Told<'_> = serde_json::from_str(frame.as_str()).expect("a message");
    (told.kind, told.seq, told.payload.get().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_each_number_a_joiners_state_and_a_clients_own_fold_are_the_same_to_the_digit() {
    let host = Host::start().await;
    let mut seed = 7;
    let mut follower = host.connect("/ws?topic=prices.X").await;
    until(|| host.fanout.stats().connections == 1).await;
    let mut folded = None;
    for n in 1..=400_u64 {
        let state = host.publish_to(TOPIC, &random_event(&mut seed)).await;
        let (kind, seq, text) = payload(&mut follower).await;
        let kind = EventKind::from_name(&kind).expect("an event");
        assert_eq!(seq, n);
        folded = bond_core::publish::fold(folded, kind, &text);
        assert_eq!(folded, state, "at {n}");
        if n % 20 == 0
            && let Some(state) = &state
        {
            let mut joiner = host.connect("/ws?topic=prices.X").await;
            let (kind, seq, text) = payload(&mut joiner).await;
            assert_eq!((kind.as_str(), seq, text.as_bytes()), ("snapshot", n, &state[..]));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_falls_behind_gets_a_gap_all_alerts_and_the_state() {
    let host = Host::with(|config| config.limits.queue = 50).await;
    let mut slow = host.connect("/ws").await;
    slow.say(&subscribe("")).await;
    slow.tells(["ack subscribe 0/0"]).await;
    host.delta(TOPIC, r#"{"first":true}"#).await;
    slow.tells([r#"delta 1 {"first":true}"#]).await;
    let filler = "x".repeat(20_000);
    let (mut sent, mut alerts) = (1_u64, Vec::new());
    // More than sockets hold: so much is not taken that the cursor lags.
    for n in 0..600_u64 {
        let batch: Vec<String> =
            (0..2).map(|i| format!(r#"{{"payload":{{"n":{n},"i":{i},"fill":"{filler}"}}}}"#)).collect();
        host.publish_to(TOPIC, &batch.join(",")).await;
        sent += 2;
        if n % 100 == 50 {
            host.alert(TOPIC, &format!(r#"{{"n":{n}}}"#)).await;
            sent += 1;
            alerts.push(n);
        }
    }
    let (mut last, mut seen, mut gaps) = (1, Vec::new(), 0);
    while last < sent {
        let message: Value = slow.next().await;
        let seq = message["seq"].as_u64().expect("a number");
        match message["type"].as_str().unwrap_or_default() {
            "gap" => {
                assert_eq!(message["from_seq"].as_u64(), Some(last + 1), "{message}");
                assert_eq!(message["reason"], "slow_consumer");
                gaps += 1;
                last = seq;
            }
            // Once it is lowered, what it is not given is part of a later state.
            "snapshot" => {
                assert!(seq >= last && message["payload"]["first"] == true, "{message} after {last}");
                last = seq;
            }
            "status" => {}
            kind => {
                assert_eq!(seq, last + 1, "contiguous but for declared gaps");
                last = seq;
                if kind == "alert" {
                    seen.push(message["payload"]["n"].as_u64().expect("a number"));
                }
            }
        }
    }
    assert_eq!(seen, alerts, "no alert is missing");
    assert!(gaps > 0, "what was skipped is declared");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_handshakes_of_one_address_are_not_upgraded_for_ever() {
    let host = Host::start().await;
    let mut refused = Vec::new();
    for _ in 0..105 {
        refused.push(tokio_tungstenite::connect_async(host.url("/ws/market/X")).await);
    }
    let last = refused.pop().expect("an answer").expect_err("not upgraded");
    assert!(last.to_string().contains("429"), "{last}");
    tokio::time::sleep(Duration::ZERO).await;
    let mut good = host.connect("/ws/market/X?token=user:u1").await;
    assert!(good.is_quiet().await, "a good token is let in");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_lowers_the_size_of_batches_and_never_raises_it() {
    let host = Host::start().await;
    let mut client = host.connect("/ws?batch=10&wait_ms=1000").await;
    client.say(&subscribe(r#","batch_size":2"#)).await;
    client.next().await;
    client.say(&subscribe(r#","batch_size":100"#)).await;
    client.next().await;
    for n in 0..4 {
        host.delta(TOPIC, &n.to_string()).await;
    }
    for _ in 0..2 {
        let batch = client.next().await;
        assert_eq!(batch.as_array().map(Vec::len), Some(2), "{batch}");
    }
}
