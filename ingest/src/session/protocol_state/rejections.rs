//! Counts frames that were not understood, so that they are reported together.

use std::time::Duration;

use smol_str::{SmolStr, format_smolstr};
use tokio::time::Instant;

use crate::venue::Reject;

/// How long rejections are counted before they are reported.
const REPORT_AFTER: Duration = Duration::from_secs(10);

/// Rejections since the last report.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    count: u64,
    last: SmolStr,
    report_at: Option<Instant>,
}

impl Rejections {
    /// Takes the rejections of a frame.
    pub(super) fn count(&mut self, rejects: &mut Vec<Reject>, now: Instant) {
        let Some(last) = rejects.last() else { return };
        self.count += rejects.len() as u64;
        self.last = format_smolstr!("{last}");
        self.report_at.get_or_insert(now + REPORT_AFTER);
        rejects.clear();
    }

    /// When the next report is due; `None` if there is nothing to report.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.report_at
    }

    /// The number of rejections and the reason of the last one, if it is time to report them.
    pub(super) fn due(&mut self, now: Instant) -> Option<(u64, SmolStr)> {
        self.report_at.filter(|at| *at <= now)?;
        let Self { count, last, .. } = std::mem::take(self);
        Some((count, last))
    }
}
