//! Desired streams and their claims, in one DynamoDB table.
//!
//! | access | request | key |
//! |---|---|---|
//! | a stream | GetItem | `desired#2`, stream id |
//! | its claims | Query | `stream#{id}` |
//! | an owner's streams, his quota | GetItem | `owner#{owner}`, `streams` |
//! | a page of an owner's streams | GetItem each | `desired#2`, stream id, and the claim `stream#{id}`, `{owner}` |
//! | claim, release | TransactWriteItems | the stream, the claim `stream#{id}`, `{owner}`, and the owner |
//! | every stream that exists | Query each shard | `desired#0` to `desired#3` |
//! | remove an expired stream | DeleteItem if unchanged | `desired#2`, stream id |
//!
//! The shard is the id's last digit modulo four, so that a survey is four queries and never a scan.
//!
//! Three items must agree: the claim, the stream (which knows when the last of its claims ends) and the owner (a map of his streams
//! and when his claims on them end, which makes his quota exact). Stream and owner carry a version; whoever changes a claim reads
//! both, works out the change, and writes all three if both versions stand, or else begins again, a bounded number of times. A
//! stream's claims are read after its version, and so are those of that version where the write succeeds.
//!
//! An end is kept in nanoseconds (`ends_ns`; absent: none) and judged on reading. `ttl` lets DynamoDB delete the item at some
//! time after it, which changes nothing that anybody sees.

mod change;
mod record;

use std::time::Duration;

use async_trait::async_trait;
use bond_core::store::{Claim, DesiredStream, StoreError, StreamStore};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use futures_util::future::{try_join, try_join_all};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use self::change::{Change, State};
use self::record::{OwnerRecord, SHARDS, StreamRecord};
use crate::table::{DynamoError, Table, number};

/// How often a change is begun again because another one came between.
const ATTEMPTS: u32 = 40;
/// The longest pause before that; the pauses are random, and double up to it.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How many of a page's streams are read at once.
const PAGE_READS: usize = 16;

/// A [`StreamStore`] in a DynamoDB table. A clone is another handle.
#[derive(Clone)]
pub struct DynamoStreams(Table);

impl DynamoStreams {
    pub(crate) const fn new(table: Table) -> Self {
        Self(table)
    }

    async fn stream(&self, id: &StreamId) -> Result<Option<StreamRecord>, DynamoError> {
        let item = self.0.get(&record::shard_of(id), id.as_str()).await?;
        item.as_ref().map(StreamRecord::read).transpose()
    }

    async fn live_stream(&self, id: &StreamId, now: UnixNanos) -> Result<Option<DesiredStream>, DynamoError> {
        let found = self.stream(id).await?;
        Ok(found.filter(|record| record.is_live(now)).map(|record| record.stream))
    }

    async fn live_claims(&self, id: &StreamId, now: UnixNanos) -> Result<Vec<Claim>, DynamoError> {
        let items = self.0.query(&record::claims_of(id)).await?;
        let claims = items.iter().map(record::read_claim).collect::<Result<Vec<_>, _>>()?;
        Ok(claims.into_iter().filter(|claim| record::is_live(claim.expires_at, now)).collect())
    }

    /// The stream with the owner's claim on it, if there are both.
    async fn claimed(
        &self,
        id: &StreamId,
        owner: &str,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Claim)>, DynamoError> {
        let claims = record::claims_of(id);
        let (stream, claim) = try_join(self.live_stream(id, now), self.0.get(&claims, owner)).await?;
        let claim = claim.as_ref().map(record::read_claim).transpose()?;
        Ok(stream.zip(claim.filter(|claim| record::is_live(claim.expires_at, now))))
    }

    async fn owner(&self, owner: &str) -> Result<OwnerRecord, DynamoError> {
        let item = self.0.get(&record::owner_key(owner), record::OWNER_SORT).await?;
        item.as_ref().map_or_else(|| Ok(OwnerRecord::new(owner)), |item| OwnerRecord::read(owner, item))
    }

    /// What a change of `owner`'s claim on `id` has to know. The stream before its claims: see the module's documentation.
    async fn state(&self, id: &StreamId, owner: &str, now: UnixNanos) -> Result<State, DynamoError> {
        let stream_and_claims = async {
            let stream = self.stream(id).await?;
            Ok((stream, self.live_claims(id, now).await?))
        };
        let ((stream, claims), owner) = try_join(stream_and_claims, self.owner(owner)).await?;
        Ok(State { stream, claims, owner, now })
    }

    /// Works out a change and writes it, again where another one came between.
    async fn change<T>(
        &self,
        id: &StreamId,
        owner: &str,
        now: UnixNanos,
        work: impl Fn(State) -> Result<(Option<Change>, T), StoreError>,
    ) -> Result<T, StoreError> {
        for attempt in 0..ATTEMPTS {
            let (change, outcome) = work(self.state(id, owner, now).await?)?;
            let Some(change) = change else { return Ok(outcome) };
            if change.commit(&self.0).await? {
                return Ok(outcome);
            }
            tokio::time::sleep(pause(attempt)).await;
        }
        Err(DynamoError::Contended.into())
    }

    /// Deletes a stream that has expired, unless it was changed since it was read.
    async fn remove_expired(&self, record: &StreamRecord) -> Result<(), DynamoError> {
        let request = self
            .0
            .client
            .delete_item()
            .table_name(&self.0.name)
            .set_key(Some(record::stream_key(&record.stream.id)));
        let request = request
            .condition_expression(change::UNCHANGED)
            .expression_attribute_values(":version", number(record.version));
        match request.send().await {
            Err(error) if !change::has_changed(error.as_service_error()) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// A random share of a time that doubles with each attempt.
fn pause(attempt: u32) -> Duration {
    let longest = LONGEST_PAUSE.min(Duration::from_millis(4) * 2_u32.pow(attempt.min(10)));
    // Without randomness the attempts are merely less well spread.
    let share = getrandom::u32().unwrap_or(u32::MAX);
    longest.mul_f64(f64::from(share) / f64::from(u32::MAX))
}

#[async_trait]
impl StreamStore for DynamoStreams {
    async fn claim(
        &self,
        stream: DesiredStream,
        claim: Claim,
        quota: usize,
        now: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError> {
        let work = |state: State| {
            let (change, found, created) = state.claim(&stream, &claim, quota)?;
            Ok((Some(change), (found, created)))
        };
        self.change(&stream.id, &claim.owner, now, work).await
    }

    async fn release(&self, id: &StreamId, owner: &str, now: UnixNanos) -> Result<Option<bool>, StoreError> {
        let work = |state: State| Ok(state.release().unzip());
        self.change(id, owner, now, work).await
    }

    async fn get(
        &self,
        id: &StreamId,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError> {
        let (stream, claims) = try_join(self.live_stream(id, now), self.live_claims(id, now)).await?;
        Ok(stream.filter(|_| !claims.is_empty()).map(|stream| (stream, claims)))
    }

    async fn list(
        &self,
        owner: &str,
        after: Option<&StreamId>,
        limit: usize,
        now: UnixNanos,
    ) -> Result<Vec<(DesiredStream, Claim)>, StoreError> {
        let owned = self.owner(owner).await?.live(now);
        let page = owned.into_keys().filter(|id| after.is_none_or(|after| id > after));
        let reads = stream::iter(page).map(|id| async move { self.claimed(&id, owner, now).await });
        let found = reads.buffered(PAGE_READS).try_filter_map(|found| async { Ok(found) });
        Ok(found.take(limit).try_collect().await?)
    }

    async fn desired(&self, now: UnixNanos) -> Result<Vec<DesiredStream>, StoreError> {
        let shards = (0..SHARDS).map(|shard| async move { self.0.query(&record::shard_key(shard)).await });
        let items = try_join_all(shards).await?.concat();
        let records = items.iter().map(StreamRecord::read).collect::<Result<Vec<_>, _>>()?;
        let (live, expired): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.is_live(now));
        for record in &expired {
            self.remove_expired(record).await?;
        }
        Ok(live.into_iter().map(|record| record.stream).collect())
    }
}
