//! BondX's own producers, by the messages that they send.

use std::sync::Arc;
use std::time::Duration;

use bond_core::log::{EventLog, Item};
use bond_core::topic::Topic;
use bond_redis::{BridgeParts, Redis, bridge};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::publishing::Writer;
use crate::server::{Server, clock, log};

const PATIENCE: Duration = Duration::from_secs(20);

async fn listens(server: &Server, redis: &Redis, writer: &Arc<Writer>) -> AbortOnDropHandle<()> {
    let parts = BridgeParts {
        publisher: Arc::<Writer>::clone(writer),
        log: Arc::new(log(redis, &clock())),
        fence: writer.fence,
        clock: clock(),
    };
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    let bridge = AbortOnDropHandle::new(tokio::spawn(bridge(redis.clone(), parts)));
    heard(server).await;
    bridge
}

/// Waits until somebody listens to both.
async fn heard(server: &Server) {
    let both = async {
        while server.command(&["PUBSUB", "NUMPAT"]) != "1"
            || !server.command(&["PUBSUB", "NUMSUB", "websocket.broadcast"]).ends_with('1')
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, both).await.expect("somebody listens");
}

fn says(server: &Server, channel: &str, seq: u32) {
    let message = format!(
        r#"{{"topic":"prices.X","message":{{"type":"delta","topic":"prices.X","seq":{seq},"ts":"2026-01-01T00:00:00","payload":{{"n":{seq}}},"meta":{{}},"correlation_id":null}},"qos":1}}"#
    );
    server.command(&["PUBLISH", channel, &message]);
}

/// Waits until the topic has so many items, and gives them.
async fn items(writer: &Writer, count: usize) -> Vec<String> {
    let topic: Topic = "prices.X".parse().expect("a topic");
    let text = |item: &Item| match item {
        Item::Event(entry) => format!("{} {}", entry.seq, String::from_utf8_lossy(&entry.record.body)),
        Item::Status(kept) => format!("status {}", String::from_utf8_lossy(&kept.body)),
    };
    let wait = async {
        loop {
            let run = writer.log.read(&topic, None, 100).await.expect("read");
            let texts: Vec<String> = run.map(|run| run.items.iter().map(text).collect()).unwrap_or_default();
            if texts.len() >= count {
                return texts;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("they come")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_says_arrives_and_what_it_lost_is_told() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let writer = Writer::begin(&redis, u32::MAX).await;
    let _listens = listens(&server, &redis, &writer).await;
    says(&server, "websocket.topic.prices.X", 7);
    says(&server, "websocket.broadcast", 8);
    let told = items(&writer, 2).await;
    assert_eq!(
        told[0],
        r#"1 "payload":{"n":7},"meta":{"source_seq":7,"source_ts":"2026-01-01T00:00:00"},"correlation_id":null"#
    );
    assert!(told[1].starts_with(r#"2 "payload":{"n":8}"#), "{told:?}");
    // Breaks of one topic are told once a second.
    sleep(Duration::from_millis(1_100)).await;
    says(&server, "websocket.topic.prices.X", 11);
    let told = items(&writer, 4).await;
    assert!(told[2].contains(r#""source":"bondx","state":"connected""#), "{told:?}");
    assert!(told[2].contains(r#""lost":{"from":9,"to":10}"#), "{told:?}");
    assert!(told[3].starts_with("3 "), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_break_of_the_connection_shows_in_the_topics_that_were_fed() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let writer = Writer::begin(&redis, u32::MAX).await;
    let _listens = listens(&server, &redis, &writer).await;
    says(&server, "websocket.topic.prices.X", 1);
    items(&writer, 1).await;
    assert_eq!(server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]), "1");
    let told = items(&writer, 2).await;
    assert!(told[1].contains(r#"status "source":"bondx","state":"connected""#), "{told:?}");
    heard(&server).await;
    says(&server, "websocket.topic.prices.X", 2);
    let told = items(&writer, 3).await;
    assert!(told[2].starts_with("2 "), "it goes on: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_of_bondx_is_refused() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let writer = Writer::begin(&redis, u32::MAX).await;
    let _listens = listens(&server, &redis, &writer).await;
    server.command(&["PUBLISH", "websocket.broadcast", "hello"]);
    says(&server, "websocket.broadcast", 1);
    items(&writer, 1).await;
    let kept = async {
        while !server
            .command(&["XRANGE", "bond:publish:rejected", "-", "+"])
            .contains("not a message of BondX")
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, kept).await.expect("it is kept with the reason");
}
