//! What a thinned or slow follower of a published topic is given: alerts all, and in the place of several other events one snapshot.
//!
//! Merge patches do not add up to one patch, so events that were passed over come as the state after them. For instance, of events 5 (delta),
//! 6 (delta), 7 (alert) and 8 (delta), a follower that stands at 4 gets a snapshot after 6, the alert 7, and once it is due the delta 8.

use bond_core::log::EventKind;

use super::History;
use crate::delivery::cursor::{BehindRing, Cursor, Pick};

impl History {
    /// The alerts after `cursor` with what makes the state before them whole, and if `is_due` the state at the end. `takes` says of which
    /// subtopics events are wanted.
    pub(crate) fn thinned(
        &mut self,
        cursor: Cursor,
        is_due: bool,
        takes: impl Fn(&Pick) -> bool,
        into: &mut Vec<Pick>,
    ) -> Result<(), BehindRing> {
        if cursor.offset < self.start {
            return Err(BehindRing);
        }
        let (mut first, end) = (self.index_after(cursor.offset), self.places.len());
        let alerts: Vec<usize> = self.alerts_after(cursor).collect();
        for alert in alerts {
            self.merged(first, alert, &takes, into);
            into.push(self.pick(alert));
            first = alert + 1;
        }
        if is_due {
            self.merged(first, end, &takes, into);
        }
        Ok(())
    }

    /// What the events from `first` to before `end` come to. Statuses between them are given as they are.
    fn merged(&mut self, first: usize, end: usize, takes: &impl Fn(&Pick) -> bool, into: &mut Vec<Pick>) {
        let picks: Vec<Pick> = (first..end).map(|index| self.pick(index)).collect();
        let wanted = picks.iter().filter(|pick| pick.kind.is_some() && takes(pick)).count();
        if wanted <= 1 {
            let is_given = |pick: &Pick| pick.kind.is_none() || takes(pick);
            into.extend(
                picks.into_iter().map(|pick| if is_given(&pick) { pick } else { pick.passed_over() }),
            );
            return;
        }
        let snapshot = if end == self.places.len() { self.snapshot() } else { self.snapshot_before(end) };
        let Some(snapshot) = snapshot else {
            return into.extend(picks);
        };
        let newest = picks.iter().rposition(|pick| pick.kind.is_some());
        for (index, pick) in picks.into_iter().enumerate() {
            into.push(match pick.kind {
                None => pick,
                Some(_) if Some(index) == newest => {
                    Pick { frame: snapshot.clone(), kind: Some(EventKind::Snapshot), is_state: true, ..pick }
                }
                Some(_) => pick.passed_over(),
            });
        }
    }
}
