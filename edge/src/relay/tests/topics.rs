//! Clients that name their topics: states, answers, places, filters, rates, and the end of a token.

use std::collections::BTreeMap;
use std::time::Duration;

use bond_core::connection::{Carries, Connection, Parameters, TopicAck, TopicRefusal, TopicsItem};
use bond_core::deliver::Stop;
use bond_core::grants::{Grants, GrantsParts, TopicPattern};
use bond_core::message::Request;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::host::{Host, until};

const PRICES: &str = "prices.X";
const RISK: &str = "risk.u1";

/// Lets a relay get on with what it has.
const WHILE: Duration = Duration::from_secs(1);

/// A connection whose client named these topics in its URL.
fn following(host: &Host, name: &str, query: &[(&str, &str)]) -> Connection {
    let pairs = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let wanted = Parameters::new(pairs.collect()).topics(0);
    let item = TopicsItem::opened(wanted, Grants::open(), host.clock.now()).expect("granted");
    Connection { carries: Carries::Topics(Box::new(item)), ..host.to_stream(name) }
}

/// What a function does with a message, and what it answers at once.
async fn say(host: &Host, connection: &mut Connection, text: &str) -> Option<Result<TopicAck, TopicRefusal>> {
    let request = Request::parse(text);
    let message = request.message.expect("a message");
    connection.renew(host.clock.now());
    let at_once =
        connection.take_topics(&message, request.correlation_id.as_deref().map(|id| id.get()), &|_| Ok(()));
    host.connect(connection.clone()).await;
    at_once
}

async fn deltas(host: &Host, topic: &str, numbers: std::ops::RangeInclusive<u32>) {
    for n in numbers {
        host.publish_to(topic, &format!(r#"[{{"payload":{{"n":{n},"k{n}":true}}}}]"#)).await;
    }
}

/// The messages of one topic as `type:seq`.
fn told(host: &Host, name: &str, topic: &str) -> Vec<String> {
    let messages = host.gateway.messages(name);
    let of_topic = messages.iter().filter(|message| message["topic"] == topic);
    of_topic.map(|m| format!("{}:{}", m["type"].as_str().unwrap_or_default(), m["seq"])).collect()
}

/// Follows what a client does with what it is told: the state of each topic. Fails where a number is missing that nothing told of.
fn folded(messages: &[Value]) -> BTreeMap<String, (u64, Value)> {
    let mut states: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    for message in messages {
        for member in ["type", "topic", "epoch", "seq", "ts", "payload", "meta", "correlation_id"] {
            assert!(message.get(member).is_some(), "no {member} in {message}");
        }
        let (topic, seq) =
            (message["topic"].as_str().expect("a topic"), message["seq"].as_u64().expect("seq"));
        let (known, state) = states.entry(topic.to_owned()).or_insert((0, Value::Null));
        match message["type"].as_str().expect("a type") {
            "snapshot" => *state = message["payload"].clone(),
            "delta" if seq > *known => merge(state, &message["payload"]),
            _ => {}
        }
        *known = seq.max(*known);
    }
    states
}

fn merge(state: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *state = patch.clone();
        return;
    };
    if !state.is_object() {
        *state = json!({});
    }
    for (name, value) in members {
        if value.is_null() {
            state.as_object_mut().expect("an object").remove(name);
        } else {
            merge(&mut state[name.as_str()], value);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_frame_is_the_state_and_what_follows_is_in_one_envelope() {
    let host = Host::start().await;
    deltas(&host, PRICES, 1..=3).await;
    host.connect(following(&host, "c", &[("topic", PRICES)])).await;
    until(|| told(&host, "c", PRICES).len() == 1).await;
    deltas(&host, PRICES, 4..=5).await;
    until(|| told(&host, "c", PRICES).len() == 3).await;
    assert_eq!(told(&host, "c", PRICES), ["snapshot:3", "delta:4", "delta:5"]);
    let messages = host.gateway.messages("c");
    assert_eq!(
        (&messages[0]["type"], &messages[0]["meta"]),
        (&json!("snapshot"), &json!({"synthetic": true}))
    );
    assert_eq!(folded(&messages)[PRICES].1["n"], 5);
    until(|| !host.gateway.of_type("c", "heartbeat").is_empty()).await;
    folded(&host.gateway.messages("c"));
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_state_begins_with_nothing_and_then_its_first_event() {
    let host = Host::start().await;
    host.connect(following(&host, "c", &[("topic", PRICES)])).await;
    sleep(WHILE).await;
    assert_eq!(host.gateway.messages("c").len(), 0);
    deltas(&host, PRICES, 1..=1).await;
    until(|| told(&host, "c", PRICES) == ["delta:1"]).await;
}

#[tokio::test(start_paused = true)]
async fn each_answer_says_where_the_topic_stands_and_nothing_comes_after_the_one_to_unsubscribe() {
    let host = Host::start().await;
    deltas(&host, PRICES, 1..=3).await;
    let mut connection = following(&host, "c", &[]);
    host.connect(connection.clone()).await;
    let subscribe = r#"{"type":"subscribe","topics":["prices.X","risk.u1"],"correlation_id":"c1"}"#;
    assert!(say(&host, &mut connection, subscribe).await.is_none(), "the answers wait for the topics");
    until(|| told(&host, "c", PRICES).len() == 2 && told(&host, "c", RISK).len() == 1).await;
    assert_eq!(
        (told(&host, "c", PRICES), told(&host, "c", RISK)),
        (vec!["ack:3".to_owned(), "snapshot:3".to_owned()], vec!["ack:0".to_owned()])
    );
    assert!(host.gateway.of_type("c", "ack").iter().all(|ack| ack["correlation_id"] == "c1"));
    deltas(&host, PRICES, 4..=4).await;
    until(|| told(&host, "c", PRICES).len() == 3).await;
    say(&host, &mut connection, subscribe).await;
    until(|| host.gateway.of_type("c", "ack").len() == 4).await;
    say(&host, &mut connection, r#"{"type":"unsubscribe","topic":"prices.X","correlation_id":"c2"}"#).await;
    deltas(&host, PRICES, 5..=9).await;
    deltas(&host, RISK, 1..=1).await;
    until(|| told(&host, "c", RISK).iter().any(|of_risk| of_risk == "delta:1")).await;
    let of_prices = told(&host, "c", PRICES);
    assert_eq!(of_prices[..3], ["ack:3", "snapshot:3", "delta:4"]);
    assert_eq!(of_prices[3], "ack:4", "subscribing again doubles nothing");
    let last = of_prices.last().expect("an answer");
    assert!(
        last.starts_with("ack:") && of_prices.iter().filter(|m| **m == "delta:5").count() <= 1,
        "{of_prices:?}"
    );
    let refused = say(&host, &mut connection, r#"{"type":"unsubscribe","topic":"prices.X"}"#).await;
    assert!(matches!(refused, Some(Err(_))), "answered at once");
}

#[tokio::test(start_paused = true)]
async fn what_was_said_and_taken_back_while_an_invocation_is_under_way_is_answered_all_the_same() {
    let host = Host::start().await;
    deltas(&host, PRICES, 1..=1).await;
    let mut connection = following(&host, "c", &[("topic", PRICES)]);
    host.connect(connection.clone()).await;
    until(|| told(&host, "c", PRICES).len() == 1).await;
    host.gateway.fail_posts(|_, _| Some(Stop::Slow));
    deltas(&host, PRICES, 2..=2).await;
    sleep(Duration::from_millis(60)).await;
    for n in 0..20 {
        let topic = format!("auctions.{n}");
        say(
            &host,
            &mut connection,
            &json!({"type": "subscribe", "topic": topic, "correlation_id": n}).to_string(),
        )
        .await;
        say(
            &host,
            &mut connection,
            &json!({"type": "unsubscribe", "topic": topic, "correlation_id": n}).to_string(),
        )
        .await;
    }
    host.gateway.heal();
    until(|| host.gateway.of_type("c", "ack").len() >= 40).await;
    let acks = host.gateway.of_type("c", "ack");
    let answered: Vec<(u64, &str)> = acks
        .iter()
        .map(|ack| (ack["correlation_id"].as_u64().expect("id"), ack["action"].as_str().expect("action")))
        .collect();
    let expected: Vec<(u64, &str)> = (0..20).flat_map(|n| [(n, "subscribe"), (n, "unsubscribe")]).collect();
    for n in 0..20 {
        let of_one: Vec<_> = answered.iter().filter(|(id, _)| *id == n).collect();
        assert_eq!(of_one, expected.iter().filter(|(id, _)| *id == n).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_is_followed_by_the_next_number_or_a_gap_and_the_state() {
    let host = Host::start().await;
    deltas(&host, PRICES, 1..=150).await;
    let mut connection = following(&host, "witness", &[("topic", PRICES)]);
    host.connect(connection).await;
    until(|| !told(&host, "witness", PRICES).is_empty()).await;
    let epoch = host.gateway.messages("witness")[0]["epoch"].as_str().expect("epoch").to_owned();
    for (name, place, expected) in [
        ("inside", json!({"resume_from_seq": 148}), vec!["ack:148", "delta:149", "delta:150"]),
        ("named", json!({"resume_from_seq": 149, "epoch": epoch}), vec!["ack:149", "delta:150"]),
        ("at", json!({"resume_from_seq": 150}), vec!["ack:150"]),
        ("ahead", json!({"resume_from_seq": 12345}), vec!["ack:150", "gap:150", "snapshot:150"]),
        (
            "other",
            json!({"resume_from_seq": 5, "epoch": "0000dead"}),
            vec!["ack:150", "gap:150", "snapshot:150"],
        ),
        ("rewind", json!({"rewind": 2}), vec!["ack:148", "delta:149", "delta:150"]),
    ] {
        connection = following(&host, name, &[]);
        host.connect(connection.clone()).await;
        let mut message = json!({"type": "subscribe", "topic": PRICES});
        message.as_object_mut().expect("object").extend(place.as_object().expect("object").clone());
        say(&host, &mut connection, &message.to_string()).await;
        until(|| told(&host, name, PRICES).len() >= expected.len()).await;
        assert_eq!(told(&host, name, PRICES), expected, "{name}");
    }
    deltas(&host, PRICES, 151..=151).await;
    for name in ["inside", "named", "at", "ahead", "other", "rewind"] {
        until(|| told(&host, name, PRICES).last().is_some_and(|last| last == "delta:151")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn subtopics_let_through_what_they_name_alerts_and_what_is_not_marked() {
    let host = Host::start().await;
    let mut connection = following(&host, "c", &[]);
    host.connect(connection.clone()).await;
    say(&host, &mut connection, r#"{"type":"subscribe","topic":"prices.X","subtopics":{"levels":"L1"}}"#)
        .await;
    until(|| told(&host, "c", PRICES) == ["ack:0"]).await;
    let events: Vec<Value> = ["L1", "L2", "L2", "", "L2", "alert", "L1", "L2", "L2"]
        .into_iter()
        .enumerate()
        .map(|(n, mark)| match mark {
            "" => json!({"payload": {"n": n}}),
            "alert" => json!({"type": "alert", "payload": {"n": n}, "meta": {"subtopic": "L2"}}),
            mark => json!({"payload": {"n": n}, "meta": {"subtopic": mark}}),
        })
        .collect();
    for event in events {
        host.publish_to(PRICES, &json!([event]).to_string()).await;
        sleep(Duration::from_millis(20)).await;
    }
    until(|| told(&host, "c", PRICES).len() == 5).await;
    sleep(WHILE).await;
    assert_eq!(told(&host, "c", PRICES), ["ack:0", "delta:1", "delta:4", "alert:6", "delta:7"]);
    host.publish_to(PRICES, r#"[{"payload":{"n":9},"meta":{"subtopic":"L1"}}]"#).await;
    until(|| told(&host, "c", PRICES).len() == 6).await;
    assert_eq!(told(&host, "c", PRICES)[5], "delta:10", "and no gap between");
}

#[tokio::test(start_paused = true)]
async fn the_background_posts_once_in_five_seconds_keeps_the_state_whole_and_lets_alerts_through() {
    let host = Host::start().await;
    let mut connection = following(&host, "c", &[("topic", PRICES)]);
    host.connect(connection.clone()).await;
    let at_once = say(&host, &mut connection, r#"{"type":"background_mode","enabled":true}"#).await;
    assert!(matches!(at_once, Some(Ok(_))), "it concerns no topic's place, and is answered at once");
    sleep(WHILE).await;
    let mut last = 0;
    for n in 0..400 {
        let kind = if n == 210 { "alert" } else { "delta" };
        let patch = if n % 7 == 3 {
            json!({"a": null, "n": n})
        } else {
            json!({"a": {(format!("y{}", n % 5)): n}, "n": n})
        };
        host.publish_to(PRICES, &json!([{"type": kind, "payload": patch}]).to_string()).await;
        if n == 211 {
            last = host.gateway.of_type("c", "alert").len();
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(last, 1, "an alert does not wait");
    sleep(Duration::from_secs(6)).await;
    let messages = host.gateway.messages("c");
    let frames = host.gateway.frames("c").len();
    assert!((4..=8).contains(&frames), "{frames} posts in 20 s");
    assert!(host.gateway.of_type("c", "gap").is_empty(), "what was thinned is no gap");
    let (seq, state) = folded(&messages)[PRICES].clone();
    assert_eq!(seq, 400);
    host.connect(following(&host, "late", &[("topic", PRICES)])).await;
    until(|| !told(&host, "late", PRICES).is_empty()).await;
    assert_eq!(host.gateway.messages("late")[0]["payload"], state);
    say(&host, &mut connection, r#"{"type":"background_mode","enabled":false}"#).await;
    deltas(&host, PRICES, 401..=420).await;
    until(|| told(&host, "c", PRICES).iter().filter(|m| m.starts_with("delta:4")).count() >= 20).await;
}

#[tokio::test(start_paused = true)]
async fn every_clients_fold_is_the_state_however_often_posts_fail() {
    let host = Host::start().await;
    let mut count = 0;
    host.gateway.fail_posts(move |_, _| {
        count += 1;
        (count % 4 == 0).then_some(Stop::Deadline)
    });
    for (name, rate) in [("all", "high"), ("ten", "normal"), ("one", "low")] {
        host.connect(following(&host, name, &[("topic", PRICES), ("rate", rate)])).await;
    }
    sleep(WHILE).await;
    let mut draw = 12_345_u64;
    for n in 0..600 {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (kind, of) = (draw >> 33, (draw >> 40) % 6);
        let event = match kind % 10 {
            0 => json!({"type": "snapshot", "payload": {"n": n}}),
            1 => json!({"type": "alert", "payload": {"n": n}}),
            2 => json!({"payload": {(format!("k{of}")): null}}),
            _ => json!({"payload": {(format!("k{of}")): {(format!("y{}", kind % 3)): n}}}),
        };
        host.publish_to(PRICES, &json!([event]).to_string()).await;
        sleep(Duration::from_millis(kind % 40)).await;
    }
    for name in ["all", "ten", "one"] {
        until(|| folded(&host.gateway.messages(name)).get(PRICES).is_some_and(|(seq, _)| *seq == 600)).await;
    }
    host.gateway.heal();
    host.connect(following(&host, "late", &[("topic", PRICES)])).await;
    until(|| !told(&host, "late", PRICES).is_empty()).await;
    let state = host.gateway.messages("late")[0]["payload"].clone();
    for name in ["all", "ten", "one"] {
        assert_eq!(folded(&host.gateway.messages(name))[PRICES].1, state, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_lags_too_far_is_told_of_a_gap_and_goes_on_from_the_state_with_every_alert() {
    let host = Host::with(|config| config.most_lag = 50).await;
    host.connect(following(&host, "c", &[("topic", PRICES)])).await;
    sleep(WHILE).await;
    deltas(&host, PRICES, 1..=1).await;
    until(|| told(&host, "c", PRICES) == ["delta:1"]).await;
    host.gateway.fail_posts(|_, _| Some(Stop::Slow));
    deltas(&host, PRICES, 2..=60).await;
    host.publish_to(PRICES, r#"[{"type":"alert","payload":{"loud":true}}]"#).await;
    deltas(&host, PRICES, 62..=120).await;
    sleep(WHILE).await;
    host.gateway.heal();
    until(|| folded(&host.gateway.messages("c"))[PRICES].0 == 120).await;
    sleep(WHILE).await;
    let told = told(&host, "c", PRICES);
    assert!(told.contains(&"alert:61".to_owned()) && told.iter().any(|m| m.starts_with("gap:")), "{told:?}");
    let (_, state) = folded(&host.gateway.messages("c"))[PRICES].clone();
    assert_eq!((&state["n"], &state["k3"]), (&json!(120), &json!(true)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_token_is_announced_and_closes_the_connection_unless_it_is_refreshed() {
    let host = Host::start().await;
    let granted = |seconds: u64, read: &str| {
        let read = vec![TopicPattern::parse(read).expect("a pattern")];
        let expires_at = Some(host.clock.now().plus(Duration::from_secs(seconds)));
        Grants::new(GrantsParts { read, expires_at, ..GrantsParts::default() }).expect("grants")
    };
    let mut connections: Vec<Connection> = Vec::new();
    for name in ["ends", "lives"] {
        let mut connection = following(&host, name, &[("topic", "prices.X,risk.u1")]);
        connection.grant_topics(granted(100, ">"), None);
        host.connect(connection.clone()).await;
        connections.push(connection);
    }
    deltas(&host, PRICES, 1..=1).await;
    until(|| !host.gateway.of_type("ends", "reconnect").is_empty()).await;
    let warning = host.gateway.of_type("ends", "reconnect")[0].clone();
    assert_eq!((&warning["reason"], &warning["after_ms"]), (&json!("token_expires"), &json!(0)));
    assert!(!host.gateway.is_closed("ends"));
    let refreshed = &mut connections[1];
    refreshed.renew(host.clock.now());
    refreshed.grant_topics(granted(1_000, "prices.>"), Some("\"r\""));
    host.connect(refreshed.clone()).await;
    until(|| host.gateway.is_closed("ends")).await;
    assert_eq!(host.gateway.of_type("ends", "error")[0]["code"], "AUTH_EXPIRED");
    folded(&host.gateway.messages("ends"));
    assert!(!host.gateway.is_closed("lives"));
    let lost = host.gateway.of_type("lives", "error");
    assert_eq!((&lost[0]["code"], &lost[0]["details"]["topic"]), (&json!("FORBIDDEN"), &json!(RISK)));
    deltas(&host, RISK, 1..=1).await;
    deltas(&host, PRICES, 2..=2).await;
    until(|| told(&host, "lives", PRICES).last().is_some_and(|last| last == "delta:2")).await;
    assert!(told(&host, "lives", RISK).is_empty(), "a topic that is no longer granted");
}

#[tokio::test(start_paused = true)]
async fn a_successor_goes_on_in_each_topic_and_repeats_no_answer() {
    let mut host = Host::start().await;
    let mut connection = following(&host, "c", &[("topic", "prices.X")]);
    host.connect(connection.clone()).await;
    sleep(WHILE).await;
    deltas(&host, PRICES, 1..=5).await;
    until(|| told(&host, "c", PRICES).last().is_some_and(|last| last == "delta:5")).await;
    sleep(Duration::from_secs(120)).await;
    say(&host, &mut connection, r#"{"type":"subscribe","topic":"risk.u1","correlation_id":1}"#).await;
    until(|| host.gateway.of_type("c", "ack").len() == 1).await;
    sleep(WHILE).await;
    host.relay.stop().await;
    deltas(&host, PRICES, 6..=8).await;
    deltas(&host, RISK, 1..=3).await;
    host.take_over().await;
    until(|| told(&host, "c", PRICES).last().is_some_and(|last| last == "delta:8")).await;
    until(|| told(&host, "c", RISK).last().is_some_and(|last| last.ends_with(":3"))).await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(told(&host, "c", PRICES)[5..], ["delta:6", "delta:7", "delta:8"]);
    // The topic had no history yet, and so no position: its state stands for what was published meanwhile.
    assert_eq!(told(&host, "c", RISK), ["ack:0", "snapshot:3"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_a_relay_took_with_it_is_given_by_its_successor() {
    let mut host = Host::start().await;
    let mut connection = following(&host, "c", &[("topic", PRICES)]);
    host.connect(connection.clone()).await;
    sleep(WHILE).await;
    deltas(&host, PRICES, 1..=2).await;
    until(|| told(&host, "c", PRICES).last().is_some_and(|last| last == "delta:2")).await;
    sleep(Duration::from_secs(120)).await;
    host.relay.crash();
    say(&host, &mut connection, r#"{"type":"subscribe","topic":"risk.u1","correlation_id":1}"#).await;
    host.take_over().await;
    until(|| host.gateway.of_type("c", "ack").len() == 1).await;
    deltas(&host, PRICES, 3..=3).await;
    until(|| told(&host, "c", PRICES).last().is_some_and(|last| last == "delta:3")).await;
    assert!(
        !told(&host, "c", PRICES).iter().any(|told| told.starts_with("gap") || told.starts_with("snapshot"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_carries_several_events_and_no_message_is_lost_in_it() {
    let host = Host::start().await;
    host.connect(following(&host, "c", &[("topic", PRICES)])).await;
    let mut batched = following(&host, "b", &[("topic", PRICES)]);
    batched.batch =
        Parameters::new(vec![("batch".into(), "50".into()), ("wait_ms".into(), "500".into())]).batch(false);
    host.connect(batched).await;
    sleep(WHILE).await;
    deltas(&host, PRICES, 1..=200).await;
    for name in ["b", "c"] {
        until(|| told(&host, name, PRICES).len() == 200).await;
        folded(&host.gateway.messages(name));
    }
    let frames = host.gateway.frames("b");
    assert!(frames.len() <= 8 && frames.iter().all(|frame| frame.messages.len() <= 50), "{}", frames.len());
}
