//! What functions write to stdout and stderr.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// How many lines are kept.
const KEPT: usize = 5000;

/// The last lines of all functions.
#[derive(Debug, Default)]
pub(crate) struct FunctionLog {
    lines: Mutex<VecDeque<(String, String)>>,
}

impl FunctionLog {
    /// Follows one stream of a process to its end. Lines are also written to the simulator's own log.
    pub(crate) async fn follow(self: Arc<Self>, function: String, stream: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            tracing::info!(function, "{line}");
            self.keep(&function, line);
        }
    }

    fn keep(&self, function: &str, line: String) {
        let mut lines = self.lines.lock();
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back((function.to_owned(), line));
    }

    /// The lines of one function, or of all.
    pub(crate) fn lines(&self, function: Option<&str>) -> Vec<String> {
        let lines = self.lines.lock();
        let of_it = lines.iter().filter(|(name, _)| function.is_none_or(|function| function == name));
        of_it.map(|(_, line)| line.clone()).collect()
    }
}
