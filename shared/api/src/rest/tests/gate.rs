//! Who may connect, by what opens streams and feeds.

use bond_core::code::Code;

use super::*;
use crate::admission::{Admission, Credentials, Grant, Refusal};
use crate::authorizer::ConnectionAuthorizer;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn headers(pairs: &[(&'static str, String)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().expect("name"), value.parse().expect("value"))).collect()
}

fn subprotocols(credential: &str) -> HeaderMap {
    let list = format!("bond.v1, bond.bearer.{}", URL_SAFE_NO_PAD.encode(credential));
    headers(&[("sec-websocket-protocol", list)])
}

fn authorization(credential: &str) -> HeaderMap {
    headers(&[("authorization", format!("Bearer {credential}"))])
}

/// What opening a feed comes to: the owner, or the code.
async fn feed(server: &Server, token: Option<&str>, headers: &HeaderMap) -> Result<Option<String>, Code> {
    let granted = ConnectionAuthorizer::of(&server.state).feed(Credentials { token, headers }).await;
    owner(granted)
}

async fn stream(
    server: &Server,
    made: &Answer,
    token: Option<&str>,
    headers: &HeaderMap,
) -> Result<Option<String>, Code> {
    let id = StreamId::parse(made.json["stream_id"].as_str().expect("an id")).expect("an id");
    owner(ConnectionAuthorizer::of(&server.state).stream(&id, Credentials { token, headers }).await)
}

fn owner(granted: Result<Grant, Refusal>) -> Result<Option<String>, Code> {
    match granted {
        Ok(grant) => Ok(grant.holder.map(|holder| holder.owner.to_string())),
        Err(refusal) => {
            assert!(refusal.message.len() > 20, "{refusal}");
            Err(refusal.code)
        }
    }
}

async fn feed_token(server: &Server, key: &ApiKey) -> String {
    let answer = server.call_as(key, "POST", "/v1/feeds/token", &json!({})).await;
    let token = answer.json["token"].as_str().expect("a token").to_owned();
    assert_eq!(answer.json["ws_url"], format!("ws://localhost:8080/stream?token={token}"));
    assert_eq!(answer.json["expires_in_sec"], 3600);
    token
}

fn revoke(server: &Server, owner: &str) {
    let all = keys::list(server.data_dir.path()).expect("keys");
    let entry = all.iter().find(|entry| entry.owner == owner).expect("a key");
    keys::revoke(server.data_dir.path(), &entry.id).expect("revoked");
}

#[tokio::test]
async fn a_feed_is_opened_by_a_token_or_a_key_but_by_no_key_in_a_url() {
    let server = Server::new();
    let ann = server.key("ann");
    let (key, token) = (ann.expose().to_owned(), feed_token(&server, &ann).await);
    let (none, ann) = (HeaderMap::new(), Ok(Some("ann".to_owned())));
    let invalid = Err(Code::AuthInvalid);
    let altered = format!("{}x", &key[..key.len() - 1]);
    for (in_url, headers, outcome) in [
        (None, none.clone(), Err(Code::AuthRequired)),
        (Some(key.as_str()), none.clone(), invalid.clone()),
        (Some(key.as_str()), authorization(&key), invalid.clone()),
        (Some(token.as_str()), none.clone(), ann.clone()),
        (Some("nonsense"), none.clone(), invalid.clone()),
        (Some(""), none, invalid.clone()),
        (None, authorization(&key), ann.clone()),
        (None, authorization(&token), ann.clone()),
        (None, authorization(&altered), invalid.clone()),
        (None, subprotocols(&key), ann.clone()),
        (None, subprotocols(&token), ann),
        (None, subprotocols(&altered), invalid.clone()),
        (None, headers(&[("sec-websocket-protocol", "bond.bearer.!!".to_owned())]), invalid),
    ] {
        assert_eq!(feed(&server, in_url, &headers).await, outcome, "{in_url:?} {headers:?}");
    }
}

#[tokio::test]
async fn a_key_in_a_url_opens_a_feed_where_that_is_switched_on() {
    let mut server = Server::new();
    let ann = server.key("ann");
    let keys = Keys::open(server.data_dir.path(), Duration::ZERO).expect("keys");
    let state = Arc::get_mut(&mut server.state).expect("the one handle");
    state.access = Arc::new(Access::new(keys, true).with_keys_in_urls(true));
    assert_eq!(feed(&server, Some(ann.expose()), &HeaderMap::new()).await, Ok(Some("ann".to_owned())));
}

#[tokio::test]
async fn without_keys_a_feed_needs_nothing_and_what_was_got_then_is_nothing_later() {
    let server = Server::new();
    let answer = server.post("/v1/feeds/token", &json!({})).await;
    let token = answer.json["token"].as_str().expect("a token").to_owned();
    for credential in [None, Some("bond_whatever"), Some(token.as_str())] {
        assert_eq!(feed(&server, credential, &HeaderMap::new()).await, Ok(None));
    }
    server.key("ann");
    assert_eq!(feed(&server, Some(&token), &HeaderMap::new()).await, Err(Code::AuthInvalid));
    assert_eq!(feed(&server, None, &HeaderMap::new()).await, Err(Code::AuthRequired));
}

#[tokio::test]
async fn revoking_a_key_takes_back_what_it_opened_and_the_tokens_it_got() {
    let server = Server::new();
    let (ann, _bob) = (server.key("ann"), server.key("bob"));
    let made = server.call_as(&ann, "POST", "/v1/streams", &spec("BTC/USDT")).await;
    let (token, feeds) = (made.json["token"].as_str().expect("a token"), feed_token(&server, &ann).await);
    let none = HeaderMap::new();
    let gate = ConnectionAuthorizer::of(&server.state);
    let grant = gate.feed(Credentials { token: Some(&feeds), headers: &none }).await.expect("let in");
    let (holder, version) = (grant.holder.expect("a holder"), gate.version());
    assert_eq!(stream(&server, &made, Some(token), &none).await, Ok(Some("ann".to_owned())));
    assert_eq!(stream(&server, &made, None, &subprotocols(token)).await, Ok(Some("ann".to_owned())));
    assert!(gate.holds(&holder));
    revoke(&server, "ann");
    assert!(!gate.holds(&holder) && gate.version() != version);
    assert_eq!(feed(&server, Some(&feeds), &none).await, Err(Code::AuthInvalid));
    assert_eq!(stream(&server, &made, Some(token), &none).await, Err(Code::AuthInvalid));
}

#[tokio::test]
async fn a_token_of_an_owner_who_gave_up_the_claim_opens_nothing() {
    let server = Server::new();
    let (ann, bob) = (server.key("ann"), server.key("bob"));
    let made = server.call_as(&ann, "POST", "/v1/streams", &spec("BTC/USDT")).await;
    let joined = server.call_as(&bob, "POST", "/v1/streams", &spec("BTC/USDT")).await;
    let path = format!("/v1/streams/{}", made.json["stream_id"].as_str().expect("an id"));
    assert_eq!(server.call_as(&ann, "DELETE", &path, &json!({})).await.status, 200);
    let none = HeaderMap::new();
    assert_eq!(stream(&server, &made, made.json["token"].as_str(), &none).await, Err(Code::NotFound));
    let bobs = joined.json["token"].as_str();
    assert_eq!(stream(&server, &made, bobs, &none).await, Ok(Some("bob".to_owned())));
}

#[tokio::test]
async fn a_connection_is_refreshed_by_its_own_owner_alone() {
    let server = Server::new();
    let (ann, second, bob) = (server.key("ann"), server.key("ann"), server.key("bob"));
    let gate = ConnectionAuthorizer::of(&server.state);
    let headers = authorization(ann.expose());
    let opened = gate.feed(Credentials { token: None, headers: &headers }).await.expect("let in");
    let holder = opened.holder.as_ref();
    for (credential, owner_of_grant) in [
        (second.expose().to_owned(), Ok(Some("ann".to_owned()))),
        (feed_token(&server, &second).await, Ok(Some("ann".to_owned()))),
        (bob.expose().to_owned(), Err(Code::AuthInvalid)),
        (feed_token(&server, &bob).await, Err(Code::AuthInvalid)),
    ] {
        assert_eq!(owner(gate.refresh(None, holder, &credential)), owner_of_grant, "{credential}");
    }
    let renewed = gate.refresh(None, holder, second.expose()).expect("the same owner");
    assert_ne!(renewed.holder, opened.holder, "it stays as long as the newer key");
}
