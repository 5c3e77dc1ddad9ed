//! What every [`StreamStore`] must do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::store::{Claim, DesiredStream, Labels, StoreError, StreamStore};
use crate::time::UnixNanos;
use crate::topic::StreamId;

/// A registry under test, and what can happen to it.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A handle on a registry that is empty and not used by another case.
    async fn empty(&self) -> Arc<dyn StreamStore>;

    /// A second handle on the registry that `empty` gave last, as another process or thread would have it.
    async fn open(&self) -> Arc<dyn StreamStore>;

    /// Restarts the registry that `empty` gave last, as after a crash. `None` where it keeps memory only.
    async fn restart(&self) -> Option<Arc<dyn StreamStore>>;
}

/// Runs every case, one after another, each on a registry of its own.
///
/// # Panics
/// Where the registry does not behave as [`StreamStore`] says.
pub async fn run(harness: &impl Harness) {
    a_claim_creates_a_stream_once(harness).await;
    the_last_release_ends_a_stream(harness).await;
    a_quota_counts_other_streams(harness).await;
    a_quota_holds_against_many_at_once(harness).await;
    an_id_belongs_to_one_spec(harness).await;
    an_expired_claim_does_not_exist(harness).await;
    claiming_again_renews(harness).await;
    an_expired_stream_may_be_created_anew(harness).await;
    a_list_is_an_owners_and_paged(harness).await;
    desired_is_everything_that_exists(harness).await;
    what_an_owner_wrote_is_his_alone(harness).await;
    what_was_written_survives_a_restart(harness).await;
}

const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);
const MANY: usize = 100;

fn id(n: u8) -> StreamId {
    StreamId::from_bytes([0, 0, 0, 0, 0, 0, 0, n])
}

fn stream(n: u8) -> DesiredStream {
    DesiredStream {
        id: id(n),
        canonical: format!("{{\"n\":{n}}}"),
        spec: format!("{{\"n\":{n},\"name\":\"ü\"}}"),
        created_at: NOW,
    }
}

fn claim(owner: &str) -> Claim {
    Claim { owner: owner.to_owned(), expires_at: None, labels: Labels::default() }
}

fn until(owner: &str, expires_at: UnixNanos) -> Claim {
    Claim { expires_at: Some(expires_at), ..claim(owner) }
}

fn labelled(owner: &str, name: &str) -> Claim {
    let labels =
        Labels { name: Some(name.to_owned()), description: Some("\"ü\"".to_owned()), ttl_sec: Some(60) };
    Claim { labels, ..claim(owner) }
}

/// The streams that are listed for an owner, each with the owner's labels.
async fn listed(store: &dyn StreamStore, owner: &str) -> Vec<(StreamId, Labels)> {
    let found = store.list(owner, None, MANY, NOW).await.expect("list");
    assert!(found.iter().all(|(_, claim)| claim.owner == owner), "no claim of another is listed");
    found.into_iter().map(|(stream, claim)| (stream.id, claim.labels)).collect()
}

fn after(secs: u64) -> UnixNanos {
    NOW.plus(Duration::from_secs(secs))
}

async fn claim_now(store: &dyn StreamStore, n: u8, owner: &str) -> Result<(DesiredStream, bool), StoreError> {
    store.claim(stream(n), claim(owner), MANY, NOW).await
}

fn ids(streams: &[DesiredStream]) -> Vec<StreamId> {
    streams.iter().map(|stream| stream.id.clone()).collect()
}

async fn desired(store: &dyn StreamStore, now: UnixNanos) -> Vec<StreamId> {
    let mut found = ids(&store.desired(now).await.expect("desired"));
    found.sort();
    found
}

async fn a_claim_creates_a_stream_once(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    assert_eq!(store.get(&id(1), NOW).await, Ok(None), "an unclaimed stream does not exist");
    assert_eq!(claim_now(&*store, 1, "ann").await, Ok((stream(1), true)), "the first claim creates it");
    let later = DesiredStream { spec: "{\"later\":1}".into(), created_at: after(9), ..stream(1) };
    let again = other.claim(later, claim("bob"), MANY, after(9)).await;
    assert_eq!(again, Ok((stream(1), false)), "another finds it as it was created");
    let (found, mut claims) = other.get(&id(1), NOW).await.expect("get").expect("a stream");
    claims.sort_by(|a, b| a.owner.cmp(&b.owner));
    assert_eq!((found, claims), (stream(1), vec![claim("ann"), claim("bob")]), "with both claims");
}

async fn the_last_release_ends_a_stream(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    claim_now(&*store, 1, "ann").await.expect("claim");
    claim_now(&*store, 1, "bob").await.expect("claim");
    assert_eq!(store.release(&id(1), "eve", NOW).await, Ok(None), "who has no claim cannot drop one");
    assert_eq!(store.release(&id(2), "ann", NOW).await, Ok(None), "nor on an unknown stream");
    assert_eq!(store.release(&id(1), "ann", NOW).await, Ok(Some(false)), "another claim is left");
    assert_eq!(store.release(&id(1), "ann", NOW).await, Ok(None), "a claim is dropped once");
    assert!(other.get(&id(1), NOW).await.expect("get").is_some(), "claimed by bob, it lives on");
    assert_eq!(other.release(&id(1), "bob", NOW).await, Ok(Some(true)), "the last claim ends it");
    assert_eq!(store.get(&id(1), NOW).await, Ok(None), "it does not exist any more");
    assert_eq!(desired(&*store, NOW).await, [], "and is not desired");
    assert_eq!(claim_now(&*store, 1, "ann").await, Ok((stream(1), true)), "claimed again, it is created");
}

async fn a_quota_counts_other_streams(harness: &impl Harness) {
    let store = harness.empty().await;
    for n in [1, 2] {
        let made = store.claim(stream(n), claim("ann"), 2, NOW).await;
        assert!(made.is_ok_and(|(_, created)| created), "stream {n} is within the quota");
    }
    let refused = store.claim(stream(3), claim("ann"), 2, NOW).await;
    assert_eq!(refused, Err(StoreError::Quota { limit: 2 }), "a third stream is not");
    assert_eq!(store.get(&id(3), NOW).await, Ok(None), "what was refused has changed nothing");
    let again = store.claim(stream(2), claim("ann"), 2, NOW).await;
    assert_eq!(again, Ok((stream(2), false)), "claiming again counts once");
    assert!(
        store.claim(stream(3), claim("bob"), 2, NOW).await.is_ok(),
        "another owner has a quota of his own"
    );
    store.release(&id(1), "ann", NOW).await.expect("release");
    assert!(store.claim(stream(3), claim("ann"), 2, NOW).await.is_ok(), "a dropped claim makes room");
}

async fn a_quota_holds_against_many_at_once(harness: &impl Harness) {
    harness.empty().await;
    let mut attempts = Vec::new();
    for n in 0..20 {
        let store = harness.open().await;
        #[expect(clippy::disallowed_methods, reason = "the suite waits for it")]
        attempts.push(tokio::spawn(async move { store.claim(stream(n), claim("ann"), 5, NOW).await }));
    }
    let mut made = 0;
    for attempt in attempts {
        match attempt.await.expect("attempt") {
            Ok(_) => made += 1,
            Err(error) => assert_eq!(error, StoreError::Quota { limit: 5 }),
        }
    }
    assert_eq!(made, 5, "exactly the quota is let through");
    let listed = harness.open().await.list("ann", None, MANY, NOW).await.expect("list");
    assert_eq!(listed.len(), 5, "and listed");
}

async fn an_id_belongs_to_one_spec(harness: &impl Harness) {
    let store = harness.empty().await;
    claim_now(&*store, 1, "ann").await.expect("claim");
    let other = DesiredStream { canonical: "{\"other\":1}".into(), ..stream(1) };
    let refused = store.claim(other, claim("bob"), MANY, NOW).await;
    assert_eq!(refused, Err(StoreError::Conflict(id(1))), "a different spec is refused");
    let (_, claims) = store.get(&id(1), NOW).await.expect("get").expect("a stream");
    assert_eq!(claims, [claim("ann")], "and claims nothing");
}

async fn an_expired_claim_does_not_exist(harness: &impl Harness) {
    let store = harness.empty().await;
    store.claim(stream(1), until("ann", after(10)), 1, NOW).await.expect("claim");
    store.claim(stream(2), until("bob", after(10)), 1, NOW).await.expect("claim");
    store.claim(stream(2), claim("eve"), 1, NOW).await.expect("claim");
    let (_, claims) = store.get(&id(1), after(9)).await.expect("get").expect("a stream");
    assert_eq!(claims, [until("ann", after(10))], "before its end a claim is there");
    assert_eq!(store.get(&id(1), after(10)).await, Ok(None), "at its end the last claim's stream is gone");
    assert_eq!(store.list("ann", None, MANY, after(10)).await, Ok(vec![]), "and not listed");
    assert_eq!(store.release(&id(1), "ann", after(10)).await, Ok(None), "there is nothing to release");
    let (_, claims) = store.get(&id(2), after(10)).await.expect("get").expect("a stream");
    assert_eq!(claims, [claim("eve")], "the other owner's claim stands");
    assert_eq!(store.release(&id(2), "eve", after(10)).await, Ok(Some(true)), "and is the last one");
    let made = store.claim(stream(3), claim("ann"), 1, after(10)).await;
    assert!(made.is_ok(), "an expired claim does not count against the quota: {made:?}");
}

async fn claiming_again_renews(harness: &impl Harness) {
    let store = harness.empty().await;
    store.claim(stream(1), until("ann", after(10)), 1, NOW).await.expect("claim");
    store.claim(stream(1), until("ann", after(20)), 1, after(5)).await.expect("claim");
    assert!(store.get(&id(1), after(15)).await.expect("get").is_some(), "the later end holds");
    assert_eq!(desired(&*store, after(15)).await, [id(1)], "removing what has expired leaves it");
    store.claim(stream(1), claim("ann"), 1, after(15)).await.expect("claim");
    let (_, claims) = store.get(&id(1), after(99)).await.expect("get").expect("a stream");
    assert_eq!(claims, [claim("ann")], "a claim without an end replaces one with");
}

async fn an_expired_stream_may_be_created_anew(harness: &impl Harness) {
    let store = harness.empty().await;
    store.claim(stream(1), until("ann", after(10)), 1, NOW).await.expect("claim");
    let other = DesiredStream { canonical: "{\"other\":1}".into(), created_at: after(11), ..stream(1) };
    let made = store.claim(other.clone(), claim("bob"), 1, after(11)).await;
    assert_eq!(made, Ok((other.clone(), true)), "an expired stream holds nothing, its id included");
    let (found, claims) = store.get(&id(1), after(11)).await.expect("get").expect("a stream");
    assert_eq!((found, claims), (other, vec![claim("bob")]), "and the new one is not the old one's heir");
}

async fn a_list_is_an_owners_and_paged(harness: &impl Harness) {
    let store = harness.empty().await;
    for n in [5, 3, 1, 4, 2] {
        claim_now(&*store, n, "ann").await.expect("claim");
    }
    claim_now(&*store, 9, "bob").await.expect("claim");
    claim_now(&*store, 8, "anna").await.expect("claim");
    let mut pages = Vec::new();
    let mut last: Option<StreamId> = None;
    for _ in 0..4 {
        let page = store.list("ann", last.as_ref(), 2, NOW).await.expect("list");
        let page: Vec<StreamId> = page.into_iter().map(|(stream, _)| stream.id).collect();
        last = page.last().cloned().or(last);
        pages.push(page);
    }
    assert_eq!(pages, [vec![id(1), id(2)], vec![id(3), id(4)], vec![id(5)], vec![]], "pages of two, by id");
    assert_eq!(store.list("nobody", None, 2, NOW).await, Ok(vec![]));
}

async fn desired_is_everything_that_exists(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    claim_now(&*store, 1, "ann").await.expect("claim");
    claim_now(&*store, 1, "bob").await.expect("claim");
    store.claim(stream(2), until("ann", after(10)), MANY, NOW).await.expect("claim");
    assert_eq!(desired(&*other, NOW).await, [id(1), id(2)], "every stream once");
    assert_eq!(desired(&*other, after(10)).await, [id(1)], "without what has expired");
    assert_eq!(desired(&*other, NOW).await, [id(1)], "which was removed");
    assert_eq!(store.desired(NOW).await, Ok(vec![stream(1)]), "and whole");
}

async fn what_an_owner_wrote_is_his_alone(harness: &impl Harness) {
    let (store, other) = (harness.empty().await, harness.open().await);
    store.claim(stream(1), labelled("ann", "mine"), MANY, NOW).await.expect("claim");
    let joined = other.claim(stream(1), claim("bob"), MANY, NOW).await;
    assert_eq!(joined, Ok((stream(1), false)), "who joins is told of the stream alone");
    assert_eq!(listed(&*other, "bob").await, [(id(1), Labels::default())], "bob sees no label of ann's");
    assert_eq!(listed(&*other, "ann").await, [(id(1), labelled("ann", "mine").labels)], "ann sees hers");
    store.claim(stream(1), labelled("bob", "his"), MANY, NOW).await.expect("claim");
    let (_, mut claims) = other.get(&id(1), NOW).await.expect("get").expect("a stream");
    claims.sort_by(|a, b| a.owner.cmp(&b.owner));
    assert_eq!(claims, [labelled("ann", "mine"), labelled("bob", "his")], "each claim has its own");
    store.claim(stream(1), labelled("ann", "new"), MANY, NOW).await.expect("claim");
    assert_eq!(listed(&*store, "ann").await[0].1.name.as_deref(), Some("new"), "claiming again renews them");
    store.release(&id(1), "ann", NOW).await.expect("release");
    store.claim(stream(1), claim("ann"), MANY, NOW).await.expect("claim");
    assert_eq!(listed(&*store, "ann").await, [(id(1), Labels::default())], "they go with the claim");
    assert_eq!(store.desired(NOW).await, Ok(vec![stream(1)]), "and are no part of the stream");
}

async fn what_was_written_survives_a_restart(harness: &impl Harness) {
    let store = harness.empty().await;
    claim_now(&*store, 1, "ann").await.expect("claim");
    let kept = Claim { expires_at: Some(after(10)), ..labelled("ann", "mine") };
    store.claim(stream(2), kept.clone(), MANY, NOW).await.expect("claim");
    claim_now(&*store, 3, "ann").await.expect("claim");
    store.release(&id(3), "ann", NOW).await.expect("release");
    drop(store);
    let Some(store) = harness.restart().await else { return };
    assert_eq!(desired(&*store, NOW).await, [id(1), id(2)], "streams are there after a restart");
    let (found, claims) = store.get(&id(2), NOW).await.expect("get").expect("a stream");
    assert_eq!((found, claims), (stream(2), vec![kept]), "with their claims");
}
