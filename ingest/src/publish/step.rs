//! What one batch makes of a topic: pure.

use bond_core::log::{Publication, PublishedState};
use bond_core::position::Position;
use bond_core::publish::{PublishBatch, PublishError, PublishRequest, PublishedAt, STATE_BYTES, fold};
use bond_core::time::UnixNanos;
use bytes::Bytes;
use smol_str::SmolStr;

/// Where a topic stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopicHead {
    /// Its head; `None` without history.
    pub(super) position: Option<Position>,
    /// Its state there.
    pub(super) state: Option<Bytes>,
    /// The last entry of a foreign stream that was taken.
    pub(super) entry: Option<SmolStr>,
}

impl From<Option<PublishedState>> for TopicHead {
    fn from(found: Option<PublishedState>) -> Self {
        let Some(PublishedState { position, state, entry, .. }) = found else { return Self::default() };
        Self { position: Some(position), state, entry }
    }
}

impl TopicHead {
    /// What is to be appended for `request` to a topic that stands here.
    pub(super) fn prepare(
        &self,
        request: &PublishRequest,
        now: UnixNanos,
    ) -> Result<Publication, PublishError> {
        let PublishRequest { batch, key, entry, .. } = request;
        self.check(batch, entry.as_ref())?;
        Ok(Publication {
            after: self.position.clone(),
            records: batch.records(now),
            state: self.folded(batch)?,
            key: key.clone(),
            entry: entry.clone(),
        })
    }

    fn check(&self, batch: &PublishBatch, entry: Option<&SmolStr>) -> Result<(), PublishError> {
        if let (Some(entry), Some(last)) = (entry, &self.entry)
            && !is_later(entry, last)
        {
            return Err(PublishError::Taken(entry.clone()));
        }
        match batch.if_seq {
            Some(seq) if seq != self.seq() => Err(PublishError::Conflict(self.position.clone())),
            _ => Ok(()),
        }
    }

    fn seq(&self) -> u64 {
        self.position.as_ref().map_or(0, |position| position.seq)
    }

    /// The state after `batch`. It is bounded after each event: a follower may need it there.
    fn folded(&self, batch: &PublishBatch) -> Result<Option<Bytes>, PublishError> {
        batch.events.iter().try_fold(self.state.clone(), |state, event| {
            let state = fold(state, event.kind, &event.payload);
            let bytes = state.as_ref().map_or(0, Bytes::len);
            if bytes > STATE_BYTES { Err(PublishError::StateTooLarge) } else { Ok(state) }
        })
    }

    /// Where the topic stands once `publication` is appended at `at`.
    pub(super) fn after(self, publication: Publication, at: &PublishedAt) -> Self {
        Self {
            position: Some(Position { epoch: at.epoch.clone(), seq: at.last_seq }),
            state: publication.state,
            entry: publication.entry.or(self.entry),
        }
    }

    /// Where `publication` was appended, if that is what has brought the topic here. There is no other writer, so a head that has moved on by
    /// the publication's length alone has moved by it.
    pub(super) fn appended(&self, publication: &Publication) -> Option<PublishedAt> {
        let Position { epoch, seq } = self.position.as_ref()?;
        let before = publication.after.as_ref();
        let is_same_history = before.is_none_or(|before| before.epoch == *epoch);
        let first_seq = before.map_or(0, |before| before.seq) + 1;
        let last_seq = first_seq + publication.records.len() as u64 - 1;
        let is_it = is_same_history && *seq == last_seq && self.state == publication.state;
        is_it.then(|| PublishedAt { epoch: epoch.clone(), first_seq, last_seq })
    }
}

/// Whether `entry` comes after `last` in its stream. Ids are `ms-n`, and compared as numbers.
fn is_later(entry: &str, last: &str) -> bool {
    let numbers = |id: &str| {
        let (ms, n) = id.split_once('-')?;
        Some((ms.parse::<u64>().ok()?, n.parse::<u64>().ok()?))
    };
    match (numbers(entry), numbers(last)) {
        (Some(entry), Some(last)) => entry > last,
        _ => entry != last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_compared_as_numbers() {
        for (entry, last, later) in [
            ("10-0", "9-0", true),
            ("9-10", "9-9", true),
            ("9-9", "9-9", false),
            ("9-9", "10-0", false),
            ("x", "x", false),
            ("x", "9-9", true),
        ] {
            assert_eq!(is_later(entry, last), later, "{entry} after {last}");
        }
    }
}
