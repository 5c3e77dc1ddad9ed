//! What a claim or a release changes, worked out from what was read, and written if that still stands.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem};
use bond_core::store::{Claim, DesiredStream, StoreError};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;

use super::record::{self, OwnerRecord, StreamRecord};
use crate::table::{DynamoError, Item, Table, number};

/// What was read about a stream and an owner.
pub(super) struct State {
    /// The stream, live or not.
    pub(super) stream: Option<StreamRecord>,
    /// The claims on it that are live.
    pub(super) claims: Vec<Claim>,
    /// Who changes his claim.
    pub(super) owner: OwnerRecord,
    /// When.
    pub(super) now: UnixNanos,
}

impl State {
    /// The change that makes the claim, the stream as it then stands, and whether it is new.
    pub(super) fn claim(
        self,
        stream: &DesiredStream,
        claim: &Claim,
        quota: usize,
    ) -> Result<(Change, DesiredStream, bool), StoreError> {
        let found = self.live_stream();
        if found.is_some_and(|found| found.canonical != stream.canonical) {
            return Err(StoreError::Conflict(stream.id.clone()));
        }
        let mut owned = self.owner.live(self.now);
        owned.remove(&stream.id);
        if owned.len() >= quota {
            return Err(StoreError::Quota { limit: quota });
        }
        owned.insert(stream.id.clone(), claim.expires_at);
        let stands = found.unwrap_or(stream).clone();
        // What is left of a stream that has expired is not the new one's heir.
        let others = self.claims.iter().filter(|other| found.is_some() && other.owner != claim.owner);
        let ends_at = last_end(others.chain([claim]));
        let created = found.is_none();
        let kept = Some((stands.clone(), ends_at));
        Ok((self.change(&stream.id, kept, Some(claim.clone()), owned), stands, created))
    }

    /// The change that drops the owner's claim, and whether it was the last; `None` where he has none.
    pub(super) fn release(self) -> Option<(Change, bool)> {
        let found = self.live_stream()?.clone();
        let (own, others): (Vec<_>, Vec<_>) =
            self.claims.iter().partition(|claim| claim.owner == self.owner.name);
        if own.is_empty() {
            return None;
        }
        let mut owned = self.owner.live(self.now);
        owned.remove(&found.id);
        let (id, last) = (found.id.clone(), others.is_empty());
        let kept = (!last).then(|| (found, last_end(others)));
        Some((self.change(&id, kept, None, owned), last))
    }

    fn live_stream(&self) -> Option<&DesiredStream> {
        self.stream.as_ref().filter(|found| found.is_live(self.now)).map(|found| &found.stream)
    }

    fn change(
        &self,
        id: &StreamId,
        kept: Option<(DesiredStream, Option<UnixNanos>)>,
        claim: Option<Claim>,
        owned: BTreeMap<StreamId, Option<UnixNanos>>,
    ) -> Change {
        let stream_read = self.stream.as_ref().map(|read| read.version);
        let version = next_version(stream_read, self.now);
        let stream = kept.map(|(stream, ends_at)| StreamRecord { stream, ends_at, version });
        let owner_version = next_version(self.owner.version, self.now);
        let owner = OwnerRecord { streams: owned, version: Some(owner_version), ..self.owner.clone() };
        Change { id: id.clone(), stream, stream_read, claim, owner, owner_read: self.owner.version }
    }
}

/// When the last of the claims ends; `None`: one has no end.
fn last_end<'c>(claims: impl IntoIterator<Item = &'c Claim>) -> Option<UnixNanos> {
    let ends: Option<Vec<UnixNanos>> = claims.into_iter().map(|claim| claim.expires_at).collect();
    ends.and_then(|ends| ends.into_iter().max())
}

/// Greater than the one before, and than any that an item of this key, deleted since, can have had.
fn next_version(read: Option<i64>, now: UnixNanos) -> i64 {
    read.map_or(0, |read| read.saturating_add(1)).max(now.as_nanos())
}

/// Three items as they are to be, and the versions that must stand for it.
pub(super) struct Change {
    id: StreamId,
    /// `None`: it ends.
    stream: Option<StreamRecord>,
    stream_read: Option<i64>,
    /// `None`: it is dropped.
    claim: Option<Claim>,
    owner: OwnerRecord,
    owner_read: Option<i64>,
}

impl Change {
    /// Writes it. `false`: another change came between.
    pub(super) async fn commit(self, table: &Table) -> Result<bool, DynamoError> {
        let items = self.items(&table.name);
        match table.client.transact_write_items().set_transact_items(Some(items)).send().await {
            Ok(_) => Ok(true),
            Err(error) if is_overtaken(error.as_service_error()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn items(self, table: &str) -> Vec<TransactWriteItem> {
        let claim_key = record::claim_key(&self.id, &self.owner.name);
        let stream = match self.stream {
            Some(stream) => put(table, stream.item(), Some(self.stream_read)),
            None => delete(table, record::stream_key(&self.id), self.stream_read),
        };
        let claim = match self.claim {
            Some(claim) => put(table, record::claim_item(&self.id, &claim), None),
            None => delete(table, claim_key, None),
        };
        vec![stream, claim, put(table, self.owner.item(), Some(self.owner_read))]
    }
}

/// Writes an item; with `read`, only if its version is still this one, or if it is still missing.
fn put(table: &str, item: Item, read: Option<Option<i64>>) -> TransactWriteItem {
    let put = Put::builder().table_name(table).set_item(Some(item));
    let put = put
        .set_condition_expression(read.map(condition))
        .set_expression_attribute_values(version(read.flatten()));
    TransactWriteItem::builder().set_put(put.build().ok()).build()
}

/// Deletes an item; with `read`, only if its version is still this one.
fn delete(table: &str, key: Item, read: Option<i64>) -> TransactWriteItem {
    let delete = Delete::builder().table_name(table).set_key(Some(key));
    let delete = delete
        .set_condition_expression(read.map(|read| condition(Some(read))))
        .set_expression_attribute_values(version(read));
    TransactWriteItem::builder().set_delete(delete.build().ok()).build()
}

fn condition(read: Option<i64>) -> String {
    read.map_or("attribute_not_exists(pk)", |_| UNCHANGED).to_owned()
}

/// The condition that the version is `:version`.
pub(super) const UNCHANGED: &str = "version = :version";

fn version(read: Option<i64>) -> Option<std::collections::HashMap<String, AttributeValue>> {
    read.map(|read| [(":version".to_owned(), number(read))].into())
}

/// Whether a transaction was cancelled only because other changes came between.
fn is_overtaken(error: Option<&TransactWriteItemsError>) -> bool {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error else { return false };
    let codes = cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or_default());
    let other = |code: &str| !matches!(code, "" | "None" | "ConditionalCheckFailed" | "TransactionConflict");
    !codes.into_iter().any(other)
}

/// Whether an item was not deleted because it is not as it was, or is being changed.
pub(super) fn has_changed(error: Option<&DeleteItemError>) -> bool {
    use DeleteItemError::{ConditionalCheckFailedException, TransactionConflictException};
    matches!(error, Some(ConditionalCheckFailedException(_) | TransactionConflictException(_)))
}
