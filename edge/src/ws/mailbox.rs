//! What reaches a worker from outside its thread.

use std::sync::atomic::{AtomicBool, Ordering};

use bond_core::topic::{StreamId, Topic};
use mio::Waker;
use parking_lot::Mutex;

use super::connection::Newcomer;

/// A message to a worker. At most one [`Note::Adopt`] per connection; the others are as rare as topics and shutdowns.
#[derive(Debug)]
pub(crate) enum Note {
    /// A connection to take over.
    Adopt(Box<Newcomer>),
    /// A topic began to run: feeds that want it follow it from its first event.
    Began(Topic),
    /// A stream was deleted or has expired.
    StreamEnded(StreamId),
    /// Say goodbye to everyone.
    Drain,
    /// Drop what is left and end.
    Stop,
}

/// The post of one worker.
#[derive(Debug)]
pub(crate) struct Mailbox {
    waker: Waker,
    /// Whether the worker has been woken and has not looked yet.
    awake: AtomicBool,
    notes: Mutex<Vec<Note>>,
    /// The ids of the rings with news. A ring is in it once at most.
    advanced: Mutex<Vec<u64>>,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { waker, awake: AtomicBool::new(false), notes: Mutex::default(), advanced: Mutex::default() }
    }

    /// Leaves a note and wakes the worker.
    pub(crate) fn send(&self, note: Note) {
        self.notes.lock().push(note);
        self.wake();
    }

    /// Says that a ring has news, without waking the worker.
    pub(crate) fn advanced(&self, ring: u64) {
        self.advanced.lock().push(ring);
    }

    /// Wakes the worker unless that was done already.
    pub(crate) fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            // Fails only where the poller is gone, and the worker with it.
            let _ = self.waker.wake();
        }
    }

    /// Takes everything. What comes from here on wakes the worker again.
    pub(crate) fn take(&self, notes: &mut Vec<Note>, advanced: &mut Vec<u64>) {
        self.awake.store(false, Ordering::Release);
        std::mem::swap(&mut *self.notes.lock(), notes);
        std::mem::swap(&mut *self.advanced.lock(), advanced);
    }
}
