//! What a token's claims come to.

use std::time::Duration;

use bond_core::grants::{self, Grants, GrantsError, GrantsParts, TopicPattern};
use bond_core::time::UnixNanos;
use serde_json::{Map, Value};
use smol_str::{SmolStr, ToSmolStr};

use super::JwtError;

/// How far the clocks of issuer and server may be apart.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// The role that may read every topic where that is switched on.
const ADMIN: &str = "admin";

/// What is asked of claims, and what they may grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimRules {
    /// `BOND_JWT_ISSUER`: what `iss` must be.
    pub issuer: Option<String>,
    /// `BOND_JWT_AUDIENCE`: what `aud` must be or contain.
    pub audience: Option<String>,
    /// `BOND_ADMIN_READS_ALL`: whether the role `admin` reads every topic.
    pub admin_reads_all: bool,
}

/// The claims of a token whose signature is good.
pub(super) struct Claims(pub(super) Map<String, Value>);

impl Claims {
    /// What they grant at `now`.
    pub(super) fn grants(&self, rules: &ClaimRules, now: UnixNanos) -> Result<Grants, JwtError> {
        if self.0.get("type").and_then(Value::as_str) == Some("refresh") {
            return Err(JwtError::Refresh);
        }
        let expires_at = self.good_at(now)?;
        self.is_for(rules)?;
        let user = self.user()?;
        let read = self.read(&user, rules)?;
        let publish = patterns(self.texts("publish", "publish is a list of patterns")?.unwrap_or_default())?;
        let id = self.text("jti", "jti is a text")?.map(SmolStr::from);
        let (user, expires_at) = (Some(user), Some(expires_at));
        Ok(Grants::new(GrantsParts { user, read, publish, expires_at, id, ..GrantsParts::default() })?)
    }

    /// When they end, if they are good now.
    fn good_at(&self, now: UnixNanos) -> Result<UnixNanos, JwtError> {
        const EXP: &str = "exp is the end in Unix seconds, a number that must be there";
        let expires_at = self.date("exp", EXP)?.ok_or(JwtError::Claim(EXP))?;
        if now >= expires_at.plus(LEEWAY) {
            return Err(JwtError::Expired(expires_at));
        }
        match self.date("nbf", "nbf is the beginning in Unix seconds, a number")? {
            Some(begin) if now.plus(LEEWAY) < begin => Err(JwtError::Early(begin)),
            _ => Ok(expires_at),
        }
    }

    fn is_for(&self, rules: &ClaimRules) -> Result<(), JwtError> {
        let issuer = self.0.get("iss").and_then(Value::as_str);
        if rules.issuer.as_deref().is_some_and(|wanted| issuer != Some(wanted)) {
            return Err(JwtError::Claim("iss is not the issuer that this server trusts (BOND_JWT_ISSUER)"));
        }
        let names = |wanted: &str| match self.0.get("aud") {
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(wanted)),
            one => one.and_then(Value::as_str) == Some(wanted),
        };
        if rules.audience.as_deref().is_some_and(|wanted| !names(wanted)) {
            return Err(JwtError::Claim("aud does not name this server (BOND_JWT_AUDIENCE)"));
        }
        Ok(())
    }

    /// `user_id`, else `sub`.
    fn user(&self) -> Result<SmolStr, JwtError> {
        const USER: &str = "user_id or sub is the user's name, a text that must be there";
        let named = ["user_id", "sub"].into_iter().find_map(|name| self.0.get(name).filter(|v| !v.is_null()));
        match named {
            Some(Value::String(text)) => Ok(text.into()),
            Some(Value::Number(number)) => Ok(number.to_smolstr()),
            _ => Err(JwtError::Claim(USER)),
        }
    }

    /// `topics`, exactly, where the token names any; else what goes with the user and its roles.
    fn read(&self, user: &str, rules: &ClaimRules) -> Result<Vec<TopicPattern>, JwtError> {
        if let Some(topics) = self.texts("topics", "topics is a list of patterns")? {
            return Ok(patterns(topics)?);
        }
        let role = self.text("role", "role is a text")?;
        let roles = self.texts("roles", "roles is a list of texts")?.unwrap_or_default();
        let is_admin = role.into_iter().chain(roles).any(is_admin);
        Ok(of_user(user, is_admin && rules.admin_reads_all))
    }

    fn text(&self, name: &str, rule: &'static str) -> Result<Option<&str>, JwtError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or(JwtError::Claim(rule)),
        }
    }

    fn texts(&self, name: &str, rule: &'static str) -> Result<Option<Vec<&str>>, JwtError> {
        let list = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value.as_array().ok_or(JwtError::Claim(rule))?,
        };
        let texts: Option<Vec<_>> = list.iter().map(Value::as_str).collect();
        texts.map(Some).ok_or(JwtError::Claim(rule))
    }

    /// A date in Unix seconds, down to the second: RFC 7519 allows a fraction.
    fn date(&self, name: &str, rule: &'static str) -> Result<Option<UnixNanos>, JwtError> {
        let number = match self.0.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number,
            Some(_) => return Err(JwtError::Claim(rule)),
        };
        let seconds = number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds.floor() as i64));
        Ok(seconds.map(UnixNanos::from_secs))
    }
}

/// What a user reads whose token names no topics.
pub(super) fn of_user(user: &str, reads_all: bool) -> Vec<TopicPattern> {
    if reads_all { vec![TopicPattern::all()] } else { grants::of_user(user) }
}

/// Whether this role reads every topic where that is switched on.
pub(super) fn is_admin(role: &str) -> bool {
    role == ADMIN
}

fn patterns(texts: Vec<&str>) -> Result<Vec<TopicPattern>, GrantsError> {
    if texts.len() > grants::MAX_PATTERNS {
        return Err(GrantsError::TooMany(texts.len()));
    }
    texts.into_iter().map(|text| TopicPattern::parse(text).map_err(GrantsError::from)).collect()
}
