//! `/ws/health` and `/ws/topics`: how connections to topics fare, and which topics there are.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bond_api::admission::{Credentials, TopicGrant};
use bond_api::problem::Problem;
use bond_core::code::Code;
use bond_core::connection::{Limit, Parameters};
use bond_core::grants::Grants;
use bond_core::log::{LogError, PublishedHead};
use bond_core::time::UnixNanos;
use serde::Serialize;
use serde_json::json;
use smol_str::SmolStr;

use super::shared::Shared;
use crate::alerts::Sample;
use crate::delivery::figures::TopicTotals;
use crate::delivery::ring::Ring;

/// The most topics of one answer.
const MOST_LISTED: usize = 1000;

/// How often the log is asked for one answer, where most of its topics are none of the caller's.
const LOOKS: usize = 10;

/// How often one caller may list topics: ten at once, and one a second.
const LISTS: Limit = Limit::per_second(1, 10);

/// The paths, under both of their roots. They win over `/ws/{stream_id}`.
pub(super) fn router() -> Router<Arc<Shared>> {
    ["", "/api/v1"].into_iter().fold(Router::new(), |router, root| {
        router.route(&format!("{root}/ws/health"), get(health)).route(&format!("{root}/ws/topics"), get(list))
    })
}

/// Says how connections to topics fare. Needs no key: there is no name in it.
async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let now = shared.clock.now();
    if !shared.watched.log_answers(now).await {
        let detail = json!({"detail": "WebSocket service unavailable"});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(detail)).into_response();
    }
    let figures = &shared.hub.figures;
    let totals = figures.totals();
    let sample = Sample { at: now, log_answers: true, queue: totals.lag, ..figures.sample() };
    let (status, per_second, alerts) = shared.watched.fare(&sample);
    let TopicTotals { established, closed, delivered, dropped, topics, subscriptions, lag } = totals;
    let active = established - closed;
    let uptime = now.since(shared.watched.started_at).as_millis();
    let body = json!({
        "status": status,
        "timestamp": now.to_string(),
        "statistics": {
            "connections": {"total": active, "established": established, "closed": closed, "active": active},
            "topics": {"total": topics, "subscriptions": subscriptions},
            "messages": {
                "sent": delivered, "dropped": dropped, "queue_size": lag,
                "broadcast_queue_size": shared.hub.waiting(),
            },
            "performance": {
                "uptime_seconds": rounded(uptime as f64 / 1e3), "messages_per_second": rounded(per_second),
            },
        },
        "alerts": alerts,
    });
    Json(body).into_response()
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

/// One topic of the list.
#[derive(Debug, Serialize)]
struct WatchedTopic {
    topic: String,
    subscriber_count: usize,
    last_sequence: u64,
    last_update: Option<String>,
    update_frequency: &'static str,
}

impl WatchedTopic {
    fn new(topic: String, subscriber_count: usize, latest: Option<(u64, UnixNanos)>) -> Self {
        let (last_sequence, last_update) = latest.map_or((0, None), |(seq, ts)| (seq, Some(ts.to_string())));
        Self { topic, subscriber_count, last_sequence, last_update, update_frequency: "normal" }
    }
}

/// Lists the topics that have a subscriber here or a state, those with most subscribers first.
async fn list(
    State(shared): State<Arc<Shared>>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let parameters = Parameters::new(pairs);
    let credentials = Credentials { token: parameters.get("token"), headers: &headers };
    let grant = shared.admission.topics(credentials);
    let grant = grant.map_err(|refusal| Problem::new(refusal.code, refusal.message))?;
    let now = shared.clock.now();
    if let Err(wait) = shared.listers.spend(caller_of(&grant), LISTS, now) {
        let detail = "one list of topics a second is taken of one caller: wait";
        return Err(Problem::new(Code::RateLimitExceeded, detail)
            .with_retry_after(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1)));
    }
    let topics = watched_topics(&shared, &grant.grants).await.map_err(|error| {
        tracing::warn!(%error, "topics cannot be listed");
        Problem::new(Code::ConnectionError, "the event log is unavailable: try again").with_retry_after(1)
    })?;
    Ok(Json(json!({"topics": topics, "timestamp": now.to_string()})).into_response())
}

/// By what a caller's pace is kept: the user of a token, the key, or everybody on this machine.
fn caller_of(grant: &TopicGrant) -> SmolStr {
    let key = grant.holder.as_ref().map(|holder| holder.key.clone());
    key.or_else(|| grant.grants.user().cloned()).unwrap_or_default()
}

async fn watched_topics(shared: &Shared, grants: &Grants) -> Result<Vec<WatchedTopic>, LogError> {
    let mut rings = shared.hub.subscribed();
    rings.retain(|ring| grants.may_read(&ring.name));
    rings.sort_by_cached_key(|ring| (Reverse(ring.subscribers()), ring.name.clone()));
    rings.truncate(MOST_LISTED);
    let mut listed: Vec<_> = rings.iter().map(of_ring).collect();
    let known: HashSet<&str> = rings.iter().map(|ring| ring.name.as_str()).collect();
    let mut after = String::new();
    for _ in 0..LOOKS {
        let found = shared.watched.log().published("", &after, MOST_LISTED).await?;
        let is_last = found.len() < MOST_LISTED;
        for PublishedHead { topic, position, ts } in found {
            after = topic.to_string();
            if listed.len() < MOST_LISTED
                && !known.contains(topic.as_str())
                && grants.may_read(topic.as_str())
            {
                listed.push(WatchedTopic::new(after.clone(), 0, Some((position.seq, ts))));
            }
        }
        if is_last || listed.len() >= MOST_LISTED {
            break;
        }
    }
    Ok(listed)
}

fn of_ring(ring: &Arc<Ring>) -> WatchedTopic {
    WatchedTopic::new(ring.name.clone(), ring.subscribers(), ring.latest())
}
