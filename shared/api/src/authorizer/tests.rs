//! Who may connect to topics.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use bond_core::api_key::{ApiKey, KeyFile};
use bond_core::time::UnixNanos;
use bond_core::token::{TokenKey, TokenKeys};

use super::*;
use crate::jwt::{ClaimRules, Minting, StaticTokens, TokenVerifier, mint};
use crate::keys::Keys;

const NOW: UnixNanos = UnixNanos::from_secs(1_800_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> UnixNanos {
        NOW
    }
}

fn checks(access: Access) -> Checks {
    let static_tokens = StaticTokens::parse("valid_token:user_123").expect("a token");
    let verifier = TokenVerifier::new(&[SECRET], ClaimRules::default()).with_static_tokens(static_tokens);
    let tokens = Tokens::new(TokenKeys::new(TokenKey::new(SECRET), None)).with_topics(Arc::new(verifier));
    Checks { access: Arc::new(access), tokens: Arc::new(tokens), clock: Arc::new(Fixed) }
}

/// In open mode.
fn open() -> Checks {
    let dir = tempfile::tempdir().expect("directory");
    checks(Access::new(Keys::open(dir.path(), Duration::MAX).expect("keys"), true))
}

/// With a publisher's key and one without a role.
fn keyed() -> (Checks, ApiKey, ApiKey) {
    let (publisher, plain) = (ApiKey::from_random([1; 32]), ApiKey::from_random([2; 32]));
    let mut file = KeyFile::new([0; 32]);
    file.add(&publisher, "ann", vec![Role::Publisher], NOW).expect("added");
    file.add(&plain, "bob", vec![], NOW).expect("added");
    (checks(Access::new(Keys::given(file), true)), publisher, plain)
}

fn minted(user: &str, topics: Option<&str>, ends: u64) -> String {
    let topics = topics.map(|one| vec![one.to_owned()]);
    let expires_at = NOW.plus(Duration::from_secs(ends));
    let minting = Minting { user: user.into(), topics, expires_at, ..Minting::default() };
    mint(&minting, SECRET).expect("minted")
}

fn in_url(checks: &Checks, token: &str) -> Result<TopicGrant, Refusal> {
    checks.topics(Credentials { token: Some(token), headers: &HeaderMap::new() })
}

fn in_header(checks: &Checks, token: &str) -> Result<TopicGrant, Refusal> {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
    checks
        .topics(Credentials { token: None, headers: &HeaderMap::from_iter([(header::AUTHORIZATION, value)]) })
}

fn without(checks: &Checks) -> Result<TopicGrant, Refusal> {
    checks.topics(Credentials { token: None, headers: &HeaderMap::new() })
}

fn code(result: &Result<TopicGrant, Refusal>) -> Option<Code> {
    result.as_ref().err().map(|refusal| refusal.code)
}

#[test]
fn open_mode_grants_everything_without_a_token_and_checks_one_that_is_shown() {
    let checks = open();
    let all = without(&checks).expect("open");
    assert!(all.grants.is_open() && all.grants.may_read("trading.u1") && all.holder.is_none());
    for shown in [in_url(&checks, &minted("u1", None, 60)), in_header(&checks, &minted("u1", None, 60))] {
        let grants = shown.expect("good").grants;
        assert!(!grants.is_open() && grants.may_read("trading.u1") && !grants.may_read("trading.u2"));
    }
    assert!(in_url(&checks, "valid_token").expect("good").grants.may_read("risk.user_123.alerts"));
    assert_eq!(code(&in_url(&checks, "invalid_token")), Some(Code::AuthInvalid));
    assert_eq!(code(&in_header(&checks, "bond_unknown")), Some(Code::AuthInvalid));
}

#[test]
fn with_keys_a_token_or_a_key_is_needed() {
    let (checks, publisher, plain) = keyed();
    let refused = without(&checks).expect_err("nothing shown");
    assert!(refused.code == Code::AuthRequired && refused.message.contains("bond token jwt"), "{refused}");
    assert!(in_url(&checks, &minted("u1", None, 60)).expect("good").grants.may_read("mobile.u1"));
    let of_publisher = in_header(&checks, publisher.expose()).expect("a key");
    assert!(of_publisher.grants.may_publish("trading.u1") && of_publisher.grants.may_read("trading.u1"));
    assert_eq!(of_publisher.holder.expect("a holder").owner, "ann");
    let of_plain = in_header(&checks, plain.expose()).expect("a key").grants;
    assert!(
        of_plain.may_read("prices.X")
            && !of_plain.may_read("trading.u1")
            && !of_plain.may_publish("prices.X")
    );
    let refused = in_url(&checks, plain.expose()).expect_err("in a URL");
    assert!(
        refused.code == Code::AuthInvalid && refused.message.contains("put a JWT into the URL"),
        "{refused}"
    );
}

#[test]
fn the_code_tells_an_expired_token_from_a_bad_one() {
    let (checks, ..) = keyed();
    let expired = {
        let minting = Minting {
            user: "u1".into(),
            expires_at: NOW.minus(Duration::from_secs(5)),
            ..Minting::default()
        };
        mint(&minting, SECRET).expect("minted")
    };
    let (refused, good) = (in_url(&checks, &expired), minted("u1", None, 60));
    assert_eq!(code(&refused), Some(Code::AuthExpired));
    assert!(!refused.expect_err("expired").message.contains(&expired));
    assert_eq!(code(&in_url(&checks, &good[..good.len() - 2])), Some(Code::AuthInvalid));
}

#[test]
fn a_newer_token_of_the_same_user_moves_the_end_and_the_grants() {
    let (checks, publisher, plain) = keyed();
    let access = in_url(&checks, &minted("u1", None, 60)).expect("good");
    let newer = checks.refresh_topics(&access, &minted("u1", Some("prices.>"), 120)).expect("refreshed");
    assert_eq!(newer.grants.expires_at(), Some(NOW.plus(Duration::from_secs(120))));
    assert!(newer.grants.may_read("prices.X") && !newer.grants.may_read("trading.u1"));
    for token in [&minted("u2", None, 120), plain.expose(), publisher.expose(), "valid_token", "bad"] {
        assert_eq!(code(&checks.refresh_topics(&access, token)), Some(Code::AuthInvalid));
    }
    let of_key = in_header(&checks, plain.expose()).expect("a key");
    assert!(checks.refresh_topics(&of_key, plain.expose()).is_ok());
    assert_eq!(code(&checks.refresh_topics(&of_key, publisher.expose())), Some(Code::AuthInvalid));
    let open = open();
    let all = without(&open).expect("open");
    assert!(!open.refresh_topics(&all, &minted("u1", None, 60)).expect("narrower").grants.is_open());
}
