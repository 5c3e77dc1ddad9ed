//! Who asks for topics, and what they may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use bond_core::api_key::{PREFIX, Role};
use bond_core::code::Code;
use bond_core::grants::{self, Grants};
use bond_core::topic::PublishedTopic;

use crate::admission::Credentials;
use crate::auth::authorization;
use crate::authorizer::Checks;
use crate::problem::Problem;
use crate::rest::{RestState, note_known, too_fast};

/// Who asks for topics.
pub(in crate::rest) struct TopicCaller {
    /// By what its pace is kept, and its idempotency keys are told from those of others.
    pub(super) name: String,
    grants: Grants,
}

impl TopicCaller {
    pub(super) fn may_read(&self, topic: &PublishedTopic) -> bool {
        self.grants.may_read(topic.as_str())
    }

    pub(super) fn may_publish(&self, topic: &PublishedTopic) -> bool {
        self.grants.may_publish(topic.as_str())
    }

    pub(super) fn check_read(&self, topic: &PublishedTopic) -> Result<(), Problem> {
        if self.may_read(topic) {
            return Ok(());
        }
        let detail = format!(
            "you may not read this topic: a token must cover it, and an API key needs the role publisher for users' topics: {topic}"
        );
        Err(Problem::new(Code::Forbidden, detail))
    }

    pub(super) fn check_publish(&self, topic: &PublishedTopic) -> Result<(), Problem> {
        if self.may_publish(topic) { Ok(()) } else { Err(Problem::new(Code::Forbidden, forbidden(topic))) }
    }
}

/// Why somebody may not publish to `topic`.
pub(super) fn forbidden(topic: &PublishedTopic) -> String {
    format!(
        "you may not publish to this topic: use an API key with the role publisher (`bond key new --role publisher`), or a token whose publish \
         covers it: {topic}"
    )
}

impl FromRequestParts<Arc<RestState>> for TopicCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<RestState>) -> Result<Self, Problem> {
        let caller = known(state, &parts.headers)?;
        note_known(parts);
        if state.paces.admit(&caller.name, state.clock.now()) { Ok(caller) } else { Err(too_fast(state)) }
    }
}

fn known(state: &RestState, headers: &HeaderMap) -> Result<TopicCaller, Problem> {
    if authorization(headers).is_some_and(|text| !text.starts_with(PREFIX)) {
        return bearer(state, headers);
    }
    let caller = state.access.caller(headers)?;
    let grants = match caller.holder {
        Some(_) => grants::of_key(caller.roles.contains(&Role::Publisher)),
        None => Grants::open(),
    };
    Ok(TopicCaller { name: caller.owner, grants })
}

/// The user of a token for topics. A colon in the name keeps it apart from the owners of API keys.
fn bearer(state: &RestState, headers: &HeaderMap) -> Result<TopicCaller, Problem> {
    let checks = Checks {
        access: Arc::clone(&state.access),
        tokens: Arc::clone(&state.tokens),
        clock: Arc::clone(&state.clock),
    };
    let access = checks.topics(Credentials { token: None, headers });
    let grants = access.map_err(|refusal| Problem::new(refusal.code, refusal.message))?.grants;
    let user = grants.user().map_or("", |user| user.as_str());
    Ok(TopicCaller { name: format!("user:{user}"), grants })
}
