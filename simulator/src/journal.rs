//! What happened at the simulator, for tests to read and to await.

use std::collections::{BTreeMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::fault::FaultId;

/// Entries kept; older ones are forgotten.
const KEPT: usize = 20_000;

/// One thing that happened, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A WebSocket was opened.
    Connected {
        /// Number of the connection, from 1.
        connection: u64,
        /// Path and query of the request.
        path: String,
    },
    /// A WebSocket was closed, by either side.
    Disconnected {
        /// Number of the connection.
        connection: u64,
        /// Who ended it and why.
        reason: String,
    },
    /// A subscription was accepted.
    Subscribed {
        /// Number of the connection.
        connection: u64,
        /// The streams: Binance names, OKX `channel/instId`, Bybit topics.
        streams: Vec<String>,
    },
    /// A subscription was ended by the client.
    Unsubscribed {
        /// Number of the connection.
        connection: u64,
        /// The streams.
        streams: Vec<String>,
    },
    /// A request was answered by an error of the venue's protocol.
    Rejected {
        /// Number of the connection.
        connection: u64,
        /// The answer.
        reply: String,
    },
    /// A REST request was answered.
    Served {
        /// Path and query.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// A fault takes effect from here on.
    Injected {
        /// The fault.
        fault: FaultId,
        /// Its text form.
        text: String,
    },
    /// A fault changed the fate of a frame, an answer or a connection. Frames that fall to [`crate::Effect::Silence`] are only
    /// counted, in [`StreamStats::withheld`].
    Applied {
        /// The fault.
        fault: FaultId,
        /// The stream, or the path of a request; empty where neither is known.
        stream: String,
        /// The id that the frame carried: of the last trade in it, or the book's update id.
        id: String,
        /// The frame as it would have been sent, without a combined wrapper: its first 4,096 characters.
        text: String,
    },
    /// A capture began to replay, or began again.
    Started,
    /// A capture came to its end; the simulator stays, silent.
    Finished,
}

/// Frames sent on one stream, whether or not a client read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Frames handed to at least one connection.
    pub sent: u64,
    /// Frames that a fault kept back.
    pub withheld: u64,
    /// Id carried by the first frame sent.
    pub first_id: String,
    /// Id carried by the last frame sent.
    pub last_id: String,
}

/// Totals since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Per stream.
    pub streams: BTreeMap<String, StreamStats>,
    /// WebSockets now open.
    pub connections: usize,
    /// Whether a capture has come to its end.
    pub finished: bool,
}

impl Stats {
    /// Frames sent over all streams.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.streams.values().map(|stream| stream.sent).sum()
    }
}

/// The last 20,000 entries.
#[derive(Debug)]
pub struct Journal {
    entries: Mutex<VecDeque<Entry>>,
    /// How many entries there have ever been.
    written: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { entries: Mutex::default(), written: watch::Sender::new(0) }
    }
}

impl Journal {
    pub(crate) fn write(&self, entry: Entry) {
        tracing::debug!(?entry, "simulator");
        let mut entries = self.entries.lock();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(entry);
        self.written.send_modify(|written| *written += 1);
    }

    /// All entries kept, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().iter().cloned().collect()
    }

    /// The first entry, past or to come, that `wanted` accepts. Put a timeout around it.
    pub async fn wait(&self, wanted: impl Fn(&Entry) -> bool) -> Entry {
        let mut written = self.written.subscribe();
        loop {
            written.mark_unchanged();
            let found = self.entries.lock().iter().find(|entry| wanted(entry)).cloned();
            if let Some(entry) = found {
                return entry;
            }
            // The sender lives as long as the journal, which is borrowed here.
            let _ = written.changed().await;
        }
    }

    /// Waits until a fault has taken effect `times` times.
    pub async fn applied(&self, fault: FaultId, times: usize) -> Vec<Entry> {
        let of_fault =
            |entry: &Entry| matches!(entry, Entry::Applied { fault: other, .. } if *other == fault);
        let mut written = self.written.subscribe();
        loop {
            written.mark_unchanged();
            let found: Vec<Entry> = self.entries().into_iter().filter(of_fault).collect();
            if found.len() >= times {
                return found;
            }
            let _ = written.changed().await;
        }
    }
}
