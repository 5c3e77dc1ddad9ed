//! What reaches a worker from outside its thread.

use std::sync::Arc;

use parking_lot::Mutex;
use smol_str::SmolStr;

use super::connection::UpgradedSocket;
use crate::delivery::mailbox::Mailbox;

/// A message to a worker. At most one [`WorkerMessage::Adopt`] per connection; the others are as rare as shutdowns, and as requests of the owner.
#[derive(Debug)]
pub(crate) enum WorkerMessage {
    /// A connection to take over.
    Adopt(Box<UpgradedSocket>),
    /// Close the connections of this user.
    Disconnect(SmolStr),
    /// Say goodbye to everyone.
    Drain,
    /// Drop what is left and end.
    Stop,
}

/// The post of one worker: what the hub tells every listener, and what is for workers alone.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) mailbox: Arc<Mailbox>,
    messages: Mutex<Vec<WorkerMessage>>,
}

impl Post {
    pub(crate) fn new(mailbox: Mailbox) -> Self {
        Self { mailbox: Arc::new(mailbox), messages: Mutex::default() }
    }

    /// Leaves a message and wakes the worker.
    pub(crate) fn send(&self, message: WorkerMessage) {
        self.messages.lock().push(message);
        self.mailbox.wake();
    }

    /// Takes all messages.
    pub(crate) fn take(&self) -> Vec<WorkerMessage> {
        std::mem::take(&mut *self.messages.lock())
    }
}
