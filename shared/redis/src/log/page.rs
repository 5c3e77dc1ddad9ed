//! Reading on from a place in a topic's log.

use bond_core::log::{Gap, GapReason, Item, LogError, Run};
use bond_core::position::{Epoch, Position};
use fred::types::Value;

use super::codec;
use super::keys::Keys;
use crate::client::Redis;
use crate::lease::unavailable;
use crate::script::Script;

static PAGE: Script = Script::new(include_str!("page.lua"));

/// How far a reader has come.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Nowhere: from the oldest kept.
    Oldest,
    /// After an event; statuses kept after it are yet to come.
    After(Position),
    /// After an item: the `kept`th status after the event, or the event itself where `kept` is 0.
    Read { after: Position, kept: u64 },
}

impl Place {
    pub(super) fn after(position: Option<&Position>) -> Self {
        position.map_or(Self::Oldest, |position| Self::After(position.clone()))
    }

    const fn position(&self) -> Option<&Position> {
        match self {
            Self::Oldest => None,
            Self::After(position) | Self::Read { after: position, .. } => Some(position),
        }
    }

    /// The entry's id to read from.
    fn id(&self) -> String {
        match self {
            Self::Oldest => "-".to_owned(),
            Self::After(position) => format!("{}-1", position.seq),
            Self::Read { after, kept } => format!("({}-{kept}", after.seq),
        }
    }
}

/// What came after a place.
pub(super) struct Page {
    pub(super) run: Run,
    /// The place after its items.
    pub(super) end: Place,
}

/// Reads up to `count` items after `place`; `None` for a topic without history.
pub(super) async fn read(
    redis: &Redis,
    keys: &Keys,
    place: &Place,
    count: usize,
) -> Result<Option<Page>, LogError> {
    let position = place.position();
    let args = vec![
        position.map_or("", |position| position.epoch.as_str()).into(),
        position.map_or(0, |position| position.seq).to_string().into(),
        place.id().into(),
        i64::try_from(count).unwrap_or(i64::MAX).into(),
    ];
    let answer: Value = PAGE.run(redis, keys.reading().to_vec(), args).await.map_err(unavailable)?;
    if answer.is_null() {
        return Ok(None);
    }
    let page =
        page(place, answer).ok_or_else(|| LogError::Unavailable(format!("{} is not a log", keys.log)))?;
    Ok(Some(page))
}

fn page(place: &Place, answer: Value) -> Option<Page> {
    let mut parts = answer.into_array().into_iter();
    let epoch = Epoch::new(parts.next()?.as_str()?.as_ref())?;
    let head: u64 = parts.next()?.as_u64()?;
    let first = codec::id(&parts.next()?).map_or(head + 1, |(seq, kept)| seq + u64::from(kept > 0));
    let entries = parts.next()?.into_array();
    let last = entries.last().and_then(|entry| match entry {
        Value::Array(parts) => parts.first().and_then(codec::id),
        _ => None,
    });
    let items = entries.into_iter().map(codec::item).collect::<Option<Vec<Item>>>()?;
    let gap = gap(place, &epoch, head, first);
    let end = end(place, &epoch, last, first);
    Some(Page { run: Run { epoch, gap, items }, end })
}

/// What is missing between `place` and the first item after it, in a log of `epoch` that reaches from `first` to `head`.
fn gap(place: &Place, epoch: &Epoch, head: u64, first: u64) -> Option<Gap> {
    let position = place.position()?;
    if position.epoch != *epoch || position.seq > head {
        return Some(Gap { from_seq: None, to_seq: first - 1, reason: GapReason::EpochChanged });
    }
    let behind = Gap { from_seq: Some(position.seq + 1), to_seq: first - 1, reason: GapReason::BehindRing };
    (position.seq + 1 < first).then_some(behind)
}

/// The place after the entry `last`, or, where none came, after what is missing.
fn end(place: &Place, epoch: &Epoch, last: Option<(u64, u64)>, first: u64) -> Place {
    if let Some((seq, kept)) = last {
        return Place::Read { after: Position { epoch: epoch.clone(), seq }, kept };
    }
    match place.position() {
        Some(position) if position.epoch == *epoch && position.seq + 1 >= first => place.clone(),
        _ => Place::After(Position { epoch: epoch.clone(), seq: first - 1 }),
    }
}
