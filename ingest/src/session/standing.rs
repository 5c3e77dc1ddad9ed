//! How a market fares: what its connections and its list of instruments tell, and what is told of the market as a whole.

use std::time::Duration;

use bond_core::source::SourceState;
use smol_str::SmolStr;
use tokio::sync::mpsc;
use tokio::task::{self, JoinError};
use tokio::time::Instant;

use super::context::{ConnectionContext, ConnectionState};
use super::listing::Read;
use super::market::{Slot, Supervisor};
use super::transport::Transport;
use crate::report::Report;

impl<T: Transport> Supervisor<T> {
    pub(super) fn take_note(&mut self, note: ConnectionState) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.id == note.connection) {
            (slot.state, slot.reason) = (note.state, note.reason);
        }
    }

    /// A connection that ends without having been told to has failed in a way nobody thought of. What it carried gets another.
    pub(super) async fn take_end(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let Some(place) = self.slots.iter().position(|slot| slot.task == id) else { return };
        self.slots.remove(place);
        if let Err(error) = ended {
            tracing::error!(venue = %self.context.venue, market = %self.context.market, %error, "connection task failed");
        }
        self.reconcile().await;
    }

    pub(super) fn take_listings(&mut self, read: Read) {
        match read {
            Read::Listings(listings) => drop(self.listings.send_replace(listings)),
            Read::Failed { reason, wait } => self.log_unread(&reason, wait),
        }
    }

    fn log_unread(&self, reason: &str, wait: Duration) {
        let Some(untold) = self.context.config.outages.tell(wait, Instant::now()) else { return };
        tracing::warn!(
            venue = %self.context.venue,
            market = %self.context.market,
            reason,
            wait_ms = wait.as_millis(),
            untold,
            "list of instruments not read, trying again after a wait"
        );
    }

    pub(super) fn close_idle(&mut self, now: Instant) {
        let is_idle = |slot: &mut Slot| slot.closes.is_some_and(|closes| closes <= now);
        self.slots.extract_if(.., is_idle).for_each(|slot| slot.cancel.cancel());
    }

    /// Reports how the market fares as a whole, if that has changed.
    pub(super) async fn tell(&mut self) -> Result<(), mpsc::error::SendError<Report>> {
        let whole = self.whole();
        let state = whole.as_ref().map(|(state, _)| *state);
        if std::mem::replace(&mut self.told, state) == state {
            return Ok(());
        }
        let Some((state, reason)) = whole else { return Ok(()) };
        let ConnectionContext { venue, market, .. } = *self.context;
        let since = self.context.clock.now();
        self.context.reports.send(Report::Market { venue, market, state, since, reason }).await
    }

    /// The worst of the connections; `None` while nothing is wanted.
    fn whole(&self) -> Option<(SourceState, SmolStr)> {
        if !self.is_wanted() {
            return None;
        }
        if !self.reader.has_read() {
            return Some((self.reader.state(), "reading the list of instruments".into()));
        }
        let busy = self.slots.iter().filter(|slot| slot.closes.is_none());
        let worst = busy.max_by_key(|slot| severity(slot.state));
        Some(worst.map_or_else(
            || (SourceState::Unavailable, SmolStr::new_static("nothing that is wanted can be had here")),
            |slot| (slot.state, slot.reason.clone()),
        ))
    }
}

fn severity(state: SourceState) -> u8 {
    match state {
        SourceState::Connected => 0,
        SourceState::Connecting => 1,
        SourceState::Stale | SourceState::Suspect => 2,
        SourceState::Reconnecting => 3,
        SourceState::Failed => 4,
        SourceState::Unavailable | SourceState::Refused => 5,
    }
}
