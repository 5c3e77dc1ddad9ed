//! Who is served: commands that come, go astray or come late, and the store.

use std::time::Duration;

use bond_core::connection::{ConnectionId, ConnectionStore};
use bond_core::control::Command;
use tokio::time::sleep;

use super::host::{Host, until};

#[tokio::test(start_paused = true)]
async fn whose_command_was_lost_is_found_within_two_minutes() {
    let host = Host::start().await;
    let lost = host.to_stream("lost");
    host.connections.put(&lost).await.expect("put");
    host.publish(1).await;
    sleep(Duration::from_secs(50)).await;
    host.publish(1).await;
    host.reaches("lost", 2).await;
    assert_eq!(host.seqs("lost"), [1, 2], "from where it asked for");
}

#[tokio::test(start_paused = true)]
async fn who_is_missing_once_stays_and_who_is_missing_twice_goes() {
    let host = Host::start().await;
    host.connect(host.to_stream("c")).await;
    until(|| host.relay.stats().connections == 1).await;
    host.connections.forget("c");
    sleep(Duration::from_secs(59)).await;
    assert_eq!(host.relay.stats().connections, 1);
    until(|| host.relay.stats().connections == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_says_goodbye_is_let_go_but_not_by_an_older_goodbye() {
    let host = Host::start().await;
    let connection = host.to_stream("c");
    let before = connection.opened_at.minus(Duration::from_secs(1));
    host.connect(connection).await;
    let gone = |at| Command::Disconnected { connection: ConnectionId::new("c"), at };
    host.relay.notify(gone(before));
    host.publish(1).await;
    host.reaches("c", 1).await;
    host.relay.notify(gone(host.clock.now()));
    until(|| host.relay.stats().connections == 0).await;
}

#[tokio::test(start_paused = true)]
async fn who_vanished_without_a_word_is_swept_within_ten_minutes() {
    let host = Host::start().await;
    let quiet = bond_core::connection::Connection { control: false, ..host.to_stream("quiet") };
    host.connect(quiet.clone()).await;
    host.connect(bond_core::connection::Connection { id: ConnectionId::new("there"), ..quiet }).await;
    sleep(Duration::from_secs(1)).await;
    host.gateway.vanish("quiet");
    sleep(Duration::from_secs(599)).await;
    assert!(!host.connections.knows("quiet") && host.connections.knows("there"));
    assert_eq!(host.relay.stats().connections, 1);
    assert!(host.gateway.asked().len() <= 4, "{:?}", host.gateway.asked());
}

#[tokio::test(start_paused = true)]
async fn there_are_no_more_connections_than_the_bound() {
    let host = Host::with(|config| config.connections = 10).await;
    host.connect_many(20).await;
    host.publish(1).await;
    until(|| host.relay.stats().delivered == 10).await;
    assert_eq!(host.relay.stats().connections, 10);
    let served: Vec<String> =
        (0..20).map(|n| format!("c{n}")).filter(|name| !host.seqs(name).is_empty()).collect();
    host.relay
        .notify(Command::Disconnected { connection: ConnectionId::new(&served[0]), at: host.clock.now() });
    host.connections.forget(&served[0]);
    until(|| host.relay.stats().connections == 9).await;
    until(|| host.relay.stats().connections == 10).await;
}
