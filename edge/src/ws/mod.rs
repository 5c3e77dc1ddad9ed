//! The WebSocket fan-out.
//!
//! One task fills a ring of ready frames for every followed topic from the log's tail. Worker threads own the clients' sockets: a client is
//! a cursor into a ring, and a pass over the clients writes to each the run of frames after its cursor in one call. Under load the
//! runs get longer by themselves; there is no queue for a client, and no task.

pub(crate) mod budget;
pub(crate) mod connection;
mod deflate;
mod fast_path;
mod feed_turn;
pub(crate) mod frame_decoder;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod handshake;
mod health;
pub(crate) mod lifecycle;
mod post;
mod protocol;
mod revocation;
pub(crate) mod seats;
mod shared;
mod topics;
mod users;
mod watched;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use bond_api::admission::Admission;
use bond_core::connection::UserLimits;
use bond_core::control::Control;
use bond_core::topic::StreamId;
use bond_ingest::engine::Ports;
use bond_supervise::Supervisor;
use mio::Poll;
use parking_lot::Mutex;
use smol_str::{SmolStr, format_smolstr};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use handshake::root_by_query;
pub(crate) use lifecycle::{MISSED_PONGS, UNFINISHED};
pub(crate) use protocol::UNHEARD;
pub use shared::Limits;

use crate::alerts::AlertConfig;
use crate::delivery::Delivery;
use crate::delivery::cursor::Retention;
use crate::delivery::figures::MOST_WORKERS;
use crate::delivery::mailbox::{Mailbox, Waker};
use post::{Post, WorkerMessage};
use shared::Shared;
use users::Users;
use worker::{WAKE, Worker};

/// How long clients may take to leave when the edge ends.
const DRAIN: Duration = Duration::from_millis(1_500);

/// What a fan-out works with.
#[derive(Clone)]
pub struct FanoutParts {
    /// Where events come from, which streams exist, how the sources fare, and who watches over the workers and what feeds them.
    pub ports: Ports,
    /// Where feeds' wishes go.
    pub control: Arc<dyn Control>,
    /// Who may connect.
    pub admission: Arc<dyn Admission>,
    /// Where users' subscriptions are counted over several processes.
    pub user_limits: Option<Arc<dyn UserLimits>>,
}

/// How a fan-out works.
#[derive(Clone, Debug)]
pub struct FanoutConfig {
    /// Threads that own connections, 63 at most; by default half the cores. More would keep the log's tail and the kernel waiting for a
    /// core, which costs more latency than a second pass saves.
    pub workers: usize,
    /// How long items are kept for replay.
    pub ring: Duration,
    /// The most bytes of frames that are kept for one topic.
    pub ring_bytes: u64,
    /// Deadlines and limits.
    pub limits: Limits,
    /// How topics are watched.
    pub alerts: AlertConfig,
    /// A name of this process, unique among all edges.
    pub instance: SmolStr,
}

impl FanoutConfig {
    /// The defaults, for a process of this name.
    pub fn new(instance: impl Into<SmolStr>) -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            ring: Duration::from_secs(60),
            ring_bytes: 32 * 1024 * 1024,
            limits: Limits::default(),
            alerts: AlertConfig::default(),
            instance: instance.into(),
        }
    }
}

/// What a fan-out is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanoutStats {
    /// Connected clients.
    pub connections: usize,
    /// Those among them that carry a feed.
    pub feeds: usize,
    /// Events written since the start, one for each event and client.
    pub delivered: u64,
}

/// A running fan-out. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Fanout(Arc<FanoutInner>);

struct FanoutInner {
    shared: Arc<Shared>,
    stop: CancellationToken,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Fanout {
    /// Starts the workers and the tasks that feed them. Must be called within a runtime.
    ///
    /// # Errors
    /// Where the system gives no poller or thread.
    pub fn start(config: FanoutConfig, parts: FanoutParts) -> io::Result<Self> {
        let polls = poll_each(config.workers)?;
        let posts = polls.iter().map(post).collect::<io::Result<Vec<_>>>()?;
        let own = Arc::new(Mailbox::new(Waker::Task(Notify::new())));
        let own_index = posts.len();
        let mailboxes = posts.iter().map(|post| Arc::clone(&post.mailbox));
        let mailboxes = mailboxes.chain([Arc::clone(&own)]).collect();
        let retention = Retention { window: config.ring, bytes: config.ring_bytes };
        let FanoutParts { ports, control, admission, user_limits } = parts;
        let stop = CancellationToken::new();
        let delivery = Delivery::new(&ports, retention, mailboxes);
        delivery.run(["tail", "feeds"], &ports, control, &stop);
        let (users, subscriptions) = Users::new();
        let users = Arc::new(users);
        if let Some(limits) = user_limits {
            let counting = users::count(Arc::clone(&users), subscriptions, limits, Arc::clone(&ports.clock));
            let ended = stop.clone();
            ports.supervisor.spawn("user-limits", &stop, async move {
                ended.run_until_cancelled(counting).await;
            });
        }
        let shared = Arc::new(Shared::new(delivery, posts, config, admission, users, &ports));
        ports.supervisor.spawn("alerts", &stop, watched::watch(Arc::clone(&shared), stop.clone()));
        let revoking = revocation::follow(Arc::clone(&shared), (own_index, own), stop.clone());
        ports.supervisor.spawn("revocations", &stop, revoking);
        let threads = Mutex::new(spawn(polls, &shared, &ports.supervisor, &stop)?);
        Ok(Self(Arc::new(FanoutInner { shared, stop, threads })))
    }

    /// The WebSocket paths: `/ws/{stream_id}`, `/stream`, `/raw`, and `/ws` with all in its query (`?stream=` or `?mode=feed`). They work under [`crate::server::serve`] alone, which leaves
    /// the TCP socket to be taken over.
    pub fn router(&self) -> Router {
        handshake::router(Arc::clone(&self.0.shared))
    }

    /// Closes the connections of a stream that was deleted, without waiting until it is noticed.
    pub fn end_stream(&self, id: &StreamId) {
        self.0.shared.hub.end_stream(id);
    }

    /// Writes the series of connections to topics, as Prometheus reads them.
    pub(crate) fn render(&self, text: &mut String) {
        let hub = &self.0.shared.hub;
        hub.figures.render(hub.waiting(), text);
    }

    /// What it is doing.
    pub fn stats(&self) -> FanoutStats {
        let shared = &self.0.shared;
        FanoutStats {
            connections: shared.seats.taken(),
            feeds: shared.feeds.load(Ordering::Relaxed),
            delivered: shared.delivered(),
        }
    }

    /// Takes no connection more, asks all clients to come back later, and ends when they have gone or 1.5 s have passed.
    pub async fn drain(&self) {
        let shared = &self.0.shared;
        shared.seats.close();
        shared.tell(|| WorkerMessage::Drain);
        // Whoever has not gone by then is dropped.
        let _ = tokio::time::timeout(DRAIN, shared.seats.emptied()).await;
        self.stop();
    }

    fn stop(&self) {
        self.0.stop.cancel();
        self.0.shared.tell(|| WorkerMessage::Stop);
        for thread in self.0.threads.lock().drain(..) {
            // A worker that has panicked was noted, and has nothing left to end.
            let _ = thread.join();
        }
    }
}

fn poll_each(workers: usize) -> io::Result<Vec<Poll>> {
    // One of the listeners is no worker.
    (0..workers.clamp(1, MOST_WORKERS - 1)).map(|_| Poll::new()).collect()
}

fn post(poll: &Poll) -> io::Result<Arc<Post>> {
    Ok(Arc::new(Post::new(Mailbox::new(Waker::Thread(mio::Waker::new(poll.registry(), WAKE)?)))))
}

fn spawn(
    polls: Vec<Poll>,
    shared: &Arc<Shared>,
    supervisor: &Supervisor,
    stop: &CancellationToken,
) -> io::Result<Vec<JoinHandle<()>>> {
    let workers = polls
        .into_iter()
        .enumerate()
        .map(|(index, poll)| Worker::new(index, Arc::clone(shared), Arc::clone(&shared.posts[index]), poll));
    workers
        .map(|worker| {
            let name = format_smolstr!("fanout-{}", worker.index());
            supervisor.thread(name, stop, move |watch| worker.run(watch))
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
