//! The items of the streams' table.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use bond_core::store::{Claim, DesiredStream, Labels, StoreError};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;

use crate::table::{DynamoError, Item, key, number, parse_number, read_number, read_text, text, ttl};

/// Over how many partitions the streams are spread.
pub(super) const SHARDS: u8 = 4;
/// The sort key of an owner's item.
pub(super) const OWNER_SORT: &str = "streams";

/// What an owner wrote, in the item of the claim; absent where it is nothing.
const LABELS: &str = "labels";

pub(super) fn shard_key(shard: u8) -> String {
    format!("desired#{shard}")
}

pub(super) fn shard_of(id: &StreamId) -> String {
    shard_key(id.as_str().bytes().last().map_or(0, |digit| digit % SHARDS))
}

pub(super) fn stream_key(id: &StreamId) -> Item {
    key(shard_of(id), id.as_str())
}

pub(super) fn claims_of(id: &StreamId) -> String {
    format!("stream#{id}")
}

pub(super) fn owner_key(owner: &str) -> String {
    format!("owner#{owner}")
}

/// Whether something that ends then is there at `now`.
pub(super) fn is_live(ends_at: Option<UnixNanos>, now: UnixNanos) -> bool {
    ends_at.is_none_or(|end| end > now)
}

/// A stream as it is kept.
pub(super) struct StreamRecord {
    pub(super) stream: DesiredStream,
    /// When the last of its claims ends.
    pub(super) ends_at: Option<UnixNanos>,
    pub(super) version: i64,
}

impl StreamRecord {
    pub(super) fn is_live(&self, now: UnixNanos) -> bool {
        is_live(self.ends_at, now)
    }

    pub(super) fn item(&self) -> Item {
        let mut item = stream_key(&self.stream.id);
        item.insert("canonical".to_owned(), text(&self.stream.canonical));
        item.insert("spec".to_owned(), text(&self.stream.spec));
        item.insert("created_ns".to_owned(), number(self.stream.created_at.as_nanos()));
        item.insert("version".to_owned(), number(self.version));
        end(&mut item, self.ends_at);
        item
    }

    pub(super) fn read(item: &Item) -> Result<Self, DynamoError> {
        let id = StreamId::parse(read_text(item, "sk")?).ok_or(DynamoError::Unreadable("sk"))?;
        let created_ns = read_number(item, "created_ns")?.ok_or(DynamoError::Unreadable("created_ns"))?;
        let stream = DesiredStream {
            id,
            canonical: read_text(item, "canonical")?.to_owned(),
            spec: read_text(item, "spec")?.to_owned(),
            created_at: UnixNanos::from_nanos(created_ns),
        };
        Ok(Self { stream, ends_at: read_end(item)?, version: read_version(item)? })
    }
}

/// An owner's streams as they are kept; without a version where there is no such item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnerRecord {
    pub(super) name: String,
    /// Which, and when his claims on them end.
    pub(super) streams: BTreeMap<StreamId, Option<UnixNanos>>,
    pub(super) version: Option<i64>,
}

impl OwnerRecord {
    pub(super) fn new(owner: &str) -> Self {
        Self { name: owner.to_owned(), streams: BTreeMap::new(), version: None }
    }

    /// His streams without those on which his claims have ended.
    pub(super) fn live(&self, now: UnixNanos) -> BTreeMap<StreamId, Option<UnixNanos>> {
        let live = self.streams.iter().filter(|(_, ends_at)| is_live(**ends_at, now));
        live.map(|(id, ends_at)| (id.clone(), *ends_at)).collect()
    }

    pub(super) fn item(&self) -> Item {
        let streams = self.streams.iter().map(|(id, ends_at)| (id.to_string(), end_value(*ends_at)));
        let mut item = key(owner_key(&self.name), OWNER_SORT);
        item.insert("streams".to_owned(), AttributeValue::M(streams.collect()));
        item.insert("version".to_owned(), number(self.version.unwrap_or_default()));
        let ends: Option<Vec<UnixNanos>> = self.streams.values().copied().collect();
        item.extend(ends.and_then(|ends| ends.into_iter().max()).map(|last| ("ttl".to_owned(), ttl(last))));
        item
    }

    pub(super) fn read(owner: &str, item: &Item) -> Result<Self, DynamoError> {
        let unreadable = || DynamoError::Unreadable("streams");
        let kept = item.get("streams").and_then(|value| value.as_m().ok()).ok_or_else(unreadable)?;
        let stream = |(id, end): (&String, &AttributeValue)| {
            let id = StreamId::parse(id)?;
            Some((id, if end.is_null() { None } else { Some(UnixNanos::from_nanos(parse_number(end)?)) }))
        };
        let streams = kept.iter().map(stream).collect::<Option<_>>().ok_or_else(unreadable)?;
        Ok(Self { name: owner.to_owned(), streams, version: Some(read_version(item)?) })
    }
}

fn end_value(ends_at: Option<UnixNanos>) -> AttributeValue {
    ends_at.map_or(AttributeValue::Null(true), |end| number(end.as_nanos()))
}

pub(super) fn claim_key(id: &StreamId, owner: &str) -> Item {
    key(claims_of(id), owner)
}

pub(super) fn claim_item(id: &StreamId, claim: &Claim) -> Item {
    let mut item = claim_key(id, &claim.owner);
    let labels = claim.labels.to_text();
    if !labels.is_empty() {
        item.insert(LABELS.to_owned(), text(labels));
    }
    end(&mut item, claim.expires_at);
    item
}

pub(super) fn read_claim(item: &Item) -> Result<Claim, DynamoError> {
    let labels = if item.contains_key(LABELS) { read_text(item, LABELS)? } else { "" };
    let labels = Labels::from_text(labels).map_err(|_: StoreError| DynamoError::Unreadable(LABELS))?;
    Ok(Claim { owner: read_text(item, "sk")?.to_owned(), expires_at: read_end(item)?, labels })
}

fn end(item: &mut Item, ends_at: Option<UnixNanos>) {
    let Some(end) = ends_at else { return };
    item.insert("ends_ns".to_owned(), number(end.as_nanos()));
    item.insert("ttl".to_owned(), ttl(end));
}

fn read_end(item: &Item) -> Result<Option<UnixNanos>, DynamoError> {
    Ok(read_number(item, "ends_ns")?.map(UnixNanos::from_nanos))
}

fn read_version(item: &Item) -> Result<i64, DynamoError> {
    read_number(item, "version")?.ok_or(DynamoError::Unreadable("version"))
}
