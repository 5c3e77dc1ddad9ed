//! A fan-out function and the clients behind it, in memory: it posts as slowly and fails as often as it is told.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bond_core::connection::ConnectionId;
use bond_core::deliver::{
    Deliverer, Delivery, INVOCATION_BYTES, Invocation, InvokeError, Invoker, Parcel, Receipt, Stop,
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How long one post takes.
const POST: Duration = Duration::from_millis(10);

/// What happens to a post, by the connection and the message.
pub(super) type PostFault = Box<dyn FnMut(&str, &Value) -> Option<Stop> + Send>;

/// What happens to an invocation, by its number: after so many parcels it fails.
pub(super) type InvocationFault = Box<dyn FnMut(&Invocation) -> Option<Broken> + Send>;

/// How an invocation ends without a receipt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Broken {
    NotStarted,
    /// After this many parcels.
    HalfWay(usize),
}

/// The function, and what the clients got.
#[derive(Default)]
pub(super) struct Gateway {
    state: Mutex<State>,
    pub(super) post_fault: Mutex<Option<PostFault>>,
    pub(super) invocation_fault: Mutex<Option<InvocationFault>>,
    /// Until when posts may be made.
    pub(super) until: Mutex<Option<Instant>>,
}

#[derive(Default)]
struct State {
    frames: BTreeMap<String, Vec<Frame>>,
    last: BTreeMap<String, u64>,
    closed: HashSet<String>,
    gone: HashSet<String>,
    asked: Vec<String>,
    busy: HashSet<u16>,
    invocations: Vec<Instant>,
    deadlines: Vec<(Instant, i64)>,
}

/// A frame that a client got.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) at: Instant,
    pub(super) messages: Vec<Value>,
}

impl Gateway {
    pub(super) fn fail_posts(&self, fault: impl FnMut(&str, &Value) -> Option<Stop> + Send + 'static) {
        *self.post_fault.lock() = Some(Box::new(fault));
    }

    pub(super) fn fail_invocations(&self, fault: impl FnMut(&Invocation) -> Option<Broken> + Send + 'static) {
        *self.invocation_fault.lock() = Some(Box::new(fault));
    }

    pub(super) fn heal(&self) {
        *self.post_fault.lock() = None;
        *self.invocation_fault.lock() = None;
    }

    /// The frames of one client.
    pub(super) fn frames(&self, connection: &str) -> Vec<Frame> {
        self.state.lock().frames.get(connection).cloned().unwrap_or_default()
    }

    /// The number of the last event that a client got; 0 before the first.
    pub(super) fn last_seq(&self, connection: &str) -> u64 {
        self.state.lock().last.get(connection).copied().unwrap_or_default()
    }

    /// All messages of one client, in order.
    pub(super) fn messages(&self, connection: &str) -> Vec<Value> {
        self.frames(connection).into_iter().flat_map(|frame| frame.messages).collect()
    }

    pub(super) fn of_type(&self, connection: &str, kind: &str) -> Vec<Value> {
        self.messages(connection).into_iter().filter(|message| message["type"] == kind).collect()
    }

    pub(super) fn is_closed(&self, connection: &str) -> bool {
        self.state.lock().closed.contains(connection)
    }

    /// The client goes without a word.
    pub(super) fn vanish(&self, connection: &str) {
        self.state.lock().gone.insert(connection.to_owned());
    }

    /// Who was looked for.
    pub(super) fn asked(&self) -> Vec<String> {
        self.state.lock().asked.clone()
    }

    /// When invocations were begun, and what their deadlines were.
    pub(super) fn deadlines(&self) -> Vec<(Instant, i64)> {
        self.state.lock().deadlines.clone()
    }

    /// When invocations were begun.
    pub(super) fn invocations(&self) -> Vec<Instant> {
        self.state.lock().invocations.clone()
    }

    fn begin(&self, invocation: &Invocation) {
        let bytes = serde_json::to_vec(invocation).expect("encoded").len();
        assert!(bytes <= INVOCATION_BYTES, "{bytes} bytes");
        let mut state = self.state.lock();
        state.invocations.push(Instant::now());
        assert!(state.busy.insert(invocation.lane), "two invocations of lane {}", invocation.lane);
        drop(state);
        let end = Instant::now() + Duration::from_millis(invocation.budget_ms);
        assert!(self.until.lock().is_none_or(|until| end < until), "posts beyond the lease");
        let deadline = invocation.deadline_ms.expect("a deadline");
        self.state.lock().deadlines.push((Instant::now(), deadline));
    }

    fn end(&self, invocation: &Invocation) {
        self.state.lock().busy.remove(&invocation.lane);
    }

    /// Posts one frame. Returns why it was refused.
    fn post(&self, connection: &str, messages: Vec<Value>) -> Option<Stop> {
        if self.state.lock().gone.contains(connection) {
            return Some(Stop::Gone);
        }
        let fault = |message| self.post_fault.lock().as_mut().and_then(|fault| fault(connection, message));
        if let Some(stop) = messages.iter().find_map(fault) {
            return Some(stop);
        }
        let last = messages.iter().filter_map(|message| message["seq"].as_u64()).next_back();
        let frame = Frame { at: Instant::now(), messages };
        let mut state = self.state.lock();
        state.last.extend(last.map(|seq| (connection.to_owned(), seq)));
        state.frames.entry(connection.to_owned()).or_default().push(frame);
        None
    }

    async fn parcel(&self, invocation: &Invocation, parcel: &Parcel, end: Instant) -> Delivery {
        let messages: Vec<Value> = indices(parcel)
            .map(|index| serde_json::from_str(invocation.messages[index].get()).expect("json"))
            .collect();
        let mut taken = 0;
        for frame in messages.chunks(parcel.batch.max(1)) {
            if Instant::now() + POST > end {
                return Delivery { taken, stop: Some(Stop::Deadline) };
            }
            sleep(POST).await;
            if let Some(stop) = self.post(&parcel.connection, frame.to_vec()) {
                return Delivery { taken, stop: Some(stop) };
            }
            taken += frame.len();
        }
        if parcel.close {
            self.state.lock().closed.insert(parcel.connection.clone());
        }
        Delivery { taken, stop: None }
    }
}

fn indices(parcel: &Parcel) -> impl Iterator<Item = usize> {
    parcel.runs.iter().flat_map(|(first, count)| *first as usize..(*first + *count) as usize)
}

#[async_trait]
impl Invoker for Gateway {
    async fn invoke(&self, invocation: &Invocation) -> Result<Receipt, InvokeError> {
        self.begin(invocation);
        let end = Instant::now() + Duration::from_millis(invocation.budget_ms);
        let broken = self.invocation_fault.lock().as_mut().and_then(|fault| fault(invocation));
        let parcels = match broken {
            None => invocation.parcels.len(),
            Some(Broken::NotStarted) => 0,
            Some(Broken::HalfWay(parcels)) => parcels.min(invocation.parcels.len()),
        };
        let posts = invocation.parcels[..parcels].iter().map(|parcel| self.parcel(invocation, parcel, end));
        let deliveries = futures_util::future::join_all(posts).await;
        self.end(invocation);
        match broken {
            None => Ok(Receipt { deliveries }),
            Some(Broken::NotStarted) => Err(InvokeError::NotStarted("too many".to_owned())),
            Some(Broken::HalfWay(_)) => Err(InvokeError::Failed {
                reason: "killed".to_owned(),
                after: end.saturating_duration_since(Instant::now()),
            }),
        }
    }
}

/// Tells whether a connection is open, and closes it.
pub(super) struct Probe(pub(super) Arc<Gateway>);

#[async_trait]
impl Deliverer for Probe {
    async fn deliver(&self, _: &ConnectionId, _: &[bytes::Bytes], _: usize) -> Delivery {
        Delivery { taken: 0, stop: Some(Stop::Failed) }
    }

    async fn close(&self, connection: &ConnectionId) {
        self.0.state.lock().closed.insert(connection.as_str().to_owned());
    }

    async fn is_open(&self, connection: &ConnectionId) -> Option<bool> {
        let mut state = self.0.state.lock();
        state.asked.push(connection.as_str().to_owned());
        Some(!state.gone.contains(connection.as_str()))
    }
}
