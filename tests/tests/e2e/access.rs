//! Who is let in, and how everyone else is told why not.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::process::{Bond, binary, fresh_dir, ws_url};
use bond_e2e::socket::{Came, Socket};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::process::Command;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Error as WebSocketError;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER_SECRET: &str = "fedcba9876543210fedcba9876543210";
pub(crate) const SENTENCE: &str = "BTC price every 1s";
/// The year 2100.
pub(crate) const FAR: u64 = 4_102_444_800;

pub(crate) fn id_of(created: &Value) -> &str {
    created["stream_id"].as_str().unwrap_or_default()
}

pub(crate) fn token_of(created: &Value) -> &str {
    created["token"].as_str().unwrap_or_default()
}

async fn open(bond: &Bond, id: &str, token: &str) -> Result<Socket> {
    Socket::open(&format!("{}/ws/{id}?token={token}", bond.ws)).await
}

/// Expects a close with 1008 whose reason begins with this code.
pub(crate) async fn refused(bond: &Bond, id: &str, token: &str, code: &str) -> Result<()> {
    let came = open(bond, id, token).await?.next().await.with_context(|| token.to_owned())?;
    let Came::Closed(1008, reason) = came else { bail!("{token}: {came:?}") };
    ensure!(reason.starts_with(code) && reason.len() > code.len() + 10, "{token}: {reason}");
    Ok(())
}

async fn welcome(bond: &Bond, id: &str, token: &str) -> Result<()> {
    open(bond, id, token).await?.event_of("aggregate").await.map(drop)
}

fn with_first_changed(text: &str) -> String {
    let flipped = if text.starts_with('A') { "B" } else { "A" };
    format!("{flipped}{}", text.get(1..).unwrap_or_default())
}

pub(crate) fn legacy(secret: &str, id: &str, expiry: u64) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
    mac.update(format!("{id}.{expiry}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{expiry}.{}", &hex[..16]))
}

#[tokio::test]
async fn a_token_opens_its_own_stream_and_only_as_it_was_issued() -> Result<()> {
    let bond = Bond::up(&[], &[("BOND_SECRET", SECRET)]).await?;
    let stranger = Bond::up(&[], &[("BOND_SECRET", OTHER_SECRET)]).await?;
    let (created, other) = (bond.stream(SENTENCE).await?, bond.stream("ETH price every 1s").await?);
    let foreign = stranger.stream(SENTENCE).await?;
    let (id, token) = (id_of(&created), token_of(&created));
    assert_eq!(id, id_of(&foreign), "the same spec has the same id everywhere");
    let [version, kid, exp, mac]: [&str; 4] =
        token.split('.').collect::<Vec<_>>().try_into().ok().context("four parts")?;
    let altered = [
        format!("{version}.{kid}.{exp}.{}", with_first_changed(mac)),
        format!("{version}.{kid}.{FAR}.{mac}"),
        format!("{version}.{}.{exp}.{mac}", with_first_changed(kid)),
        token_of(&other).to_owned(),
        token_of(&foreign).to_owned(),
        "nonsense".to_owned(),
        "v1...".to_owned(),
        "x".repeat(5_000),
        legacy(SECRET, id, FAR)?,
    ];
    for token in &altered {
        refused(&bond, id, token, "AUTH_INVALID").await?;
    }
    let untold = Socket::open(&format!("{}/ws/{id}", bond.ws)).await?.closed().await?;
    assert!(untold.0 == 1008 && untold.1.starts_with("AUTH_REQUIRED"), "{untold:?}");
    welcome(&bond, id, token).await
}

#[tokio::test]
async fn an_expired_token_opens_nothing_and_cuts_nothing() -> Result<()> {
    let bond = Bond::up(&[], &[("BOND_TOKEN_TTL", "2")]).await?;
    let created = bond.stream(SENTENCE).await?;
    let (id, token) = (id_of(&created), token_of(&created));
    let mut opened = open(&bond, id, token).await?;
    let event = opened.event_of("aggregate").await?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while let Err(still_good) = refused(&bond, id, token, "AUTH_EXPIRED").await {
        ensure!(tokio::time::Instant::now() < deadline, "{still_good}");
    }
    let later = opened.event_of("aggregate").await?;
    assert!(later["seq"].as_u64() > event["seq"].as_u64(), "an open connection goes on");
    let (status, fresh) = bond.post(&format!("/v1/streams/{id}/token"), &json!({})).await?;
    assert_eq!((status, &fresh["expires_in_sec"]), (200, &json!(2)));
    open(&bond, id, token_of(&fresh)).await.map(drop)
}

#[tokio::test]
async fn tokens_of_the_previous_key_stay_good_through_a_rotation() -> Result<()> {
    let mut bond = Bond::up(&[], &[("BOND_SECRET", SECRET)]).await?;
    let created = bond.stream(SENTENCE).await?;
    let (id, token) = (id_of(&created), token_of(&created));
    bond.terminate().await?;
    let rotating = [("BOND_SECRET", OTHER_SECRET), ("BOND_SECRET_PREVIOUS", SECRET)];
    let mut rotated = Bond::up_in(bond.data_dir.clone(), &[], &rotating).await?;
    welcome(&rotated, id, token).await?;
    let (_, fresh) = rotated.post(&format!("/v1/streams/{id}/token"), &json!({})).await?;
    rotated.terminate().await?;
    let done = Bond::up_in(bond.data_dir.clone(), &[], &[("BOND_SECRET", OTHER_SECRET)]).await?;
    refused(&done, id, token, "AUTH_INVALID").await?;
    welcome(&done, id, token_of(&fresh)).await
}

#[tokio::test]
async fn legacy_tokens_are_taken_where_they_are_switched_on() -> Result<()> {
    let settings = [("BOND_SECRET", SECRET), ("BOND_LEGACY_TOKENS", "true")];
    let bond = Bond::up(&[], &settings).await?;
    let created = bond.stream(SENTENCE).await?;
    let id = id_of(&created);
    refused(&bond, id, &legacy(SECRET, id, 1_000_000_000)?, "AUTH_EXPIRED").await?;
    refused(&bond, id, &legacy(OTHER_SECRET, id, FAR)?, "AUTH_INVALID").await?;
    refused(&bond, id, &legacy(SECRET, "0000000000000000", FAR)?, "AUTH_INVALID").await?;
    welcome(&bond, id, &legacy(SECRET, id, FAR)?).await
}

/// Sends a request that must be refused, and checks that the answer is a problem document that says what to fix.
async fn problem(
    bond: &Bond,
    request: (&str, &str),
    headers: &[(&str, &str)],
    body: String,
) -> Result<(u16, String, Value)> {
    let answer = bond.send(request.0, request.1, headers, body).await?;
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").context("no content type")?.to_str()?.to_owned();
    let request_id = answer.headers().get("x-request-id").context("no request id")?.to_str()?.to_owned();
    let problem: Value = answer.json().await?;
    ensure!(kind == "application/problem+json", "{kind}: {problem}");
    ensure!(problem["status"] == status, "{status}: {problem}");
    ensure!(problem["request_id"] == request_id.as_str(), "{request_id}: {problem}");
    let (code, detail) = (problem["code"].as_str(), problem["detail"].as_str());
    ensure!(detail.is_some_and(|detail| detail.len() > 15), "{problem}");
    Ok((status, code.context("no code")?.to_owned(), problem))
}

#[tokio::test]
async fn the_sixth_stream_of_an_owner_is_refused_with_advice() -> Result<()> {
    let bond = Bond::up(&[], &[]).await?;
    for asset in ["BTC", "ETH", "SOL", "XRP", "DOGE"] {
        bond.stream(&format!("{asset} price")).await?;
    }
    let sixth = json!({"natural_language": "BTC and ETH price"}).to_string();
    let refused = problem(&bond, ("POST", "/v1/streams"), &[], sixth.clone()).await?;
    assert_eq!((refused.0, refused.1.as_str()), (429, "LIMIT_EXCEEDED"));
    let detail = refused.2["detail"].as_str().unwrap_or_default();
    assert!(detail.contains('5') && detail.to_lowercase().contains("delete"), "{detail}");
    let again = bond.stream("BTC price").await?;
    assert_eq!(again["created"], false, "what runs already is no new stream");
    bond.request("DELETE", &format!("/v1/streams/{}", id_of(&again)), &[], "").await?;
    assert_eq!(bond.request("POST", "/v1/streams", &[], sixth).await?.0, 200);
    Ok(())
}

/// The HTTP status with which a WebSocket handshake was refused.
pub(crate) async fn handshake_status(url: &str, headers: &[(&'static str, &str)]) -> Result<u16> {
    let Err(error) = Socket::open_with(url, headers).await else { bail!("{url} was opened") };
    match error.downcast::<WebSocketError>()? {
        WebSocketError::Http(answer) => Ok(answer.status().as_u16()),
        other => Err(other.into()),
    }
}

#[tokio::test]
async fn without_keys_no_web_page_and_no_foreign_name_gets_in() -> Result<()> {
    let bond = Bond::up(&[], &[]).await?;
    let created = bond.stream(SENTENCE).await?;
    let own = ws_url(&created, "");
    let feed = format!("{}/stream", bond.ws);
    let foreign: [&[(&'static str, &str)]; 4] = [
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("host", "evil.example")],
        &[("host", "127.0.0.1.nip.io:8000")],
    ];
    for headers in foreign {
        for request in [("GET", "/v1/streams"), ("POST", "/v1/streams"), ("GET", "/metrics"), ("GET", "/")] {
            let (status, code, _) = problem(&bond, request, headers, String::new()).await?;
            assert_eq!((status, code.as_str()), (403, "FORBIDDEN"), "{request:?} {headers:?}");
        }
        assert_eq!(handshake_status(&own, headers).await?, 403, "{headers:?}");
        assert_eq!(handshake_status(&feed, headers).await?, 403, "{headers:?}");
    }
    let local = [("origin", "http://localhost:3000")];
    assert_eq!(bond.request("GET", "/v1/streams", &local, "").await?.0, 200);
    Socket::open_with(&own, &local).await?.event_of("aggregate").await?;
    let ignored = [("authorization", "Bearer whatever")];
    assert_eq!(bond.request("GET", "/v1/streams", &ignored, "").await?.0, 200);
    Ok(())
}

pub(crate) async fn key_of(owner: &str, data_dir: &std::path::Path) -> Result<String> {
    let made =
        Command::new(binary()).args(["key", "new", "--owner", owner, "--data-dir"]).arg(data_dir).output();
    let made = made.await?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(format!("Bearer {}", String::from_utf8(made.stdout)?.trim()))
}

#[tokio::test]
async fn with_keys_each_owner_has_streams_of_their_own() -> Result<()> {
    let data_dir = fresh_dir("keys")?;
    let (alice, bob) = (key_of("alice", &data_dir).await?, key_of("bob", &data_dir).await?);
    let bond = Bond::up_in(data_dir, &[], &[("BOND_SECRET", SECRET)]).await?;
    let listing = ("GET", "/v1/streams");
    let keyless = problem(&bond, listing, &[], String::new()).await?;
    assert_eq!((keyless.0, keyless.1.as_str()), (401, "AUTH_REQUIRED"));
    let altered = format!("{}x", &alice[..alice.len() - 1]);
    for bad in ["Bearer bond_nonsense", altered.as_str()] {
        let bad = problem(&bond, listing, &[("authorization", bad)], String::new()).await?;
        assert_eq!((bad.0, bad.1.as_str()), (401, "AUTH_INVALID"));
    }
    let (alice, bob) = ([("authorization", alice.as_str())], [("authorization", bob.as_str())]);
    let wish = json!({"natural_language": SENTENCE}).to_string();
    let (status, created) = bond.request("POST", "/v1/streams", &alice, wish.clone()).await?;
    assert_eq!(status, 200, "{created}");
    let own = format!("/v1/streams/{}", id_of(&created));
    assert_eq!(bond.request("GET", "/v1/streams", &bob, "").await?, (200, json!([])));
    for request in [("GET", own.as_str()), ("DELETE", &own), ("POST", &format!("{own}/token"))] {
        let stranger = problem(&bond, request, &bob, String::new()).await?;
        assert_eq!((stranger.0, stranger.1.as_str()), (404, "NOT_FOUND"), "{request:?}");
    }
    // Both hold a claim now: the stream outlives the first.
    let (_, joined) = bond.request("POST", "/v1/streams", &bob, wish).await?;
    assert_eq!((&joined["created"], id_of(&joined)), (&json!(false), id_of(&created)));
    assert_eq!(bond.request("DELETE", &own, &alice, "").await?.0, 200);
    assert_eq!(bond.request("GET", &own, &alice, "").await?.0, 404);
    assert_eq!(bond.request("GET", &own, &bob, "").await?.0, 200);
    feeds_need_the_key_too(&bond, alice[0].1).await
}

async fn feeds_need_the_key_too(bond: &Bond, authorization: &str) -> Result<()> {
    let feed = format!("{}/stream", bond.ws);
    let closed = Socket::open(&feed).await?.closed().await?;
    assert!(closed.0 == 1008 && closed.1.starts_with("AUTH_REQUIRED"), "{closed:?}");
    let closed = Socket::open(&format!("{feed}?token=bond_nonsense")).await?.closed().await?;
    assert!(closed.0 == 1008 && closed.1.starts_with("AUTH_INVALID"), "{closed:?}");
    Socket::open_with(&feed, &[("authorization", authorization)]).await?.event_of("heartbeat").await?;
    let (_, granted) =
        bond.request("POST", "/v1/feeds/token", &[("authorization", authorization)], "").await?;
    Socket::open(&ws_url(&granted, "")).await?.event_of("heartbeat").await.map(drop)
}

#[tokio::test]
async fn a_key_made_or_revoked_meanwhile_counts_without_a_restart() -> Result<()> {
    let bond = Bond::up(&[], &[]).await?;
    assert_eq!(bond.get("/v1/streams").await?.0, 200);
    let key = key_of("carol", &bond.data_dir).await?;
    for _ in 0..200 {
        if bond.get("/v1/streams").await?.0 == 401 {
            let (status, _) = bond.request("GET", "/v1/streams", &[("authorization", &key)], "").await?;
            assert_eq!(status, 200);
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    bail!("still open to everyone after 10 s")
}

fn market(change: impl FnOnce(&mut Value)) -> Value {
    let mut spec = json!({"version": "v1", "sources": [{"type": "market", "symbols": ["BTC/USDT"]}]});
    change(&mut spec);
    json!({ "spec": spec })
}

/// Bodies that are no good, with the status and what the detail must name.
fn bad_bodies() -> Vec<(String, u16, &'static str)> {
    let interval = |interval: Value| market(|spec| spec["interval_sec"] = interval).to_string();
    let symbols: Vec<String> = (0..10_000).map(|n| format!("A{n}/B")).collect();
    let short: Vec<String> = (0..5_000).map(|n| format!("A{n}/B")).collect();
    let custom = |url: &str| {
        let source = json!({"type": "websocket", "url": url, "map": {"value": "/p"}});
        json!({"spec": {"version": "v1", "sources": [source]}}).to_string()
    };
    let long = json!({"natural_language": "BTC ".repeat(250_000)}).to_string();
    vec![
        (market(|spec| spec["intervall_sec"] = json!(5)).to_string(), 400, "intervall_sec"),
        (market(|spec| spec["sources"][0]["exchange_name"] = json!("okx")).to_string(), 400, "exchange_name"),
        (market(|spec| spec["sources"][0]["exchanges"] = json!(["mtgox"])).to_string(), 400, "mtgox"),
        (market(|spec| spec["sources"][0]["channels"] = json!(["candles"])).to_string(), 400, "candles"),
        (market(|spec| spec["sources"] = json!([])).to_string(), 400, "sources"),
        (market(|spec| spec["transforms"] = json!([{"op": "median"}])).to_string(), 400, "median"),
        (interval(json!(0)), 400, "interval_sec"),
        (interval(json!(-1)), 400, "interval_sec"),
        (interval(json!(1e9)), 400, "interval_sec"),
        (interval(json!("5")), 400, "interval_sec"),
        (interval(json!(0.05)), 400, "interval_sec"),
        (market(|spec| spec["sources"][0]["symbols"] = json!(symbols)).to_string(), 413, "65536"),
        (market(|spec| spec["sources"][0]["symbols"] = json!(short)).to_string(), 400, "symbols"),
        (long, 413, "65536"),
        (r#"{"spec": {"#.to_owned(), 400, "JSON"),
        ("[]".to_owned(), 400, "object"),
        ("{}".to_owned(), 400, "natural_language"),
        (json!({"natural_language": "hello there"}).to_string(), 400, "asset"),
        (json!({"natural_language": 5}).to_string(), 400, "natural_language"),
        (json!({"natural_language": "BTC", "ttl_sec": 0}).to_string(), 400, "ttl_sec"),
        (custom("ws://169.254.169.254/latest"), 400, "169.254.169.254"),
        (custom("ws://127.0.0.1:9000/"), 400, "127.0.0.1"),
        (custom("ws://[::ffff:10.0.0.1]/"), 400, "url"),
        (custom("file:///etc/passwd"), 400, "ws"),
        (json!({"spec": {"version": "v1", "symbols": ["BTC/USDT"], "sources": [{"type": "websocket", "url": "wss://example.com"}]}}).to_string(), 400, "the sources have none"),
    ]
}

/// Whether the detail names what is wrong, and stays readable.
fn advises(problem: &Value, named: &str) -> bool {
    problem["detail"].as_str().is_some_and(|detail| detail.contains(named) && detail.len() < 2_000)
}

#[tokio::test]
async fn what_cannot_be_used_is_answered_with_what_to_fix() -> Result<()> {
    let bond = Bond::up(&[], &[]).await?;
    let mut wrong = Vec::new();
    for (body, status, named) in bad_bodies() {
        let start: String = body.chars().take(200).collect();
        let json = [("content-type", "application/json")];
        match problem(&bond, ("POST", "/v1/streams"), &json, body).await {
            Ok((given, _, problem)) if given == status && advises(&problem, named) => {}
            answered => wrong.push(format!("{start} needs {status} with {named}, not {answered:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(bond.get("/v1/streams").await?.1, json!([]), "nothing was created");
    let (status, _, _) = problem(&bond, ("GET", "/v1/nothing"), &[], String::new()).await?;
    assert_eq!(status, 404);
    let (status, _, _) = problem(&bond, ("PUT", "/v1/streams"), &[], String::new()).await?;
    assert_eq!(status, 405);
    Ok(())
}

#[tokio::test]
async fn beyond_loopback_it_does_not_start_without_a_secret_and_keys() -> Result<()> {
    let data_dir = fresh_dir("open")?;
    let start = |settings: &[(&'static str, &'static str)]| {
        let mut command = Command::new(binary());
        command.args(["up", "--bind", "0.0.0.0", "--rest-port", "0", "--ws-port", "0", "--data-dir"]);
        command.arg(&data_dir).env_remove("BOND_SECRET").envs(settings.iter().copied()).kill_on_drop(true);
        command
    };
    for (settings, named) in [
        (vec![], "BOND_SECRET"),
        (vec![("BOND_SECRET", SECRET)], "bond key new"),
        (vec![("BOND_SECRET", SECRET)], "WS_HOST"),
    ] {
        let output = tokio::time::timeout(Duration::from_secs(10), start(&settings).output()).await??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(named), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    Ok(())
}
