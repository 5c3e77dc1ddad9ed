//! The fan-out function, over clients in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bond_core::connection::ConnectionId;
use bond_core::deliver::{
    CLOCK_SKEW, Deliverer, Delivery, DeliveryCounts, Invocation, Parcel, Receipt, Stop,
};
use bond_core::time::Clock;
use bond_functions::fanout::Fanout;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::support::*;

/// Clients that take what they are sent, but for those that were told otherwise.
#[derive(Default)]
struct Clients {
    got: Mutex<BTreeMap<String, Vec<String>>>,
    /// After how many messages a connection stops, and why.
    stops: BTreeMap<&'static str, (usize, Stop)>,
    /// Connections that never answer, and one whose delivery dies.
    hang: Vec<&'static str>,
    dies: Option<&'static str>,
    closed: Mutex<Vec<String>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl Deliverer for Clients {
    async fn deliver(&self, connection: &ConnectionId, messages: &[Bytes], _: usize) -> Delivery {
        let name = connection.as_str();
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        assert_ne!(self.dies, Some(name), "told to die");
        if self.hang.contains(&name) {
            std::future::pending::<()>().await;
        }
        let (taken, stop) = match self.stops.get(name) {
            Some(&(most, stop)) => (most.min(messages.len()), Some(stop)),
            None => (messages.len(), None),
        };
        let texts = messages[..taken].iter().map(|text| String::from_utf8_lossy(text).into_owned());
        self.got.lock().entry(name.to_owned()).or_default().extend(texts);
        Delivery { taken, stop }
    }

    async fn close(&self, connection: &ConnectionId) {
        self.closed.lock().push(connection.to_string());
    }

    async fn is_open(&self, _: &ConnectionId) -> Option<bool> {
        None
    }

    fn tally(&self) -> DeliveryCounts {
        DeliveryCounts { posts: 3, waited: Duration::from_millis(7) }
    }
}

fn parcel(connection: &str, runs: &[(u32, u32)]) -> Parcel {
    Parcel { connection: connection.to_owned(), batch: 0, runs: runs.to_vec(), close: false }
}

fn invocation(messages: usize, parcels: Vec<Parcel>) -> Box<RawValue> {
    invocation_until(None, messages, parcels)
}

fn invocation_until(deadline_ms: Option<i64>, messages: usize, parcels: Vec<Parcel>) -> Box<RawValue> {
    let message = |n| RawValue::from_string(format!("{{\"seq\": {n}}}")).expect("json");
    let messages = (0..messages).map(message).collect();
    let invocation = Invocation { lane: 3, number: 1, budget_ms: 5_000, deadline_ms, messages, parcels };
    serde_json::value::to_raw_value(&invocation).expect("json")
}

async fn fan_out(clients: &Arc<Clients>, event: Box<RawValue>) -> (Receipt, Vec<Value>) {
    let deliverer: Arc<dyn Deliverer> = Arc::clone(clients) as _;
    let (emf, lines) = emf("fanout");
    let until = Box::new(move |_: Instant| Arc::clone(&deliverer));
    let fanout = Fanout { until, clock: clock(), emf };
    let receipt = fanout.handle(event).await.expect("an invocation");
    let lines = lines.lock().clone();
    (receipt, lines)
}

#[tokio::test(start_paused = true)]
async fn each_connection_gets_its_runs_in_order_as_they_were_written() {
    let clients = Arc::new(Clients::default());
    let parcels = vec![parcel("a", &[(0, 2), (4, 1)]), parcel("b", &[(3, 1)]), parcel("c", &[])];
    let (receipt, _) = fan_out(&clients, invocation(5, parcels)).await;
    let taken: Vec<usize> = receipt.deliveries.iter().map(|delivery| delivery.taken).collect();
    assert_eq!(taken, [3, 1, 0]);
    let got = clients.got.lock();
    assert_eq!(got["a"], [r#"{"seq": 0}"#, r#"{"seq": 1}"#, r#"{"seq": 4}"#]);
    assert_eq!(got["b"], [r#"{"seq": 3}"#]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_holds_up_no_other() {
    let clients = Arc::new(Clients {
        stops: [("gone", (0, Stop::Gone)), ("slow", (1, Stop::Slow)), ("poison", (2, Stop::TooLarge))].into(),
        hang: vec!["hangs"],
        ..Clients::default()
    });
    let names = ["gone", "good", "slow", "hangs", "poison", "absurd", "last"];
    let parcels = names.map(|name| parcel(name, if name == "absurd" { &[(2, u32::MAX)] } else { &[(0, 3)] }));
    let (receipt, lines) = fan_out(&clients, invocation(3, parcels.into())).await;
    let outcomes: Vec<_> =
        receipt.deliveries.iter().map(|delivery| (delivery.taken, delivery.stop)).collect();
    assert_eq!(
        outcomes,
        [
            (0, Some(Stop::Gone)),
            (3, None),
            (1, Some(Stop::Slow)),
            (0, Some(Stop::Deadline)),
            (2, Some(Stop::TooLarge)),
            (0, Some(Stop::Failed)),
            (3, None),
        ]
    );
    let line = &lines[0];
    assert_eq!((line["Parcels"].as_f64(), line["Events"].as_f64()), (Some(7.0), Some(9.0)));
    assert_eq!((line["Posts"].as_f64(), line["EventsPerPost"].as_f64()), (Some(3.0), Some(3.0)));
    assert_eq!(line["QuotaWait"].as_f64(), Some(7.0));
    assert_eq!((line["PostsTooLarge"].as_f64(), line["PostsUnfinished"].as_f64()), (Some(1.0), Some(1.0)));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_dies_is_its_own_failure() {
    let clients = Arc::new(Clients { dies: Some("b"), ..Clients::default() });
    let parcels = ["a", "b", "c"].map(|name| parcel(name, &[(0, 1)]));
    let (receipt, _) = fan_out(&clients, invocation(1, parcels.into())).await;
    let stops: Vec<_> = receipt.deliveries.iter().map(|delivery| delivery.stop).collect();
    assert_eq!(stops, [None, Some(Stop::Failed), None]);
}

#[tokio::test(start_paused = true)]
async fn many_are_posted_to_at_once_but_not_all() {
    let clients = Arc::new(Clients::default());
    let parcels = (0..1_000).map(|n| parcel(&format!("c{n}"), &[(0, 1)])).collect();
    let begun = Instant::now();
    let (receipt, _) = fan_out(&clients, invocation(1, parcels)).await;
    assert!(receipt.deliveries.iter().all(|delivery| delivery.taken == 1));
    assert_eq!(clients.most.load(Ordering::SeqCst), 128);
    assert!(begun.elapsed() <= Duration::from_millis(90), "eight rounds of 10 ms: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn those_behind_one_that_hangs_are_begun() {
    let clients = Arc::new(Clients { hang: vec!["hangs"], ..Clients::default() });
    let mut parcels = vec![parcel("hangs", &[(0, 1)])];
    parcels.extend((0..1_000).map(|n| parcel(&format!("c{n}"), &[(0, 1)])));
    let (receipt, _) = fan_out(&clients, invocation(1, parcels)).await;
    assert_eq!(receipt.deliveries.iter().filter(|delivery| delivery.taken == 1).count(), 1_000);
    assert_eq!(receipt.deliveries[0].stop, Some(Stop::Deadline));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_begun_by_the_deadline_is_not_begun() {
    let clients = Arc::new(Clients { hang: vec!["hangs"; 1], ..Clients::default() });
    let mut parcels: Vec<Parcel> = (0..128).map(|_| parcel("hangs", &[(0, 1)])).collect();
    parcels.push(parcel("late", &[(0, 1)]));
    let begun = Instant::now();
    let (receipt, _) = fan_out(&clients, invocation(1, parcels)).await;
    assert!(receipt.deliveries.iter().all(|delivery| delivery.stop == Some(Stop::Deadline)));
    assert!(clients.got.lock().is_empty());
    assert!(begun.elapsed() < Duration::from_millis(5_200), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_starts_after_the_relays_deadline_posts_nothing() {
    let skew = CLOCK_SKEW.as_millis() as i64;
    let now = clock().now().as_millis();
    for (deadline, taken) in [(now - skew - 1, 0), (now - skew + 1, 1), (now + 5_000, 1)] {
        let clients = Arc::new(Clients::default());
        let parcels = vec![Parcel { close: true, ..parcel("a", &[(0, 1)]) }];
        let (receipt, _) = fan_out(&clients, invocation_until(Some(deadline), 1, parcels)).await;
        assert_eq!(receipt.deliveries[0].taken, taken, "{}", deadline - now);
        assert_eq!(clients.closed.lock().len(), taken, "{}", deadline - now);
    }
}

#[tokio::test(start_paused = true)]
async fn the_relays_deadline_cuts_a_budget_short() {
    let clients = Arc::new(Clients { hang: vec!["hangs"], ..Clients::default() });
    let begun = Instant::now();
    let deadline = clock().now().as_millis() + 1_000;
    let parcels = vec![parcel("hangs", &[(0, 1)])];
    fan_out(&clients, invocation_until(Some(deadline), 1, parcels)).await;
    let most = Duration::from_millis(1_200) + CLOCK_SKEW;
    assert!(begun.elapsed() < most, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_closed_once_it_has_all() {
    let clients = Arc::new(Clients { stops: [("b", (0, Stop::Slow))].into(), ..Clients::default() });
    let parcels = ["a", "b"].map(|name| Parcel { close: true, ..parcel(name, &[(0, 1)]) });
    fan_out(&clients, invocation(1, parcels.into())).await;
    assert_eq!(*clients.closed.lock(), ["a"]);
}

#[tokio::test]
async fn what_is_no_invocation_is_an_error_that_says_so() {
    let clients: Arc<dyn Deliverer> = Arc::new(Clients::default());
    let until = Box::new(move |_: Instant| Arc::clone(&clients));
    let fanout = Fanout { until, clock: clock(), emf: emf("fanout").0 };
    let event = RawValue::from_string(r#"{"lane": 1}"#.to_owned()).expect("json");
    let error = fanout.handle(event).await.expect_err("no invocation").to_string();
    assert!(error.contains("not an invocation"), "{error}");
}
