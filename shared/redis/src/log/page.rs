//! Reads a topic's log from a given place.

use bond_core::log::{Gap, GapReason, Item, LogError, Run};
use bond_core::position::{Epoch, Position};
use fred::types::Value;

use super::keys::Keys;
use super::{PAGE_ITEMS, codec};
use crate::client::{Redis, unavailable};
use crate::script::Script;

static PAGE: Script = Script::reading(include_str!("page.lua"));

/// A reader's place in a log.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Before the oldest item.
    Oldest,
    /// After an event, and before the statuses that follow it.
    After(Position),
    /// After an item: the `kept`th status after the event, or the event itself if `kept` is 0.
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

    /// Whether nothing comes after it where a topic's head is `{epoch}:{seq}-{kept}`.
    pub(super) fn is_at(&self, head: &str) -> bool {
        match self {
            Self::Oldest => false,
            Self::After(position) => head.strip_suffix("-0") == Some(&position.to_string()),
            Self::Read { after, kept } => head == format!("{after}-{kept}"),
        }
    }

    /// The id of the first entry to read.
    fn id(&self) -> String {
        match self {
            Self::Oldest => "-".to_owned(),
            Self::After(position) => format!("{}-1", position.seq),
            Self::Read { after, kept } => format!("({}-{kept}", after.seq),
        }
    }
}

/// The items after a place.
pub(super) struct Page {
    pub(super) run: Run,
    /// The place after its items.
    pub(super) end: Place,
}

/// Reads up to `count` items after `place`; `None` if the topic has no history.
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

/// Reads up to `limit` events after `place`, with the statuses before and between them; `None` if the topic has no history.
pub(super) async fn read_run(
    redis: &Redis,
    keys: &Keys,
    mut place: Place,
    limit: usize,
) -> Result<Option<Run>, LogError> {
    let mut whole: Option<Run> = None;
    // A page has a bounded number of items, and statuses do not count as events. So read pages until there are enough events, or no more.
    loop {
        let events = whole.as_ref().map_or(0, |run| count_events(&run.items));
        let count = (limit - events).min(PAGE_ITEMS);
        if count == 0 && whole.is_some() {
            return Ok(whole);
        }
        let Some(Page { run, end }) = read(redis, keys, &place, count).await? else { return Ok(whole) };
        let is_last = run.items.len() < count;
        match &mut whole {
            None => whole = Some(run),
            // The next read will report the gap.
            Some(_) if run.gap.is_some() => return Ok(whole),
            Some(whole) => whole.items.extend(run.items),
        }
        if is_last {
            return Ok(whole);
        }
        place = end;
    }
}

fn count_events(items: &[Item]) -> usize {
    items.iter().filter(|item| matches!(item, Item::Event(_))).count()
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

/// The gap between `place` and the first item after it, in a log of `epoch` with the events `first` to `head`.
fn gap(place: &Place, epoch: &Epoch, head: u64, first: u64) -> Option<Gap> {
    let position = place.position()?;
    if position.epoch != *epoch || position.seq > head {
        return Some(Gap { from_seq: None, to_seq: first - 1, reason: GapReason::EpochChanged });
    }
    let behind = Gap { from_seq: Some(position.seq + 1), to_seq: first - 1, reason: GapReason::BehindRing };
    (position.seq + 1 < first).then_some(behind)
}

/// The place after the entry `last`, or after the gap if there was no entry.
fn end(place: &Place, epoch: &Epoch, last: Option<(u64, u64)>, first: u64) -> Place {
    if let Some((seq, kept)) = last {
        return Place::Read { after: Position { epoch: epoch.clone(), seq }, kept };
    }
    match place.position() {
        Some(position) if position.epoch == *epoch && position.seq + 1 >= first => place.clone(),
        _ => Place::After(Position { epoch: epoch.clone(), seq: first - 1 }),
    }
}
