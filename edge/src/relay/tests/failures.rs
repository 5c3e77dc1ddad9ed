//! Posts and invocations that fail, in every way.

use std::time::Duration;

use bond_core::connection::Connection;
use bond_core::deliver::{Invocation, Stop};
use bond_core::log::{EventKind, Record};
use tokio::time::{Instant, sleep};

use super::gateway::Broken;
use super::host::{Host, stream, stream_topic, until};

/// The same numbers for each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

const STOPS: [Stop; 4] = [Stop::Slow, Stop::Quota, Stop::Deadline, Stop::Failed];

#[tokio::test(start_paused = true)]
async fn a_fifth_of_all_posts_fail_and_nothing_is_missing() {
    let host = Host::start().await;
    let mut dice = Dice(1);
    host.gateway.fail_posts(move |_, _| (dice.roll(5) == 0).then(|| STOPS[dice.roll(4) as usize]));
    let names = host.connect_many(30).await;
    for _ in 0..20 {
        host.publish(20).await;
        sleep(Duration::from_millis(500)).await;
    }
    host.gateway.heal();
    for name in &names {
        host.reaches(name, 400).await;
        assert_eq!(host.seqs(name), (1..=400).collect::<Vec<_>>(), "{name}");
        assert_eq!(host.gateway.of_type(name, "gap").len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn invocations_die_half_way_and_numbers_repeat_but_none_is_missing() {
    let host = Host::start().await;
    let mut dice = Dice(2);
    host.gateway.fail_invocations(move |invocation| match dice.roll(3) {
        0 => Some(Broken::HalfWay(invocation.parcels.len() / 2 + 1)),
        1 => Some(Broken::NotStarted),
        _ => None,
    });
    let names = host.connect_many(30).await;
    for _ in 0..10 {
        host.publish(10).await;
        sleep(Duration::from_millis(500)).await;
    }
    host.gateway.heal();
    let mut repeats = 0;
    for name in &names {
        host.reaches(name, 100).await;
        assert_eq!(host.seqs(name), (1..=100).collect::<Vec<_>>());
        repeats += host.gateway.of_type(name, "trade").len() - 100;
    }
    assert!(repeats > 0, "an unknown outcome repeats what was taken");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_waited_out_before_the_next_post() {
    let host = Host::start().await;
    let mut first = true;
    host.gateway.fail_invocations(move |_| std::mem::take(&mut first).then_some(Broken::HalfWay(1)));
    host.connect(host.to_stream("c")).await;
    host.publish(1).await;
    host.reaches("c", 1).await;
    until(|| host.gateway.invocations().len() >= 2).await;
    let begun = host.gateway.invocations();
    assert!(begun[1] - begun[0] >= Duration::from_secs(4), "{:?}", begun[1] - begun[0]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_holds_up_nobody_of_its_lane() {
    let host = Host::start().await;
    host.gateway.fail_posts(|connection, _| (connection == "c0").then_some(Stop::Slow));
    let names = host.connect_many(64).await;
    let begun = Instant::now();
    host.publish(5).await;
    for name in &names[1..] {
        host.reaches(name, 5).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(host.seqs("c0"), [0; 0]);
    host.gateway.heal();
    host.reaches("c0", 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_is_tried_less_and_less_often() {
    let host = Host::with(|config| config.stall = Duration::from_secs(3_600)).await;
    host.gateway.fail_posts(|_, _| Some(Stop::Slow));
    host.connect(host.to_stream("c")).await;
    host.publish(1).await;
    sleep(Duration::from_secs(60)).await;
    let tries = host.gateway.invocations().len();
    assert!((8..=11).contains(&tries), "{tries} tries in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself_though_a_batch_was_to_be_looked_at_before() {
    let host = Host::start().await;
    let mut refusals = 1..=1;
    host.gateway.fail_posts(move |_, _| refusals.next().map(|_| Stop::Slow));
    host.connect(Connection { control: false, ..host.batched("b", 2, Duration::from_millis(200)) }).await;
    host.publish(1).await;
    sleep(Duration::from_millis(60)).await;
    let begun = Instant::now();
    host.publish(1).await;
    host.reaches("b", 2).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Sends to a client that takes nothing for 29 s, and returns when that began.
async fn stall(host: &Host, connection: Connection) -> Instant {
    let name = connection.id.as_str().to_owned();
    host.gateway.heal();
    host.connect(connection).await;
    host.publish(1).await;
    until(|| host.gateway.last_seq(&name) > 0).await;
    host.gateway.fail_posts(|_, _| Some(Stop::Slow));
    let begun = Instant::now();
    host.publish(5).await;
    sleep(Duration::from_secs(29)).await;
    assert!(!host.gateway.is_closed(&name) && host.connections.knows(&name));
    begun
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_for_half_a_minute_is_told_why_and_closed() {
    let host = Host::start().await;
    let begun = stall(&host, host.to_stream("c")).await;
    host.gateway.fail_posts(|_, message| (message["type"] != "error").then_some(Stop::Slow));
    until(|| host.gateway.is_closed("c")).await;
    assert!(begun.elapsed() < Duration::from_secs(35), "{:?}", begun.elapsed());
    let errors = host.gateway.of_type("c", "error");
    assert_eq!((errors.len(), &errors[0]["code"]), (1, &"SLOW_CONSUMER".into()));
    assert_eq!(host.seqs("c"), [1], "no more events: it comes back and says where it goes on");
    until(|| !host.connections.knows("c")).await;
    assert_eq!(host.relay.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_even_take_the_reason_is_closed_without() {
    let host = Host::start().await;
    stall(&host, Connection { control: false, ..host.to_stream("quiet") }).await;
    until(|| host.gateway.is_closed("quiet") && !host.connections.knows("quiet")).await;
    stall(&host, host.to_stream("c")).await;
    until(|| host.gateway.is_closed("c") && !host.connections.knows("c")).await;
}

#[tokio::test(start_paused = true)]
async fn what_alarms_watch_tells_one_slow_client_from_a_relay_that_is_behind() {
    let host = Host::start().await;
    let names = host.connect_many(8).await;
    host.publish(10).await;
    for name in &names {
        host.reaches(name, 10).await;
    }
    sleep(Duration::from_secs(2)).await;
    let well = host.relay.take_figures();
    assert_eq!((well.delivered, well.dropped), (80, 0));
    assert!((10..1_000).contains(&well.delivery_p95.as_millis()), "{:?}", well.delivery_p95);
    host.gateway.fail_posts(|connection, _| (connection == "c0").then_some(Stop::Slow));
    host.publish(50).await;
    host.reaches("c1", 60).await;
    sleep(Duration::from_secs(10)).await;
    let slow = host.relay.take_figures();
    assert_eq!(slow.queue_depth, 50);
    assert!(slow.lag < Duration::from_secs(2), "{:?}", slow.lag);
    host.gateway.fail_posts(|_, _| Some(Stop::Quota));
    host.publish(1).await;
    sleep(Duration::from_secs(10)).await;
    assert!(host.relay.take_figures().lag > Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_little_now_and_then_stays() {
    let (host, begun) = (Host::start().await, Instant::now());
    host.connect(host.to_stream("c")).await;
    let mut count = 0;
    host.gateway.fail_posts(move |_, _| {
        count += 1;
        (count % 5 != 0).then_some(Stop::Slow)
    });
    host.publish(6).await;
    host.reaches("c", 6).await;
    assert!(begun.elapsed() > Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(host.connections.knows("c") && !host.gateway.is_closed("c"));
}

#[tokio::test(start_paused = true)]
async fn all_lanes_pause_while_the_quota_is_used_up() {
    let host = Host::start().await;
    host.gateway.fail_posts(|_, _| Some(Stop::Quota));
    let names = host.connect_many(64).await;
    host.publish(1).await;
    sleep(Duration::from_secs(10)).await;
    let tries = host.gateway.invocations().len();
    assert!(tries <= 16 * 8, "{tries} invocations in ten seconds");
    host.gateway.heal();
    for name in &names {
        host.reaches(name, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_young_connection_that_is_gone_is_tried_again_and_an_older_one_forgotten() {
    let host = Host::start().await;
    let opened = host.clock.now();
    host.gateway.fail_posts(move |_, _| Some(Stop::Gone));
    host.connect(host.to_stream("c")).await;
    host.publish(1).await;
    sleep(Duration::from_secs(3)).await;
    assert!(host.connections.knows("c") && host.relay.stats().connections == 1);
    host.gateway.heal();
    host.reaches("c", 1).await;
    until(|| host.clock.now().since(opened) > Duration::from_secs(10)).await;
    host.gateway.vanish("c");
    host.publish(1).await;
    until(|| !host.connections.knows("c")).await;
    assert_eq!(host.relay.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_to_anyone_is_passed_and_told() {
    let host = Host::start().await;
    host.connect(host.to_stream("told")).await;
    host.connect(Connection { control: false, ..host.to_stream("quiet") }).await;
    let now = host.clock.now();
    let record = |body: String| Record {
        kind: EventKind::Custom,
        ts: now,
        order: now,
        body: body.into(),
        changes: None,
    };
    let huge = format!("\"x\":\"{}\"", "x".repeat(40_000));
    let bodies = ["\"n\":1", "\"broken\":", huge.as_str(), "\"n\":4"];
    let records = bodies.iter().map(|body| record((*body).to_owned())).collect();
    host.append_records(&stream_topic(), records).await;
    host.reaches("told", 4).await;
    assert_eq!(host.seqs("told"), [1, 4]);
    let gaps = host.gateway.of_type("told", "gap");
    let told: Vec<_> = gaps.iter().map(|gap| (gap["from_seq"].as_u64(), gap["to_seq"].as_u64())).collect();
    assert_eq!(told, [(Some(2), Some(2)), (Some(3), Some(3))]);
    until(|| host.gateway.messages("quiet").len() == 2).await;
    assert_eq!(host.meters().of(&stream()).dropped(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_ends_every_invocation_is_found_passed_and_told() {
    let host = Host::start().await;
    let carries =
        |invocation: &Invocation| invocation.messages.iter().any(|event| event.get().contains("poison"));
    host.gateway.fail_invocations(move |invocation| carries(invocation).then_some(Broken::HalfWay(0)));
    let names = host.connect_many(60).await;
    host.connect(host.batched("batches", 20, Duration::from_millis(100))).await;
    host.publish(40).await;
    host.append(&stream_topic(), EventKind::Trade, vec!["\"n\":\"poison\"".to_owned()]).await;
    for _ in 0..100 {
        host.publish(1).await;
        sleep(Duration::from_millis(500)).await;
    }
    for name in names.iter().map(String::as_str).chain(["batches"]) {
        host.reaches(name, 141).await;
        assert_eq!(host.seqs(name), (1..=141).filter(|seq| *seq != 41).collect::<Vec<_>>(), "{name}");
        let gaps = host.gateway.of_type(name, "gap");
        assert_eq!(gaps.len(), 1, "{name}: {gaps:?}");
        assert_eq!((gaps[0]["from_seq"].as_u64(), gaps[0]["to_seq"].as_u64()), (Some(41), Some(41)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_does_not_work_for_a_while_costs_no_event() {
    let host = Host::with(|config| config.ring = Duration::from_secs(600)).await;
    let names = host.connect_many(30).await;
    host.publish(1).await;
    for name in &names {
        host.reaches(name, 1).await;
    }
    host.gateway.fail_invocations(|_| Some(Broken::HalfWay(0)));
    for _ in 0..100 {
        host.publish(1).await;
        sleep(Duration::from_secs(3)).await;
    }
    host.gateway.heal();
    for name in &names {
        host.reaches(name, 101).await;
        assert_eq!(host.seqs(name), (1..=101).collect::<Vec<_>>(), "{name}");
        assert_eq!(host.gateway.of_type(name, "gap").len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_post_refuses_as_too_large_is_passed_there() {
    let host = Host::start().await;
    host.gateway.fail_posts(|connection, message| {
        (connection == "narrow" && message["seq"] == 2).then_some(Stop::TooLarge)
    });
    host.connect(host.to_stream("narrow")).await;
    host.connect(host.to_stream("wide")).await;
    host.publish(3).await;
    host.reaches("narrow", 3).await;
    assert_eq!(host.seqs("narrow"), [1, 3]);
    host.reaches("wide", 3).await;
    assert_eq!(host.seqs("wide"), [1, 2, 3]);
}
