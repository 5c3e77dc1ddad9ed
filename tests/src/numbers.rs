//! The numbers of one topic's events, which must follow each other without a gap or a repeat.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What every flat event begins with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Head {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The log it is from.
    pub epoch: Option<String>,
    /// Its number in that log.
    pub seq: Option<u64>,
    /// Bond's receive time in Unix milliseconds.
    pub ts_event: Option<i64>,
}

impl Head {
    /// Reads a frame.
    ///
    /// # Errors
    /// Where it is no JSON object with a `type`.
    pub fn read(frame: &str) -> Result<Self> {
        serde_json::from_str(frame).with_context(|| frame.to_owned())
    }

    /// Whether it is a numbered event, and no word about the connection.
    pub const fn is_event(&self) -> bool {
        self.seq.is_some()
    }
}

/// Where a client is in a topic's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The log's epoch.
    pub epoch: String,
    /// The newest number; 0 before the first event.
    pub last: u64,
}

impl Numbers {
    /// Takes the next event.
    ///
    /// # Errors
    /// Where its number is not the next one.
    pub fn take(&mut self, head: &Head) -> Result<()> {
        let (epoch, seq) = (head.epoch.as_deref().context("no epoch")?, head.seq.context("no seq")?);
        if self.last > 0 {
            ensure!(epoch == self.epoch, "epoch {epoch} after {}", self.epoch);
            ensure!(seq == self.last + 1, "event {seq} after event {}", self.last);
        }
        (self.epoch, self.last) = (epoch.to_owned(), seq);
        Ok(())
    }

    /// Takes the next event, where events that were taken already may come again. Returns whether it is a new one.
    ///
    /// # Errors
    /// Where its number is neither known nor the next one.
    pub fn take_once(&mut self, head: &Head) -> Result<bool> {
        let is_known =
            head.epoch.as_ref() == Some(&self.epoch) && head.seq.is_some_and(|seq| seq <= self.last);
        if !is_known {
            self.take(head)?;
        }
        Ok(!is_known)
    }

    /// The position as `from` takes it.
    pub fn position(&self) -> String {
        format!("{}:{}", self.epoch, self.last)
    }
}
