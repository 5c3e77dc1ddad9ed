//! What reaches a listener from outside its thread or task.

use std::sync::atomic::{AtomicBool, Ordering};

use bond_core::topic::{StreamId, Topic};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What the hub tells every listener; as rare as topics.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// A topic began to run: feeds that want it follow it from its first event.
    Began(Topic),
    /// A stream was deleted or has expired.
    StreamEnded(StreamId),
}

/// How a listener is woken.
#[derive(Debug)]
pub(crate) enum Waker {
    /// A thread with a poller of its own.
    Thread(mio::Waker),
    /// A task, by [`Mailbox::woken`].
    Task(Notify),
}

/// The post of one listener: a worker, or a lane of the relay.
#[derive(Debug)]
pub(crate) struct Mailbox {
    waker: Waker,
    /// Whether the listener has been woken and has not looked yet.
    awake: AtomicBool,
    news: Mutex<Vec<Notice>>,
    /// The ids of the rings with news. A ring is in it once at most.
    advanced: Mutex<Vec<u64>>,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { waker, awake: AtomicBool::new(false), news: Mutex::default(), advanced: Mutex::default() }
    }

    /// Tells the listener, and wakes it.
    pub(crate) fn send(&self, news: Notice) {
        self.news.lock().push(news);
        self.wake();
    }

    /// Says that a ring has news, without waking the listener.
    pub(crate) fn advanced(&self, ring: u64) {
        self.advanced.lock().push(ring);
    }

    /// How many rings have news that the listener has not looked at.
    pub(crate) fn waiting(&self) -> u64 {
        self.advanced.lock().len() as u64
    }

    /// Wakes the listener unless that was done already.
    pub(crate) fn wake(&self) {
        if self.awake.swap(true, Ordering::AcqRel) {
            return;
        }
        match &self.waker {
            // Fails only where the poller is gone, and the worker with it.
            Waker::Thread(waker) => drop(waker.wake()),
            Waker::Task(notify) => notify.notify_one(),
        }
    }

    /// Waits until a task's mailbox has been woken. Cancel-safe. Never, for a thread's.
    pub(crate) async fn woken(&self) {
        match &self.waker {
            Waker::Thread(_) => std::future::pending().await,
            Waker::Task(notify) => notify.notified().await,
        }
    }

    /// Takes everything. What comes from here on wakes the listener again.
    pub(crate) fn take(&self, news: &mut Vec<Notice>, advanced: &mut Vec<u64>) {
        self.awake.store(false, Ordering::Release);
        std::mem::swap(&mut *self.news.lock(), news);
        std::mem::swap(&mut *self.advanced.lock(), advanced);
    }
}
