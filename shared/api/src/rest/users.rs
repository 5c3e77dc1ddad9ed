//! Ending the connections of a user.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use bond_core::api_key::Role;
use bond_core::code::Code;
use bond_core::grants::MAX_NAME_BYTES;
use bond_core::publish::{PublishBatch, PublishError, PublishRequest};
use bond_core::revocation::{self, LONGEST, Revocation, Revoked};
use bond_core::time::UnixNanos;
use bond_core::topic::{PublishedTopic, Topic};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
#[cfg(test)]
use utoipa::ToSchema;

use super::RestState;
use super::body::JsonText;
#[cfg(test)]
use super::described::{KeyRefused, NotUnderstood};
#[cfg(test)]
use super::topics::WriterAway;
use super::topics::{log_problem, publish_problem, within};
use crate::auth::Caller;
use crate::problem::Problem;

/// How often it is tried where others disconnect users at the same time.
const TRIES: usize = 5;

/// For how long tokens are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(ToSchema))]
#[cfg_attr(test, schema(example = json!({"revoke_seconds": 3600})))]
pub(super) struct Disconnect {
    /// For how many seconds from now tokens of the user are refused, 86,400 at most; 0 where it is not said.
    #[serde(default)]
    revoke_seconds: u64,
}

/// A user who was disconnected.
#[derive(Serialize)]
#[cfg_attr(test, derive(ToSchema))]
pub(super) struct Disconnected {
    /// Who.
    user: String,
    /// Until when the user's tokens are refused, RFC 3339 in UTC; null where they are not.
    revoked_until: Option<String>,
}

/// End the connections of a user to topics, on every edge, and refuse the user's tokens for a while.
///
/// The connections are closed with 4501. Needs an API key with the role `publisher`. The answer comes once all edges are told.
#[cfg_attr(test, utoipa::path(
    post, path = "/v1/users/{user}/disconnect", operation_id = "disconnect_user", tag = "topics",
    params(("user" = String, Path, description = "The user, as in the tokens: `user_id`, else `sub`")),
    request_body(content = Disconnect, description = "May be left out"),
    responses(
        (status = 200, body = Disconnected),
        (status = 400, response = NotUnderstood),
        (status = 401, response = KeyRefused),
        (status = 403, description = "The key has not the role `publisher`"),
        (status = 429, description = "Too many users are refused at once"),
        (status = 503, response = WriterAway),
    ),
))]
pub(super) async fn disconnect(
    State(state): State<Arc<RestState>>,
    caller: Caller,
    Path(user): Path<String>,
    JsonText(body): JsonText,
) -> Result<Json<Disconnected>, Problem> {
    if !caller.roles.contains(&Role::Publisher) {
        let detail =
            "users are disconnected by an API key with the role publisher: `bond key new --role publisher`";
        return Err(Problem::new(Code::Forbidden, detail));
    }
    let refused_for = read(&user, &body)?;
    let at = state.clock.now();
    let revocation = Revocation { at, until: at.plus(refused_for) };
    let until = publish(&state, &user, revocation).await?;
    let revoked_until = (until > at).then(|| until.to_string());
    Ok(Json(Disconnected { user, revoked_until }))
}

/// For how long tokens are to be refused.
fn read(user: &str, body: &str) -> Result<Duration, Problem> {
    let invalid = |detail: String| Problem::new(Code::InvalidMessage, detail);
    if !(1..=MAX_NAME_BYTES).contains(&user.len()) {
        return Err(invalid(format!("a user's name has 1 to {MAX_NAME_BYTES} bytes, not {}", user.len())));
    }
    // By way of an object, since a list would be read too.
    let body = if body.trim().is_empty() { "{}" } else { body };
    let object = serde_json::from_str::<Map<String, Value>>(body);
    let read = object.and_then(|object| serde_json::from_value(Value::Object(object)));
    let Disconnect { revoke_seconds } = read
        .map_err(|error| invalid(format!("the body is {{\"revoke_seconds\": 3600}} or nothing: {error}")))?;
    let longest = LONGEST.as_secs();
    if revoke_seconds > longest {
        return Err(invalid(format!("revoke_seconds is 0 to {longest}, not {revoke_seconds}")));
    }
    Ok(Duration::from_secs(revoke_seconds))
}

/// Tells all edges, by the state of a topic that they follow. Returns until when tokens are refused.
async fn publish(state: &RestState, user: &str, revocation: Revocation) -> Result<UnixNanos, Problem> {
    let nowhere = || Problem::new(Code::InternalError, "there is no topic for this user");
    let topic = revocation::topic_of(user).ok_or_else(nowhere)?;
    let mut last = None;
    for _ in 0..TRIES {
        let (head, known) = found(state, &topic).await?;
        let payload = revocation::patch(&known, user, revocation, revocation.at);
        let batch =
            format!("{{\"events\":[{{\"type\":\"delta\",\"payload\":{payload}}}],\"if_seq\":{head}}}");
        let batch = PublishBatch::parse(&batch).map_err(|error| Problem::new(error.code, error.message))?;
        let request = PublishRequest { topic: topic.clone(), batch, key: None, entry: None };
        match within(state.publisher.publish(request)).await {
            Ok(_) => {
                let before = known.get(user).map_or(revocation.until, |before| before.until);
                return Ok(before.max(revocation.until));
            }
            // Another user of this topic was disconnected meanwhile.
            Err(error @ PublishError::Conflict(_)) => last = Some(error),
            Err(PublishError::StateTooLarge) => return Err(too_many()),
            Err(error) => return Err(publish_problem(&error)),
        }
    }
    Err(last.map_or_else(nowhere, |error| publish_problem(&error)))
}

/// The number of the topic's head, and its users.
async fn found(state: &RestState, topic: &PublishedTopic) -> Result<(u64, Revoked), Problem> {
    let found = state.log.state(&Topic::Published(topic.clone())).await;
    let found = found.map_err(|error| log_problem(&error))?;
    Ok(found.map_or_else(Default::default, |found| {
        (found.position.seq, found.state.as_deref().map(revocation::read).unwrap_or_default())
    }))
}

fn too_many() -> Problem {
    let detail = "too many users are refused at once: wait until some are over, or refuse for a shorter time";
    Problem::new(Code::LimitExceeded, detail)
}
