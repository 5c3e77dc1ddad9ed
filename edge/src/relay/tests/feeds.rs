//! Feeds: what a filter takes, when it begins, how it is ordered.

use std::time::Duration;

use bond_core::connection::{Carries, Connection};
use bond_core::control::Command;
use bond_core::log::{EventKind, Record};
use bond_core::message::Request;
use serde_json::Value;
use tokio::time::sleep;

use super::host::{Host, seqs, until};

const BINANCE: &str = "trades.binance.BTC-USDT";
const OKX: &str = "trades.okx.BTC-USDT";

/// A feed's connection after its client has said these.
fn feed(host: &Host, name: &str, said: &[&str]) -> Connection {
    let mut connection = Connection { carries: Carries::Feed(Box::default()), ..host.to_stream(name) };
    said.iter().for_each(|text| say(host, &mut connection, text));
    connection
}

fn say(host: &Host, connection: &mut Connection, text: &str) {
    let message = Request::parse(text).message.expect("a message");
    connection.renew(host.clock.now());
    connection.take(&message, host.clock.now()).expect("taken");
}

fn of(messages: &[Value], topic: &str) -> usize {
    messages.iter().filter(|message| message["topic"] == topic && message["type"] != "gap").count()
}

async fn trades(host: &Host, topic: &str, count: usize) {
    host.append(topic, EventKind::Trade, vec!["\"price\":1".to_owned(); count]).await;
}

#[tokio::test(start_paused = true)]
async fn a_feed_gets_what_it_wants_also_what_begins_later_and_ingest_is_told() {
    let host = Host::start().await;
    trades(&host, BINANCE, 1).await;
    sleep(Duration::from_secs(1)).await;
    host.connect(feed(&host, "f", &[r#"{"type":"subscribe","channels":["trades"]}"#])).await;
    until(|| !host.gateway.of_type("f", "heartbeat").is_empty()).await;
    trades(&host, BINANCE, 2).await;
    trades(&host, OKX, 2).await;
    host.append("ticker.okx.BTC-USDT", EventKind::Ticker, vec!["\"bid\":1".to_owned()]).await;
    until(|| of(&host.gateway.messages("f"), OKX) == 2).await;
    until(|| of(&host.gateway.messages("f"), BINANCE) == 2).await;
    assert_eq!(seqs(&host.gateway.messages("f"), BINANCE), [2, 3], "nothing from before it asked");
    assert_eq!(of(&host.gateway.messages("f"), "ticker.okx.BTC-USDT"), 0);
    let wanted = |command: &Command| matches!(command, Command::Feed { connection, .. } if connection == "f");
    assert!(host.commands.all().iter().any(wanted));
}

#[tokio::test(start_paused = true)]
async fn a_later_message_changes_the_feed_and_an_older_one_does_not() {
    let host = Host::start().await;
    let mut connection = feed(&host, "f", &[r#"{"type":"subscribe","channels":["trades"]}"#]);
    let before = connection.clone();
    host.connect(connection.clone()).await;
    sleep(Duration::from_millis(10)).await;
    say(&host, &mut connection, r#"{"type":"subscribe","channels":["trades"],"exchanges":["okx"]}"#);
    host.connect(connection).await;
    host.relay.notify(Command::Connected(Box::new(before)));
    trades(&host, BINANCE, 1).await;
    trades(&host, OKX, 1).await;
    until(|| of(&host.gateway.messages("f"), OKX) == 1).await;
    assert_eq!(of(&host.gateway.messages("f"), BINANCE), 0);
}

#[tokio::test(start_paused = true)]
async fn a_resume_moves_one_topic_back() {
    let host = Host::start().await;
    let mut connection = feed(&host, "f", &[r#"{"type":"subscribe","channels":["trades"]}"#]);
    host.connect(connection.clone()).await;
    trades(&host, OKX, 5).await;
    until(|| of(&host.gateway.messages("f"), OKX) == 5).await;
    let epoch = host.gateway.of_type("f", "trade")[0]["epoch"].as_str().expect("epoch").to_owned();
    sleep(Duration::from_millis(10)).await;
    let resume = format!(r#"{{"type":"resume","topic":"{OKX}","epoch":"{epoch}","seq":2}}"#);
    say(&host, &mut connection, &resume);
    host.connect(connection).await;
    until(|| of(&host.gateway.messages("f"), OKX) == 8).await;
    let messages = host.gateway.of_type("f", "trade");
    let numbers: Vec<u64> = messages.iter().filter_map(|message| message["seq"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 3, 4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_held_feed_is_ordered_by_venue_time_across_topics_and_loses_nothing_to_failures() {
    let host = Host::start().await;
    let wish = r#"{"type":"subscribe","channels":["trades"],"max_lag_ms":500}"#;
    host.connect(feed(&host, "f", &[wish])).await;
    sleep(Duration::from_millis(10)).await;
    let mut count = 0;
    host.gateway.fail_posts(move |_, _| {
        count += 1;
        (count % 3 == 0).then_some(bond_core::deliver::Stop::Deadline)
    });
    let base = host.clock.now();
    let record = |ms: u64| Record {
        kind: EventKind::Trade,
        ts: base,
        order: base.plus(Duration::from_millis(ms)),
        body: format!("\"at\":{ms}").into(),
        changes: None,
    };
    host.append_records(OKX, vec![record(40), record(60), record(80)]).await;
    host.append_records(BINANCE, vec![record(30), record(50), record(70)]).await;
    until(|| host.gateway.of_type("f", "trade").len() == 6).await;
    let order: Vec<_> =
        host.gateway.of_type("f", "trade").iter().filter_map(|message| message["at"].as_u64()).collect();
    assert_eq!(order, [30, 40, 50, 60, 70, 80]);
}
