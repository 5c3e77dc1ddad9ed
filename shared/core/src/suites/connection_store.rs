//! What every [`ConnectionStore`] must do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::api_key::Holder;
use crate::connection::{
    Batch, Carries, Connection, ConnectionId, ConnectionStore, FeedState, LANES, LIFETIME, RateState, Resume,
};
use crate::message::Rate;
use crate::position::{Epoch, Position, Start};
use crate::time::UnixNanos;
use crate::topic::StreamId;

/// A store under test.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A handle on a store that is empty and not used by another case.
    async fn empty(&self) -> Arc<dyn ConnectionStore>;

    /// A second handle on the store that `empty` gave last, as another process would have it.
    async fn open(&self) -> Arc<dyn ConnectionStore>;
}

/// Runs every case, one after another, each on a store of its own.
///
/// # Panics
/// Where the store does not behave as [`ConnectionStore`] says.
pub async fn run(harness: &impl Harness) {
    what_is_put_is_found_whole(harness).await;
    an_older_request_changes_nothing(harness).await;
    the_newest_of_many_at_once_stands(harness).await;
    of_two_changes_of_one_version_one_stands(harness).await;
    what_is_removed_is_gone(harness).await;
    a_lane_holds_its_own(harness).await;
    a_lane_of_any_size_is_whole(harness).await;
    nothing_outlives_the_longest_connection(harness).await;
}

const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);

fn after(by: Duration) -> UnixNanos {
    NOW.plus(by)
}

fn stream(n: u8) -> Carries {
    let id = StreamId::from_bytes([0, 0, 0, 0, 0, 0, 0, n]);
    Carries::Stream { id, start: Start::At(UnixNanos::from_nanos(1_699_999_999_123_456_789)) }
}

fn connection(name: &str) -> Connection {
    Connection {
        control: true,
        batch: Some(Batch { size: 10, wait: Duration::from_millis(50) }),
        expires_at: Some(after(Duration::from_secs(3600))),
        holder: Some(Holder { owner: "ann".into(), key: "bEPz35-2".into() }),
        pace: RateState { free_at: after(Duration::from_millis(50)) },
        refused: 3,
        notes: vec![r#"{"type":"error","message":"\u0000 \" é"}"#.to_owned()],
        ..Connection::opened(ConnectionId::new(name), NOW, stream(1))
    }
}

/// The connection as a request made `millis` later left it.
fn asked(name: &str, millis: u64) -> Connection {
    Connection { asked_at: after(Duration::from_millis(millis)), control: false, ..connection(name) }
}

/// A feed whose state takes some kilobytes.
fn feed(name: &str, topics: u32) -> Connection {
    let position = Position { epoch: Epoch::new("e1").expect("epoch"), seq: 9 };
    let resume = Resume { position, asked_at: NOW };
    let topics: Vec<String> = (0..topics).map(|n| format!("ticker.okx.COIN{n}-USDT")).collect();
    let state = FeedState {
        wish: None,
        is_background: true,
        rates: topics.iter().map(|topic| (topic.clone(), Rate::Low)).collect(),
        resumes: topics.iter().map(|topic| (topic.clone(), resume.clone())).collect(),
    };
    Connection { carries: Carries::Feed(Box::new(state)), ..connection(name) }
}

async fn put(store: &dyn ConnectionStore, connection: &Connection) -> bool {
    store.put(connection).await.expect("put")
}

async fn get(store: &dyn ConnectionStore, name: &str, now: UnixNanos) -> Option<Connection> {
    store.get(&ConnectionId::new(name), now).await.expect("get")
}

async fn names(store: &dyn ConnectionStore, lane: u16, now: UnixNanos) -> Vec<String> {
    let found = store.lane(lane, now).await.expect("lane");
    let mut names: Vec<String> = found.iter().map(|found| found.id.as_str().to_owned()).collect();
    names.sort();
    names
}

async fn what_is_put_is_found_whole(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    assert_eq!(get(&*store, "a=", NOW).await, None, "nobody has connected");
    for connection in [connection("a="), feed("b/+", 3)] {
        assert!(put(&*store, &connection).await, "what is new is kept");
        let found = get(&*other, connection.id.as_str(), NOW).await;
        assert_eq!(found, Some(connection), "another handle finds all of it");
    }
}

async fn an_older_request_changes_nothing(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    assert!(put(&*store, &asked("a", 5)).await);
    assert!(!put(&*other, &connection("a")).await, "an older request is told that it came late");
    assert_eq!(get(&*other, "a", NOW).await, Some(asked("a", 5)), "and has changed nothing");
    let same = Connection { carries: stream(2), ..asked("a", 5) };
    assert!(put(&*other, &same).await, "a request of the same time replaces");
    assert_eq!(get(&*store, "a", NOW).await, Some(same));
    assert!(put(&*other, &asked("a", 6)).await, "a newer one too");
    assert_eq!(get(&*store, "a", NOW).await, Some(asked("a", 6)));
    assert!(put(&*store, &connection("b")).await, "another connection's time does not matter");
}

async fn the_newest_of_many_at_once_stands(harness: &impl Harness) {
    let store = harness.empty().await;
    let mut puts = Vec::new();
    for n in (0..20).map(|n| n * 7 % 20) {
        let store = harness.open().await;
        #[expect(clippy::disallowed_methods, reason = "the suite waits for it")]
        puts.push(tokio::spawn(async move { (n, store.put(&asked("a", n)).await.expect("put")) }));
    }
    for put in puts {
        let (n, kept) = put.await.expect("put");
        assert!(kept || n < 19, "the newest is kept whenever it comes");
    }
    assert_eq!(get(&*store, "a", NOW).await, Some(asked("a", 19)));
}

async fn of_two_changes_of_one_version_one_stands(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    assert_eq!(store.replace(&asked("a", 1), NOW).await, Ok(false), "what is not there is not replaced");
    assert_eq!(get(&*store, "a", NOW).await, None);
    assert!(put(&*store, &connection("a")).await);
    let mut replacing = Vec::new();
    for n in 1..=10 {
        let store = harness.open().await;
        let change = async move { (n, store.replace(&asked("a", n), NOW).await.expect("replace")) };
        #[expect(clippy::disallowed_methods, reason = "the suite waits for it")]
        replacing.push(tokio::spawn(change));
    }
    let mut stands = Vec::new();
    for change in replacing {
        let (n, done) = change.await.expect("replace");
        stands.extend(done.then_some(n));
    }
    assert_eq!(stands.len(), 1, "{stands:?}");
    assert_eq!(get(&*other, "a", NOW).await, Some(asked("a", stands[0])));
    assert_eq!(other.replace(&asked("a", 99), NOW).await, Ok(false), "that version is gone");
    let was = asked("a", stands[0]).asked_at;
    assert_eq!(other.replace(&asked("a", 99), was).await, Ok(true));
    assert_eq!(get(&*store, "a", NOW).await, Some(asked("a", 99)));
}

async fn what_is_removed_is_gone(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    assert!(put(&*store, &connection("a")).await);
    assert!(put(&*store, &connection("b")).await);
    let id = ConnectionId::new("a");
    assert_eq!(other.remove(&id).await, Ok(true));
    assert_eq!(store.remove(&id).await, Ok(false), "it is removed once");
    assert_eq!(get(&*store, "a", NOW).await, None);
    assert_eq!(names(&*store, id.lane(), NOW).await, same_lane(&["b"], id.lane()), "nor is it in its lane");
    assert!(get(&*store, "b", NOW).await.is_some(), "the other one stays");
}

/// Those of `names` that belong to `lane`.
fn same_lane(names: &[&str], lane: u16) -> Vec<String> {
    let of_lane = names.iter().filter(|name| ConnectionId::new(**name).lane() == lane);
    of_lane.map(|name| (*name).to_owned()).collect()
}

async fn a_lane_holds_its_own(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    let all: Vec<String> = (0..60).map(|n| format!("c{n}")).collect();
    for name in &all {
        put(&*store, &connection(name)).await;
    }
    let mut found = 0;
    for lane in 0..LANES {
        let names = names(&*other, lane, NOW).await;
        assert!(names.iter().all(|name| ConnectionId::new(name.as_str()).lane() == lane), "lane {lane}");
        found += names.len();
    }
    assert_eq!(found, all.len(), "each is in one lane");
}

/// More than a megabyte in one lane, which is more than stores give at once.
async fn a_lane_of_any_size_is_whole(harness: &impl Harness) {
    let (store, lane) = (harness.empty().await, 7);
    let of_lane =
        (0..).map(|n| format!("c{n}")).filter(|name| ConnectionId::new(name.as_str()).lane() == lane);
    let mut all: Vec<String> = of_lane.take(60).collect();
    for name in &all {
        put(&*store, &feed(name, 400)).await;
    }
    all.sort();
    assert_eq!(names(&*harness.open().await, lane, NOW).await, all);
}

async fn nothing_outlives_the_longest_connection(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    assert!(put(&*store, &connection("a")).await);
    let (last, end) = (after(LIFETIME - Duration::from_nanos(1)), after(LIFETIME));
    let lane = ConnectionId::new("a").lane();
    assert!(get(&*other, "a", last).await.is_some(), "it is there to its end");
    assert_eq!(names(&*other, lane, last).await, ["a"]);
    assert_eq!(get(&*other, "a", end).await, None, "and not at its end, removed or not");
    assert!(names(&*other, lane, end).await.is_empty(), "nor in its lane");
}
