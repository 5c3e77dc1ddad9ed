//! Numbers: none missing, none twice, or a gap that says which.

use super::host::{Client, Host, STREAM, stream_topic, until};
use bond_core::log::EventKind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_client_gets_flat_events_from_the_first() {
    let host = Host::start().await;
    let mut client = host.stream("").await;
    host.append(&stream_topic(), EventKind::Aggregate, vec!["\"price_avg\":1.5".into()]).await;
    let event = client.next().await;
    assert_eq!(event["type"], "aggregate");
    assert_eq!(event["topic"], stream_topic());
    assert_eq!(event["epoch"], host.epoch().await);
    assert_eq!((event["seq"].as_u64(), event["price_avg"].as_f64()), (Some(1), Some(1.5)));
    assert!(event.get("seq_internal").is_none());
    assert!(event["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_and_present_join_without_a_seam() {
    let host = Host::start().await;
    host.publish(100).await;
    let writer = async {
        for _ in 0..200 {
            host.publish(5).await;
            tokio::task::yield_now().await;
        }
    };
    let readers = async {
        for _ in 0..40 {
            let mut client = host.stream("&from=now-60s").await;
            let expected: Vec<u64> = (1..=300).collect();
            assert_eq!(client.seqs(300).await, expected);
        }
    };
    tokio::join!(writer, readers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_client_begins_where_it_came() {
    let host = Host::start().await;
    host.publish(50).await;
    let mut first = host.stream("").await;
    assert!(first.is_quiet().await);
    host.publish(2).await;
    assert_eq!(first.seqs(2).await, [51, 52]);
    let mut second = host.stream("").await;
    assert!(second.is_quiet().await);
    host.publish(1).await;
    assert_eq!(second.seqs(1).await, [53]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_goes_on_after_what_the_client_has() {
    let host = Host::start().await;
    host.publish(10).await;
    let epoch = host.epoch().await;
    let mut client = host.stream(&format!("&from={epoch}:7")).await;
    client.next_of("heartbeat").await;
    assert_eq!(client.seqs(3).await, [8, 9, 10]);
    client.say(&format!(r#"{{"type":"resume","topic":"streams.{STREAM}","epoch":"{epoch}","seq":9}}"#)).await;
    let (mut seqs, mut acked) = (Vec::new(), false);
    while seqs.is_empty() || !acked {
        let message = client.next().await;
        acked |= message["type"] == "ack";
        seqs.extend(message["seq"].as_u64());
    }
    assert_eq!(seqs, [10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_epoch_is_a_gap_and_then_what_there_is() {
    let host = Host::start().await;
    host.publish(3).await;
    for from in ["dead:7", &format!("{}:9", host.epoch().await)] {
        let mut client = host.stream(&format!("&from={from}")).await;
        let gap = client.next_of("gap").await;
        assert_eq!(gap["epoch"], host.epoch().await);
        assert_eq!((&gap["from_seq"], &gap["to_seq"]), (&serde_json::Value::Null, &0.into()));
        assert_eq!(gap["reason"], "epoch_changed");
        assert_eq!(client.seqs(3).await, [1, 2, 3]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resume_before_the_topic_runs_again_waits_for_it() {
    let host = Host::start().await;
    let mut client = host.stream("&from=dead:7").await;
    client.next_of("heartbeat").await;
    host.publish(2).await;
    let gap = client.next().await;
    assert_eq!((gap["type"].as_str(), gap["reason"].as_str()), (Some("gap"), Some("epoch_changed")));
    assert_eq!(client.seqs(2).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ring_no_longer_holds_is_a_gap() {
    let host = Host::with(|config| config.ring_bytes = 4_000).await;
    let mut first = host.stream("").await;
    host.publish(100).await;
    let epoch = host.epoch().await;
    first.seqs(1).await;
    let mut client = host.stream(&format!("&from={epoch}:3")).await;
    let gap = client.next_of("gap").await;
    assert_eq!((gap["from_seq"].as_u64(), gap["reason"].as_str()), (Some(4), Some("behind_ring")));
    let next = client.next().await;
    assert_eq!(next["seq"].as_u64(), gap["to_seq"].as_u64().map(|seq| seq + 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_begins_anew_says_so_to_those_who_listen() {
    let host = Host::start().await;
    let mut told = host.stream("&control=true").await;
    let mut quiet = host.stream("").await;
    host.publish(2).await;
    told.next_of("heartbeat").await;
    assert_eq!(told.seqs(2).await, [1, 2]);
    host.end(&stream_topic()).await;
    host.publish(1).await;
    let gap = told.next().await;
    assert_eq!((gap["type"].as_str(), gap["to_seq"].as_u64()), (Some("gap"), Some(0)));
    assert_eq!(told.next().await["epoch"], gap["epoch"]);
    assert_eq!(quiet.seqs(3).await, [1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_an_array_in_order() {
    let host = Host::start().await;
    host.publish(25).await;
    let url = host.url(&format!("/ws/{STREAM}?from=now-60s&batch=10"));
    let mut client = Client::connect(&url, None).await;
    let mut seqs = Vec::new();
    while seqs.len() < 25 {
        let batch = client.next().await;
        let events = batch.as_array().expect("an array");
        assert!(events.len() <= 10);
        seqs.extend(events.iter().filter_map(|event| event["seq"].as_u64()));
    }
    assert_eq!(seqs, (1..=25).collect::<Vec<u64>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_may_wait_fills_up() {
    let host = Host::start().await;
    let mut client = host.stream("&batch=4&wait_ms=1000").await;
    assert!(client.is_quiet().await);
    for _ in 0..4 {
        host.publish(1).await;
    }
    assert_eq!(client.next().await.as_array().map(Vec::len), Some(4));
    host.publish(1).await;
    assert_eq!(client.next().await.as_array().map(Vec::len), Some(1), "a batch does not wait for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_get_everything() {
    let host = Host::start().await;
    let connecting = (0..1_000).map(|_| host.stream(""));
    let clients = futures_util::future::join_all(connecting).await;
    let reading = clients.into_iter().map(|mut client| async move { client.seqs(20).await });
    let writing = async {
        for _ in 0..20 {
            host.publish(1).await;
        }
    };
    let (all, ()) = tokio::join!(futures_util::future::join_all(reading), writing);
    let expected: Vec<u64> = (1..=20).collect();
    assert!(all.iter().all(|seqs| *seqs == expected));
    let meter = host.meters.of(&bond_core::topic::StreamId::parse(STREAM).expect("id"));
    until(|| meter.msgs_out() == 20_000 && host.fanout.stats().delivered == 20_000).await;
    assert!(meter.latency().samples > 0);
}
