//! Messages that are no events, and ends.

use std::time::Duration;

use bond_core::api_key::Holder;
use bond_core::connection::Connection;
use bond_core::deliver::Stop;
use bond_core::time::UnixNanos;
use tokio::time::sleep;

use super::host::{Host, until};

#[tokio::test(start_paused = true)]
async fn heartbeats_come_at_once_and_then_every_five_minutes() {
    let host = Host::start().await;
    host.connect(host.to_stream("c")).await;
    host.connect(Connection { control: false, ..host.to_stream("quiet") }).await;
    sleep(Duration::from_secs(610)).await;
    let numbers: Vec<_> =
        host.gateway.of_type("c", "heartbeat").iter().filter_map(|m| m["seq_internal"].as_u64()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(host.gateway.messages("quiet").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_expired_connection_is_told_and_closed_unless_it_was_refreshed() {
    let host = Host::start().await;
    let expires_at = Some(host.clock.now().plus(Duration::from_secs(5)));
    host.connect(Connection { expires_at, ..host.to_stream("brief") }).await;
    let refreshed = Connection { expires_at, ..host.to_stream("refreshed") };
    host.connect(refreshed.clone()).await;
    sleep(Duration::from_secs(1)).await;
    let later = Some(host.clock.now().plus(Duration::from_secs(3_600)));
    host.connect(Connection { expires_at: later, asked_at: host.clock.now(), ..refreshed }).await;
    until(|| host.gateway.is_closed("brief")).await;
    assert_eq!(host.gateway.of_type("brief", "error")[0]["code"], "AUTH_EXPIRED");
    until(|| !host.connections.knows("brief")).await;
    host.publish(1).await;
    host.reaches("refreshed", 1).await;
    assert!(!host.gateway.is_closed("refreshed"));
}

#[tokio::test(start_paused = true)]
async fn who_spoke_too_often_is_told_and_closed_though_it_reads_nothing() {
    let host = Host::start().await;
    for name in ["talker", "deaf"] {
        host.connect(host.to_stream(name)).await;
    }
    host.publish(1).await;
    host.reaches("talker", 1).await;
    host.gateway.fail_posts(|name, _| (name == "deaf").then_some(Stop::Slow));
    for name in ["talker", "deaf"] {
        let mut flooding = host.to_stream(name);
        while !flooding.is_dismissed() {
            flooding.admit(host.clock.now());
        }
        flooding.renew(host.clock.now());
        host.connect(flooding).await;
    }
    for name in ["talker", "deaf"] {
        until(|| host.gateway.is_closed(name)).await;
        until(|| !host.connections.knows(name)).await;
    }
    let errors = host.gateway.of_type("talker", "error");
    assert_eq!((errors.len(), &errors[0]["code"]), (1, &"RATE_LIMIT_EXCEEDED".into()));
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_revoked_key_are_told_and_closed_and_no_other() {
    let host = Host::start().await;
    let holder = |key: &str| Holder { owner: "ann".into(), key: key.into() };
    for (name, key) in [("lost", Some("k1")), ("other", Some("k2")), ("nobody", None)] {
        host.connect(Connection { holder: key.map(holder), ..host.to_stream(name) }).await;
    }
    host.publish(1).await;
    host.reaches("other", 1).await;
    assert!(!host.gateway.is_closed("lost"));
    host.revoked.0.lock().push(holder("k1"));
    until(|| host.gateway.is_closed("lost")).await;
    assert_eq!(host.gateway.of_type("lost", "error")[0]["code"], "AUTH_INVALID");
    until(|| !host.connections.knows("lost")).await;
    host.publish(1).await;
    for name in ["other", "nobody"] {
        host.reaches(name, 2).await;
        assert!(!host.gateway.is_closed(name));
    }
}

fn noted(connection: &Connection, at: UnixNanos, notes: &[&str]) -> Connection {
    let mut connection = connection.clone();
    connection.renew(at);
    connection.notes = notes.iter().map(|n| format!(r#"{{"type":"note","n":"{n}"}}"#)).collect();
    connection
}

fn notes(host: &Host, name: &str) -> Vec<String> {
    let notes = host.gateway.of_type(name, "note");
    notes.iter().filter_map(|note| note["n"].as_str()).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn notes_are_told_once_for_each_version_before_any_event_with_control_off_too() {
    let host = Host::start().await;
    let quiet = Connection { control: false, ..host.to_stream("c") };
    let first = noted(&quiet, host.clock.now(), &["a", "b"]);
    host.publish(3).await;
    host.connect(first.clone()).await;
    until(|| notes(&host, "c").len() == 2).await;
    host.publish(1).await;
    // Of two versions in a row, the first must not be lost while a post is under way.
    let second = noted(&first, host.clock.now(), &["c"]);
    let third = noted(&second, host.clock.now(), &["d"]);
    for version in [&second, &third, &second, &third] {
        host.connect(version.clone()).await;
    }
    host.publish(1).await;
    sleep(Duration::from_secs(130)).await;
    assert_eq!(notes(&host, "c"), ["a", "b", "c", "d"], "reconciled twice, and told once");
    assert_eq!(host.gateway.messages("c")[0]["type"], "note");
}

#[tokio::test(start_paused = true)]
async fn a_successor_tells_notes_that_were_not_taken_and_no_others() {
    let mut host = Host::start().await;
    for name in ["told", "untold"] {
        host.connect(noted(&host.to_stream(name), host.clock.now(), &["n"])).await;
    }
    host.gateway.fail_posts(|name, _| (name == "untold").then_some(Stop::Failed));
    // Long enough for the requests to count as heard of.
    sleep(Duration::from_secs(130)).await;
    host.relay.crash();
    host.gateway.heal();
    host.take_over().await;
    until(|| notes(&host, "untold").len() == 1).await;
    host.publish(1).await;
    host.reaches("told", 1).await;
    assert_eq!(notes(&host, "told"), ["n"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_ends_its_connections_after_what_is_left() {
    let host = Host::start().await;
    host.connect(host.to_stream("c")).await;
    host.connect(Connection { control: false, ..host.to_stream("quiet") }).await;
    host.publish(200).await;
    host.reaches("c", 1).await;
    host.reaches("quiet", 1).await;
    host.delete_stream().await;
    until(|| host.gateway.is_closed("c") && host.gateway.is_closed("quiet")).await;
    assert_eq!(host.seqs("c").len(), 200);
    assert_eq!(host.gateway.of_type("c", "error")[0]["code"], "NOT_FOUND");
    assert_eq!(host.gateway.messages("quiet").len(), 200);
    until(|| !host.connections.knows("c")).await;
}
