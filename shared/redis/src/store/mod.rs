//! The registry: a hash of streams with their claims, and a set of ids for each owner. Every call that changes something is one script.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bond_core::store::{Claim, DesiredStream, Labels, StoreError, StreamStore};
use bond_core::time::UnixNanos;
use bond_core::topic::StreamId;
use fred::error::Error;
use fred::types::Value;
use serde::Deserialize;

use crate::client::{Redis, Verb};
use crate::script::Script;

const STREAMS: &str = "bond:{registry}:streams";

const GET: Verb = Verb::new("HGET", 0);

static CLAIM: Script = Script::new(include_str!("claim.lua"));
static RELEASE: Script = Script::new(include_str!("release.lua"));
static LIST: Script = Script::new(include_str!("list.lua"));
static DESIRED: Script = Script::new(include_str!("desired.lua"));

/// A [`StreamStore`] in Redis. It survives a restart if Redis does (`appendonly`).
pub struct RedisStore(Redis);

impl RedisStore {
    /// The registry in `redis`.
    pub const fn new(redis: Redis) -> Self {
        Self(redis)
    }
}

fn keys(owner: &str) -> Vec<String> {
    vec![STREAMS.to_owned(), format!("bond:{{registry}}:owner:{owner}")]
}

/// A time as text that sorts like the time. Times before 1970 all become the same text.
fn stamp(time: UnixNanos) -> String {
    format!("{:019}", time.as_nanos().max(0))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn unavailable(error: Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

fn unreadable() -> StoreError {
    StoreError::Unavailable(format!("{STREAMS} is not a registry"))
}

#[async_trait]
impl StreamStore for RedisStore {
    async fn claim(
        &self,
        stream: DesiredStream,
        claim: Claim,
        quota: usize,
        now: UnixNanos,
    ) -> Result<(DesiredStream, bool), StoreError> {
        let DesiredStream { id, canonical, spec, created_at } = stream;
        let keys = keys(&claim.owner);
        let expires = claim.expires_at.map(stamp).unwrap_or_default();
        let (created_at, quota_text) = (stamp(created_at), quota.to_string());
        let args = [
            id.as_str().to_owned(),
            canonical,
            spec,
            created_at,
            claim.owner,
            expires,
            quota_text,
            stamp(now),
            claim.labels.to_text(),
        ];
        let answer: Vec<String> = CLAIM.run(&self.0, keys, texts(args)).await.map_err(unavailable)?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["conflict"] => Err(StoreError::Conflict(id)),
            ["quota"] => Err(StoreError::Quota { limit: quota }),
            [word, text] => Ok((Stored::read(text)?.stream(id)?, word == "created")),
            _ => Err(unreadable()),
        }
    }

    async fn release(&self, id: &StreamId, owner: &str, now: UnixNanos) -> Result<Option<bool>, StoreError> {
        let args = texts([id.as_str().to_owned(), owner.to_owned(), stamp(now)]);
        let left: i64 = RELEASE.run(&self.0, keys(owner), args).await.map_err(unavailable)?;
        Ok((left >= 0).then_some(left == 1))
    }

    async fn get(
        &self,
        id: &StreamId,
        now: UnixNanos,
    ) -> Result<Option<(DesiredStream, Vec<Claim>)>, StoreError> {
        let args = vec![STREAMS.into(), id.as_str().into()];
        let text: Option<String> = self.0.call(GET, args).await.map_err(unavailable)?;
        let Some(text) = text else { return Ok(None) };
        let stored = Stored::read(&text)?;
        let claims = stored.claims(now)?;
        Ok(if claims.is_empty() { None } else { Some((stored.stream(id.clone())?, claims)) })
    }

    async fn list(
        &self,
        owner: &str,
        after: Option<&StreamId>,
        limit: usize,
        now: UnixNanos,
    ) -> Result<Vec<(DesiredStream, Claim)>, StoreError> {
        let found: Vec<String> = LIST.run(&self.0, keys(owner), Vec::new()).await.map_err(unavailable)?;
        let mut page = Vec::new();
        for (id, stored) in read_all(&found)? {
            let his = stored.claims(now)?.into_iter().find(|claim| claim.owner == owner);
            if let Some(claim) = his.filter(|_| after.is_none_or(|after| id > *after)) {
                page.push((stored.stream(id)?, claim));
            }
        }
        page.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        page.truncate(limit);
        Ok(page)
    }

    async fn desired(&self, now: UnixNanos) -> Result<Vec<DesiredStream>, StoreError> {
        let found: Vec<String> =
            DESIRED.run(&self.0, STREAMS, texts([stamp(now)])).await.map_err(unavailable)?;
        read_all(&found)?.into_iter().map(|(id, stored)| stored.stream(id)).collect()
    }
}

fn texts<const N: usize>(args: [String; N]) -> Vec<Value> {
    args.into_iter().map(Value::from).collect()
}

/// A stream as it is stored. A claim without an end has an empty text as its end.
#[derive(Deserialize)]
struct Stored {
    canonical: String,
    spec: String,
    created: String,
    claims: BTreeMap<String, String>,
    /// The labels by owner. Streams that older versions stored have none.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Stored {
    fn read(text: &str) -> Result<Self, StoreError> {
        serde_json::from_str(text).map_err(|_| unreadable())
    }

    fn stream(self, id: StreamId) -> Result<DesiredStream, StoreError> {
        let created_at = read_stamp(&self.created)?;
        Ok(DesiredStream { id, canonical: self.canonical, spec: self.spec, created_at })
    }

    /// The claims that have not expired by `now`.
    fn claims(&self, now: UnixNanos) -> Result<Vec<Claim>, StoreError> {
        let mut claims = Vec::new();
        for (owner, expires) in &self.claims {
            let expires_at = if expires.is_empty() { None } else { Some(read_stamp(expires)?) };
            if expires_at.is_none_or(|at| now < at) {
                let labels =
                    self.labels.get(owner).map_or(Ok(Labels::default()), |text| Labels::from_text(text))?;
                claims.push(Claim { owner: owner.clone(), expires_at, labels });
            }
        }
        Ok(claims)
    }
}

fn read_stamp(text: &str) -> Result<UnixNanos, StoreError> {
    text.parse().map(UnixNanos::from_nanos).map_err(|_| unreadable())
}

/// Parses a list of ids, each followed by the stored stream.
fn read_all(found: &[String]) -> Result<Vec<(StreamId, Stored)>, StoreError> {
    let pairs = found.chunks_exact(2);
    pairs
        .map(|pair| Ok((StreamId::parse(&pair[0]).ok_or_else(unreadable)?, Stored::read(&pair[1])?)))
        .collect()
}
