//! Tokens as issuers sign them, and as those do who are none.

mod issuer;

use std::time::Duration;

use bond_core::grants::Grants;
use bond_core::revocation::Revocation;
use ring::rsa::PublicKeyComponents;
use ring::signature::KeyPair;
use serde_json::{Value, json};

use self::issuer::{Issuer, base64, hmac_of, token};
use super::*;

/// Signs a header and claims.
type Sign<'a> = &'a dyn Fn(&Value, &Value) -> String;

const NOW: UnixNanos = UnixNanos::from_secs(1_800_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn hs256(claims: &Value) -> String {
    token(&json!({"alg": "HS256", "typ": "JWT"}), claims, hmac_of(SECRET))
}

/// The claims of BondX, with `more` put over them.
fn claims(more: Value) -> Value {
    let mut claims =
        json!({"sub": "demo", "user_id": "user_001", "role": "trader", "exp": NOW.as_secs() + 60});
    let Value::Object(more) = more else { panic!("an object: {more}") };
    claims.as_object_mut().expect("an object").extend(more);
    claims
}

fn set(keys: &[Value]) -> JwkSet {
    JwkSet::from_json(&json!({"keys": keys}).to_string()).expect("a set")
}

fn of_secret() -> TokenVerifier {
    TokenVerifier::new(&[SECRET], ClaimRules::default())
}

fn of_set(set: JwkSet) -> TokenVerifier {
    let verifier = TokenVerifier::default();
    verifier.replace(set);
    verifier
}

fn user(verified: &Result<Grants, JwtError>) -> Option<&str> {
    verified.as_ref().ok().and_then(|grants| grants.user()).map(SmolStr::as_str)
}

#[test]
fn each_algorithm_is_taken_with_and_without_the_name_of_its_key() {
    let issuer = Issuer::new();
    let verifier = of_set(issuer.set());
    assert_eq!(user(&of_secret().verify(&hs256(&claims(json!({}))), NOW)), Some("user_001"));
    let signers: [(&str, &str, Sign<'_>); 3] = [
        ("RS256", "r", &|header, claims| issuer.rs256(header, claims)),
        ("ES256", "c", &|header, claims| issuer.es256(header, claims)),
        ("EdDSA", "d", &|header, claims| issuer.eddsa(header, claims)),
    ];
    for (alg, kid, sign) in signers {
        for header in [json!({"alg": alg, "kid": kid}), json!({"alg": alg})] {
            let good = sign(&header, &claims(json!({})));
            assert_eq!(user(&verifier.verify(&good, NOW)), Some("user_001"), "{header}");
            let (signed, _) = good.rsplit_once('.').expect("three parts");
            let (_, other) = hs256(&claims(json!({})))
                .rsplit_once('.')
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
                .expect("three");
            assert_eq!(
                verifier.verify(&format!("{signed}.{other}"), NOW),
                Err(JwtError::Signature),
                "{header}"
            );
            let altered = good.replacen(
                &base64(claims(json!({})).to_string()),
                &base64(claims(json!({"user_id": "u2"})).to_string()),
                1,
            );
            assert_ne!(altered, good);
            assert_eq!(verifier.verify(&altered, NOW), Err(JwtError::Signature), "{header}");
        }
        let unknown = sign(&json!({"alg": alg, "kid": "z"}), &claims(json!({})));
        assert_eq!(verifier.verify(&unknown, NOW), Err(JwtError::UnknownKey));
    }
}

#[test]
fn an_algorithm_belongs_to_the_key_and_not_to_the_token() {
    let issuer = Issuer::new();
    let claims = claims(json!({}));
    let modulus = PublicKeyComponents::<Vec<u8>>::from(issuer.rsa.public()).n;
    let published = [
        issuer.rsa.public().as_ref().to_vec(),
        modulus,
        issuer.jwks()[0].to_string().into_bytes(),
        issuer.ec.public_key().as_ref().to_vec(),
        issuer.ed.public_key().as_ref().to_vec(),
        Vec::new(),
    ];
    let (both, public) = (of_secret(), of_set(issuer.set()));
    both.replace(issuer.set());
    for secret in published {
        for kid in ["r", "c", "d"] {
            let forged = token(&json!({"alg": "HS256", "kid": kid}), &claims, hmac_of(&secret));
            assert_eq!(public.verify(&forged, NOW), Err(JwtError::NoKey("HS256")));
            assert_eq!(both.verify(&forged, NOW), Err(JwtError::Signature));
        }
    }
    for alg in ["RS256", "ES256", "EdDSA"] {
        let mixed = token(&json!({"alg": alg, "kid": "r"}), &claims, hmac_of(SECRET));
        assert!(matches!(both.verify(&mixed, NOW), Err(JwtError::Signature | JwtError::UnknownKey)), "{alg}");
    }
    let as_ec = issuer.es256(&json!({"alg": "RS256", "kid": "r"}), &claims);
    assert_eq!(both.verify(&as_ec, NOW), Err(JwtError::Signature));
    for alg in ["none", "None", "", "HS384", "HS512", "RS512", "PS256", "ES384", "hs256"] {
        for signature in [Vec::new(), vec![1; 32]] {
            let unsigned = token(&json!({"alg": alg}), &claims, |_| signature.clone());
            assert_eq!(both.verify(&unsigned, NOW), Err(JwtError::Algorithm), "{alg}");
        }
    }
    let octets = json!({"kty": "oct", "kid": "o", "alg": "HS256", "k": base64(OTHER)});
    let with_octets = of_set(set(&[issuer.jwks(), vec![octets]].concat()));
    let shared = token(&json!({"alg": "HS256", "kid": "o"}), &claims, hmac_of(OTHER));
    assert_eq!(
        with_octets.verify(&shared, NOW),
        Err(JwtError::NoKey("HS256")),
        "a set has public keys alone"
    );
}

#[test]
fn a_key_that_a_token_brings_along_is_not_looked_at() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let header =
        json!({"alg": "EdDSA", "kid": "d", "jwk": stranger.jwks()[2], "jku": "https://evil.example/jwks"});
    let forged = stranger.eddsa(&header, &claims(json!({})));
    assert_eq!(of_set(issuer.set()).verify(&forged, NOW), Err(JwtError::Signature));
    let critical =
        issuer.eddsa(&json!({"alg": "EdDSA", "kid": "d", "crit": ["x"], "x": 1}), &claims(json!({})));
    assert_eq!(of_set(issuer.set()).verify(&critical, NOW), Err(JwtError::Malformed));
}

#[tokio::test]
async fn a_set_that_rotates_takes_the_new_key_and_no_longer_the_old() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let renamed = |issuer: &Issuer, kid: &str| {
        let mut key = issuer.jwks()[2].clone();
        key["kid"] = json!(kid);
        key
    };
    let signed =
        |issuer: &Issuer, kid: &str| issuer.eddsa(&json!({"alg": "EdDSA", "kid": kid}), &claims(json!({})));
    let (by_old, by_new) = (signed(&old, "1"), signed(&new, "2"));
    let verifier = of_set(set(&[renamed(&old, "1")]));
    assert!(verifier.verify(&by_old, NOW).is_ok());
    assert_eq!(verifier.verify(&by_new, NOW), Err(JwtError::UnknownKey));
    verifier.unknown_key().await;
    verifier.replace(set(&[renamed(&old, "1"), renamed(&new, "2")]));
    assert!(verifier.verify(&by_old, NOW).is_ok() && verifier.verify(&by_new, NOW).is_ok());
    verifier.replace(set(&[renamed(&new, "2")]));
    assert_eq!(verifier.verify(&by_old, NOW), Err(JwtError::UnknownKey));
    assert!(verifier.verify(&by_new, NOW).is_ok());
}

#[test]
fn a_secret_rotates_through_the_one_before() {
    let (by_new, by_old) =
        (hs256(&claims(json!({}))), token(&json!({"alg": "HS256"}), &claims(json!({})), hmac_of(OTHER)));
    let both = TokenVerifier::new(&[SECRET, OTHER], ClaimRules::default());
    assert!(both.verify(&by_new, NOW).is_ok() && both.verify(&by_old, NOW).is_ok());
    assert_eq!(of_secret().verify(&by_old, NOW), Err(JwtError::Signature));
    assert_eq!(
        TokenVerifier::new(&[""], ClaimRules::default()).verify(&by_new, NOW),
        Err(JwtError::NoKey("HS256"))
    );
}

#[test]
fn time_comes_in_as_a_value_and_clocks_may_be_five_seconds_apart() {
    let verifier = of_secret();
    let at = |seconds| UnixNanos::from_secs(NOW.as_secs() + seconds);
    let ends = hs256(&claims(json!({"exp": NOW.as_secs()})));
    let grants = verifier.verify(&ends, at(4)).expect("within the leeway");
    assert_eq!(grants.expires_at(), Some(NOW));
    let refused = verifier.verify(&ends, at(5)).expect_err("expired");
    assert_eq!((&refused, refused.code()), (&JwtError::Expired(NOW), Code::AuthExpired));
    let begins = hs256(&claims(json!({"nbf": NOW.as_secs()})));
    assert!(verifier.verify(&begins, at(-5)).is_ok());
    assert_eq!(verifier.verify(&begins, at(-6)), Err(JwtError::Early(NOW)));
    let fraction = hs256(&claims(json!({"exp": 1_800_000_000.9})));
    assert_eq!(verifier.verify(&fraction, NOW).map(|grants| grants.expires_at()), Ok(Some(NOW)));
    for exp in [json!(null), json!("1900000000"), json!(true)] {
        let refused = verifier.verify(&hs256(&claims(json!({"exp": exp}))), NOW);
        assert!(matches!(refused, Err(JwtError::Claim(rule)) if rule.starts_with("exp")), "{refused:?}");
    }
    let refused = verifier.verify(&hs256(&claims(json!({"nbf": "9999999999"}))), NOW);
    assert!(matches!(refused, Err(JwtError::Claim(rule)) if rule.starts_with("nbf")), "{refused:?}");
    assert_eq!(
        verifier.verify(&hs256(&json!({"sub": "u"})), NOW).map_err(|error| error.code()),
        Err(Code::AuthInvalid)
    );
    for exp in [json!(-1), json!(i64::MIN), json!(-1e300)] {
        assert_eq!(
            verifier.verify(&hs256(&claims(json!({"exp": exp}))), NOW).map_err(|error| error.code()),
            Err(Code::AuthExpired)
        );
    }
    assert!(verifier.verify(&hs256(&claims(json!({"exp": u64::MAX}))), NOW).is_ok(), "saturates");
}

#[test]
fn issuer_and_audience_hold_where_they_are_set() {
    let rules = ClaimRules {
        issuer: Some("https://id.example".into()),
        audience: Some("bond".into()),
        ..ClaimRules::default()
    };
    let verifier = TokenVerifier::new(&[SECRET], rules);
    let verify = |more: Value| verifier.verify(&hs256(&claims(more)), NOW);
    for aud in [json!("bond"), json!(["other", "bond"])] {
        assert!(verify(json!({"iss": "https://id.example", "aud": aud})).is_ok());
    }
    for (iss, aud, named) in [
        (json!("https://id.example/"), json!("bond"), "iss"),
        (json!(["https://id.example"]), json!("bond"), "iss"),
        (json!(null), json!("bond"), "iss"),
        (json!("https://id.example"), json!("bonds"), "aud"),
        (json!("https://id.example"), json!([]), "aud"),
        (json!("https://id.example"), json!(null), "aud"),
    ] {
        let refused = verify(json!({"iss": iss, "aud": aud})).expect_err(named);
        assert!(matches!(refused, JwtError::Claim(rule) if rule.starts_with(named)), "{refused}");
        assert_eq!(refused.code(), Code::AuthInvalid);
    }
    assert!(of_secret().verify(&hs256(&claims(json!({"aud": "any", "iss": "any"}))), NOW).is_ok());
}

#[test]
fn claims_come_to_grants() {
    let verify = |more: Value| of_secret().verify(&hs256(&claims(more)), NOW);
    let plain = verify(json!({"jti": "t1", "permissions": ["admin"]})).expect("grants");
    assert_eq!(
        (plain.user().map(SmolStr::as_str), plain.id().map(SmolStr::as_str)),
        (Some("user_001"), Some("t1"))
    );
    assert!(
        plain.may_read("prices.X") && plain.may_read("trading.user_001") && !plain.may_read("trading.demo")
    );
    assert!(!plain.may_publish("prices.X"));
    let of_sub = verify(json!({"user_id": null})).expect("grants");
    assert!(of_sub.may_read("risk.demo.alerts") && !of_sub.may_read("trading.user_001"));
    let exact = verify(json!({"topics": ["prices.*"], "publish": ["bids.>"]})).expect("grants");
    assert!(
        exact.may_read("prices.X") && !exact.may_read("trading.user_001") && !exact.may_read("auctions.a")
    );
    assert!(exact.may_publish("bids.a.b") && !exact.may_publish("prices.X") && !exact.may_read("bids.a"));
    assert!(!verify(json!({"topics": []})).expect("grants").may_read("prices.X"));
    assert_eq!(verify(json!({"type": "refresh"})), Err(JwtError::Refresh));
    assert!(verify(json!({"type": "access"})).is_ok());
    for (more, named) in [
        (json!({"topics": ["prices.>.x"]}), "not a pattern"),
        (json!({"topics": "prices.>"}), "topics is a list"),
        (json!({"topics": [1]}), "topics is a list"),
        (json!({"publish": {"a": 1}}), "publish is a list"),
        (json!({"topics": vec!["a"; 65]}), "more than 64 patterns"),
        (json!({"user_id": ["a"]}), "user_id or sub"),
        (json!({"user_id": ""}), "1 to 128 bytes"),
        (json!({"role": 1}), "role is a text"),
        (json!({"jti": 1}), "jti is a text"),
    ] {
        let refused = verify(more).expect_err(named);
        assert!(refused.to_string().contains(named), "{refused}");
        assert_eq!(refused.code(), Code::AuthInvalid);
    }
}

#[test]
fn an_admin_reads_everything_only_where_that_is_switched_on() {
    let rules = ClaimRules { admin_reads_all: true, ..ClaimRules::default() };
    let (off, on) = (of_secret(), TokenVerifier::new(&[SECRET], rules));
    for (more, reads_all) in [
        (json!({"role": "admin"}), true),
        (json!({"roles": ["trader", "admin"]}), true),
        (json!({"role": "Admin"}), false),
        (json!({"role": "portfolio_manager"}), false),
        (json!({"role": "admin", "topics": ["prices.>"]}), false),
    ] {
        let token = hs256(&claims(more.clone()));
        assert_eq!(on.verify(&token, NOW).expect("grants").may_read("trading.other"), reads_all, "{more}");
        assert!(!off.verify(&token, NOW).expect("grants").may_read("trading.other"), "{more}");
    }
}

#[test]
fn what_is_no_token_is_refused_within_bounds_and_never_shown() {
    let verifier = of_secret();
    let good = hs256(&claims(json!({})));
    let long = format!("{good}{}", "A".repeat(MAX_TOKEN_BYTES));
    assert_eq!(verifier.verify(&long, NOW), Err(JwtError::TooLong));
    let texts = ["", ".", "..", "a.b.c", "v1.kid.1.mac", "bond_abc", "valid_token", "é.é.é"];
    let more = [format!("{good}.x"), format!(" {good}"), format!("{good}="), good.replace('.', "")];
    for text in texts.into_iter().chain(more.iter().map(String::as_str)) {
        let refused = verifier.verify(text, NOW).expect_err(text);
        assert_eq!(refused.code(), Code::AuthInvalid, "{text}");
        assert!(text.len() < 8 || !refused.to_string().contains(text), "{refused}");
    }
    let wrong = token(&json!({"alg": "HS256"}), &claims(json!({})), hmac_of(OTHER));
    assert_eq!(verifier.verify(&wrong, NOW), Err(JwtError::Signature));
}

#[test]
fn a_set_is_bounded_and_keys_for_other_ends_are_left_out() {
    let issuer = Issuer::new();
    let key = &issuer.jwks()[2];
    let with = |name: &str, value: Value| {
        let mut key = key.clone();
        key[name] = value;
        key
    };
    let read = |keys: &[Value]| JwkSet::from_json(&json!({"keys": keys}).to_string()).map(|set| set.len());
    let unusable = [
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("ES256")),
        with("crv", json!("X25519")),
        with("x", json!("AAAA")),
        json!({"kty": "oct", "k": base64(SECRET)}),
        json!({"kty": "RSA", "n": base64(vec![255; 128]), "e": "AQAB"}),
        json!("key"),
    ];
    for key in &unusable {
        assert_eq!(read(std::slice::from_ref(key)), Err(JwkSetError::NoneUsable), "{key}");
    }
    assert_eq!(read(&[&unusable[..], std::slice::from_ref(key)].concat()), Ok(1));
    assert_eq!(read(&vec![key.clone(); MAX_KEYS]), Ok(MAX_KEYS));
    assert_eq!(read(&vec![key.clone(); MAX_KEYS + 1]), Err(JwkSetError::TooMany(MAX_KEYS + 1)));
    for text in ["", "[]", "{}", r#"{"keys":{}}"#] {
        assert_eq!(JwkSet::from_json(text).map(|set| set.len()), Err(JwkSetError::Malformed), "{text}");
    }
    let verifier = of_set(set(&vec![with("kid", json!(null)); 5]));
    let unnamed = issuer.eddsa(&json!({"alg": "EdDSA"}), &claims(json!({})));
    assert_eq!(verifier.verify(&unnamed, NOW), Err(JwtError::NoKid), "not every key is tried");
}

#[test]
fn static_tokens_are_of_their_users() {
    let tokens = StaticTokens::parse("valid_token:user_123, boss:b:admin").expect("tokens");
    let rules = ClaimRules { admin_reads_all: true, ..ClaimRules::default() };
    let verifier = TokenVerifier::new(&[SECRET], rules).with_static_tokens(tokens.clone());
    let grants = verifier.verify("valid_token", NOW).expect("grants");
    assert_eq!((user(&Ok(grants.clone())), grants.expires_at()), (Some("user_123"), None));
    assert!(
        grants.may_read("trading.user_123")
            && !grants.may_read("trading.b")
            && !grants.may_publish("prices.X")
    );
    assert!(verifier.verify("boss", NOW).expect("grants").may_read("trading.user_123"));
    for text in ["valid_toke", "valid_token ", "Valid_token", "", "user_123", "valid_token:user_123"] {
        assert_eq!(verifier.verify(text, NOW), Err(JwtError::Malformed), "{text}");
    }
    assert!(verifier.verify(&hs256(&claims(json!({}))), NOW).is_ok());
    assert!(!format!("{tokens:?} {verifier:?}").contains("valid_token"));
    for (text, number) in [("a", 1), ("a:u,:u", 2), ("a:u,b:u:r:x", 2), ("a:u.v", 1), ("a:>", 1)] {
        let refused = StaticTokens::parse(text).expect_err(text).to_string();
        assert!(refused.ends_with(&format!("see number {number}")), "{refused}");
    }
    assert!(StaticTokens::parse(&vec!["a:u"; MAX_STATIC_TOKENS].join(",")).is_ok());
    assert!(StaticTokens::parse(&vec!["a:u"; MAX_STATIC_TOKENS + 1].join(",")).is_err());
    assert!(StaticTokens::parse(" , ").expect("none").is_empty());
}

#[test]
fn a_minted_token_says_what_was_asked_for() {
    let minting = Minting {
        user: "u1".into(),
        topics: Some(vec!["prices.>".into()]),
        publish: vec!["bids.u1".into()],
        audience: Some("bond".into()),
        expires_at: NOW.plus(LEEWAY),
        ..Minting::default()
    };
    let rules = ClaimRules { audience: Some("bond".into()), ..ClaimRules::default() };
    let grants = TokenVerifier::new(&[SECRET], rules)
        .verify(&mint(&minting, SECRET).expect("minted"), NOW)
        .expect("grants");
    assert!(grants.may_read("prices.X") && grants.may_publish("bids.u1") && !grants.may_read("trading.u1"));
    assert_eq!((user(&Ok(grants.clone())), grants.expires_at()), (Some("u1"), Some(NOW.plus(LEEWAY))));
    assert!(mint(&minting, "").is_err());
}

#[test]
fn tokens_of_a_user_who_was_disconnected_are_refused_until_it_is_over() {
    let static_tokens = StaticTokens::parse("valid_token:user_001").expect("a token");
    let verifier = of_secret().with_static_tokens(static_tokens);
    let until = NOW.plus(Duration::from_secs(30));
    let revoked = [("user_001".into(), Revocation { at: NOW, until })].into();
    verifier.revocations().learn(revoked, NOW);
    let signed = hs256(&claims(json!({})));
    for token in [signed.as_str(), "valid_token"] {
        let refused = verifier.verify(token, NOW).expect_err("refused");
        assert_eq!((refused.code(), &refused), (Code::AuthInvalid, &JwtError::Revoked(until)));
        assert_eq!(user(&verifier.verify(token, until)), Some("user_001"));
    }
    let other = hs256(&claims(json!({"user_id": "user_002"})));
    assert_eq!(user(&verifier.verify(&other, NOW)), Some("user_002"));
}
