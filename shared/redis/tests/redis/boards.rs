//! The small ports: commands, the lease, cursors, vitals.

use std::collections::BTreeMap;
use std::time::Duration;

use bond_core::connection::ConnectionId;
use bond_core::control::{Command, Commands, Control};
use bond_core::cursors::{Apart, CursorStore, LaneCursors};
use bond_core::lease::Lease;
use bond_core::log::{Fence, LogError};
use bond_core::position::{Epoch, Position};
use bond_core::source::{SourceState, SourceStatus};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use bond_core::vitals::{StreamFigures, Vitals, VitalsBoard};
use bond_redis::{RedisCommands, RedisControl, RedisCursors, RedisLease, RedisVitals};
use tokio::time::timeout;

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(10);

fn gone(connection: &str) -> Command {
    Command::FeedGone { connection: connection.into() }
}

/// Reads until `last` has come.
async fn read_until(commands: &mut RedisCommands, last: &Command) -> Vec<Command> {
    let mut read = Vec::new();
    while read.last() != Some(last) {
        // An error is a broken connection, which the reader restores.
        let news = timeout(PATIENCE, commands.next()).await.expect("commands");
        read.extend(news.unwrap_or_default());
    }
    read
}

#[tokio::test]
async fn commands_arrive_in_order_from_the_opening_on() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let control = RedisControl::new(redis.clone());
    control.send(gone("before")).await.expect("send");
    let mut commands = RedisCommands::open(&redis).await.expect("open");
    control.send(gone("a")).await.expect("send");
    server.command(&["XADD", "bond:control", "*", "c", "{\"command\":\"of a later version\"}"]);
    control.send(gone("b")).await.expect("send");
    let read = read_until(&mut commands, &gone("b")).await;
    assert_eq!(read, [gone("a"), gone("b")], "what cannot be read is skipped");
}

#[tokio::test]
async fn a_reader_of_commands_survives_its_connections() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let control = RedisControl::new(redis.clone());
    let mut commands = RedisCommands::open(&redis).await.expect("open");
    control.send(gone("a")).await.expect("send");
    read_until(&mut commands, &gone("a")).await;
    server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    server.command(&["XADD", "bond:control", "*", "c", &gone("b").to_json()]);
    assert_eq!(read_until(&mut commands, &gone("b")).await, [gone("b")]);
}

#[tokio::test]
async fn one_process_at_a_time_holds_the_lease() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let (one, other) = (RedisLease::new(redis.clone(), "one"), RedisLease::new(redis.clone(), "other"));
    assert_eq!(one.hold().await, Ok(true));
    assert_eq!(other.hold().await, Ok(false), "another holds it");
    other.release().await.expect("release");
    assert_eq!(one.hold().await, Ok(true), "who does not hold it cannot release it");
    one.release().await.expect("release");
    assert_eq!(other.hold().await, Ok(true), "released, it is free");
    let left: u64 = server.command(&["PTTL", "bond:lease"]).parse().expect("a time to live");
    assert!((5_000..=10_000).contains(&left), "it lapses in {left} ms");
    server.command(&["DEL", "bond:lease"]);
    assert_eq!(one.hold().await, Ok(true), "lapsed, it is free");
}

fn cursors(seq: u64) -> LaneCursors {
    let topic = "trades.okx.BTC-USDT".parse().expect("topic");
    let position = Position { epoch: Epoch::new("e1").expect("epoch"), seq };
    let passed = BTreeMap::from([(topic, position)]);
    let apart = Apart {
        placed_at: UnixNanos::from_secs(50),
        told_at: UnixNanos::from_secs(50),
        positions: passed.clone(),
    };
    let apart = BTreeMap::from([(ConnectionId::new("L0SM9cOFvHcCIhw="), apart)]);
    LaneCursors { known_until: UnixNanos::from_secs(40), passed, apart }
}

#[tokio::test]
async fn cursors_are_those_of_the_greatest_fence() {
    let server = Server::start(&[]).await;
    let store = RedisCursors::new(server.connect().await);
    assert_eq!(store.load(3).await, Ok(LaneCursors::default()), "none were saved");
    store.save(Fence(7), 3, &cursors(1)).await.expect("save");
    store.save(Fence(8), 3, &cursors(2)).await.expect("save");
    assert_eq!(store.save(Fence(7), 3, &cursors(3)).await, Err(LogError::Fenced));
    assert_eq!(store.load(3).await, Ok(cursors(2)), "a late save has changed nothing");
    assert_eq!(store.load(4).await, Ok(LaneCursors::default()), "another lane has its own");
}

fn vitals(connections: u64) -> Vitals {
    let figures =
        StreamFigures { msgs_in: 1, msgs_out: 2, dropped: 3, latencies: vec![Duration::from_micros(1500)] };
    let status = SourceStatus { state: SourceState::Stale, since: UnixNanos::from_secs(5), simulated: true };
    Vitals {
        connections,
        delivered: 10 * connections,
        streams: BTreeMap::from([(StreamId::from_bytes([1; 8]), figures)]),
        sources: BTreeMap::from([("okx".into(), status)]),
    }
}

#[tokio::test]
async fn vitals_are_those_of_all_processes() {
    let server = Server::start(&[]).await;
    let redis = server.connect().await;
    let (one, other) = (RedisVitals::new(redis.clone(), "one"), RedisVitals::new(redis.clone(), "other"));
    one.publish(&vitals(99)).await.expect("tell");
    one.publish(&vitals(1)).await.expect("tell");
    assert_eq!(other.all().await, Ok(vitals(1)), "what is told replaces what was");
    other.publish(&vitals(2)).await.expect("tell");
    let mut sum = vitals(1);
    sum.add(vitals(2));
    assert_eq!(one.all().await.map(|all| (all.connections, all.streams)), Ok((sum.connections, sum.streams)));
    let old = server.command(&["HGET", "bond:vitals", "other"]);
    let (at, text) = old.split_once(' ').expect("a time");
    let at: u64 = at.parse().expect("milliseconds");
    server.command(&["HSET", "bond:vitals", "other", &format!("{} {text}", at - 11_000)]);
    assert_eq!(one.all().await, Ok(vitals(1)), "what was told long ago is not believed");
}
