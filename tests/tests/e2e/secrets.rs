//! What signs tokens, who else may read it, and how what it opened is taken back.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bond_e2e::process::{Bond, Broker, Process, binary, fresh_dir, ws_url};
use bond_e2e::redis::Redis;
use bond_e2e::socket::{Came, Socket};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::process::Command;
use tokio::time::Instant;

use super::access::{FAR, SECRET, SENTENCE, handshake_status, id_of, key_of, legacy, refused, token_of};

/// What earlier versions signed with where no secret was set: anybody can read it in their source.
const PUBLISHED: &str = "bond-development-secret-for-loopback-only";

/// A token for `id` that is signed with `secret`.
fn forged(secret: &str, id: &str) -> Result<String> {
    let sign = |text: &str| -> Result<Vec<u8>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())?;
        mac.update(text.as_bytes());
        Ok(mac.finalize().into_bytes().to_vec())
    };
    let kid: String = sign("bond.kid")?[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let mac = URL_SAFE_NO_PAD.encode(sign(&format!("bond.v1|{id}|{FAR}|{kid}"))?);
    Ok(format!("v1.{kid}.{FAR}.{mac}"))
}

#[tokio::test]
async fn a_token_signed_with_a_published_secret_opens_nothing() -> Result<()> {
    let open = Bond::up(&[], &[]).await?;
    let data_dir = fresh_dir("keyed")?;
    let alice = key_of("alice", &data_dir).await?;
    let keyed = Bond::up_in(data_dir, &[], &[("BOND_SECRET", SECRET)]).await?;
    let wish = json!({"natural_language": SENTENCE}).to_string();
    for bond in [&open, &keyed] {
        let created =
            bond.request("POST", "/v1/streams", &[("authorization", &alice)], wish.clone()).await?.1;
        let id = id_of(&created);
        refused(bond, id, &forged(PUBLISHED, id)?, "AUTH_INVALID").await?;
    }
    // What is forged here is of the right form: with the secret it opens the stream.
    let id =
        id_of(&keyed.request("GET", "/v1/streams", &[("authorization", &alice)], "").await?.1[0]).to_owned();
    let mut socket = Socket::open(&format!("{}/ws/{id}?token={}", keyed.ws, forged(SECRET, &id)?)).await?;
    socket.event_of("aggregate").await.map(drop)
}

/// What `bond` says that does not start.
pub(super) async fn does_not_start(
    words: &[&str],
    data_dir: &Path,
    settings: &[(&str, &str)],
) -> Result<String> {
    let mut command = Command::new(binary());
    command.args(words).arg("--data-dir").arg(data_dir);
    command.env_remove("BOND_SECRET").envs(settings.iter().copied()).kill_on_drop(true);
    let output =
        tokio::time::timeout(Duration::from_secs(20), command.output()).await.context("it started")??;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1), "{said}");
    Ok(said)
}

#[tokio::test]
async fn with_keys_it_does_not_start_without_a_secret_of_its_own() -> Result<()> {
    let data_dir = fresh_dir("keyed")?;
    key_of("alice", &data_dir).await?;
    let up = ["up", "--rest-port", "0", "--ws-port", "0"];
    for (settings, named) in [
        (&[][..], "BOND_SECRET is not set"),
        (&[("BOND_SECRET", PUBLISHED)], "BOND_SECRET was published"),
        (&[("BOND_SECRET", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")], "BOND_SECRET has fewer than 12"),
        (
            &[("BOND_SECRET", SECRET), ("BOND_SECRET_PREVIOUS", PUBLISHED)],
            "BOND_SECRET_PREVIOUS was published",
        ),
    ] {
        let said = does_not_start(&up, &data_dir, settings).await?;
        ensure!(said.contains(named) && !said.contains(PUBLISHED), "{said}");
    }
    Ok(())
}

#[cfg(unix)]
fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(metadata.permissions().mode() & 0o777)
}

#[cfg(unix)]
#[tokio::test]
async fn what_it_writes_is_its_owners_alone_and_its_secret_outlives_it() -> Result<()> {
    let dir = fresh_dir("private")?;
    let data_dir = dir.join("data");
    let words = ["up", "--rest-port", "0", "--ws-port", "0", "--data-dir", &data_dir.to_string_lossy()];
    let (mut process, _) = Process::start(dir.clone(), &words, &[]).await?;
    key_of("alice", &data_dir).await?;
    ensure!(mode(&data_dir)? == 0o700, "{:o}", mode(&data_dir)?);
    for path in ["data/streams.redb", "data/secret", "data/keys.json", "ready"].map(|name| dir.join(name)) {
        ensure!(mode(&path)? == 0o600, "{} {:o}", path.display(), mode(&path)?);
    }
    process.terminate().await?;
    let secret = std::fs::read_to_string(data_dir.join("secret"))?;
    std::fs::remove_file(data_dir.join("keys.json"))?;
    let _again = Process::start(dir, &words, &[]).await?;
    ensure!(
        std::fs::read_to_string(data_dir.join("secret"))? == secret,
        "tokens stay good through a restart"
    );
    Ok(())
}

async fn revoke(owner: &str, data_dir: &Path) -> Result<()> {
    let bond = |words: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("key").arg("--data-dir").arg(data_dir).args(words);
        command
    };
    let listed = String::from_utf8(bond(&["list"]).output().await?.stdout)?;
    let of_owner = |line: &&str| line.split_whitespace().nth(1) == Some(owner);
    let line = listed.lines().find(of_owner).context("no such key")?;
    let id = line.split_whitespace().next().context("no id")?.to_owned();
    let revoked = bond(&["revoke", &id]).status().await?;
    ensure!(revoked.success());
    Ok(())
}

/// Expects a close with 1008 soon, whatever comes before it.
async fn is_taken_back(socket: &mut Socket, since: Instant) -> Result<()> {
    loop {
        match socket.next().await? {
            Came::Frame(_) => ensure!(since.elapsed() < Duration::from_secs(5), "it goes on"),
            Came::Closed(code, reason) => {
                ensure!(code == 1008 && reason.starts_with("AUTH_INVALID"), "{code} {reason}");
                ensure!(since.elapsed() < Duration::from_secs(5), "closed after {:?}", since.elapsed());
                return Ok(());
            }
        }
    }
}

#[tokio::test]
async fn a_revoked_key_loses_what_it_opened_and_nobody_else_does() -> Result<()> {
    let data_dir = fresh_dir("revoked")?;
    let (alice, bob) = (key_of("alice", &data_dir).await?, key_of("bob", &data_dir).await?);
    let bond = Bond::up_in(data_dir.clone(), &[], &[("BOND_SECRET", SECRET)]).await?;
    let feed = format!("{}/stream?control=true", bond.ws);
    let wish = json!({"natural_language": SENTENCE}).to_string();
    let mut open = Vec::new();
    for key in [&alice, &bob] {
        let headers = [("authorization", key.as_str())];
        let created = bond.request("POST", "/v1/streams", &headers, wish.clone()).await?.1;
        let granted = bond.request("POST", "/v1/feeds/token", &headers, "").await?.1;
        let mut sockets = vec![
            Socket::open(&ws_url(&created, "")).await?,
            Socket::open_with(&feed, &headers).await?,
            Socket::open(&ws_url(&granted, "&control=true")).await?,
        ];
        sockets[0].event_of("aggregate").await?;
        for socket in &mut sockets[1..] {
            socket.event_of("heartbeat").await?;
            socket
                .send(&json!({"type": "subscribe", "channels": ["trades"], "symbols": ["BTC/USDT"]}))
                .await?;
            socket.event_of("trade").await?;
        }
        open.push((sockets, created));
    }
    let since = Instant::now();
    revoke("alice", &data_dir).await?;
    let (bobs, alices) = (open.pop().context("bob's")?, open.pop().context("alice's")?);
    for mut socket in alices.0 {
        is_taken_back(&mut socket, since).await?;
    }
    refused(&bond, id_of(&alices.1), token_of(&alices.1), "AUTH_INVALID").await?;
    let mut sockets = bobs.0.into_iter();
    sockets.next().context("a stream")?.event_of("aggregate").await?;
    for mut feed in sockets {
        feed.event_of("trade").await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_browser_may_show_its_credential_as_a_subprotocol() -> Result<()> {
    let data_dir = fresh_dir("subprotocol")?;
    let alice = key_of("alice", &data_dir).await?;
    let bond = Bond::up_in(data_dir, &[], &[("BOND_SECRET", SECRET)]).await?;
    let granted = bond.request("POST", "/v1/feeds/token", &[("authorization", &alice)], "").await?.1;
    let key = alice.trim_start_matches("Bearer ");
    let offer = |credential: &str| format!("bond.v1, bond.bearer.{}", URL_SAFE_NO_PAD.encode(credential));
    let feed = format!("{}/stream", bond.ws);
    for credential in [key, token_of(&granted)] {
        // The client of this test fails, as browsers do, where the server selects none of what it offers or something else.
        let offered = offer(credential);
        let mut socket = Socket::open_with(&feed, &[("sec-websocket-protocol", &offered)]).await?;
        let Came::Frame(first) = socket.next().await? else { bail!("it was closed") };
        ensure!(first.contains("heartbeat"), "{first}");
    }
    let offered = offer("bond_nonsense");
    let closed = Socket::open_with(&feed, &[("sec-websocket-protocol", &offered)]).await?.closed().await?;
    ensure!(closed.0 == 1008 && closed.1.starts_with("AUTH_INVALID"), "{closed:?}");
    Ok(())
}

#[tokio::test]
async fn a_key_in_a_url_opens_a_feed_only_where_that_is_switched_on() -> Result<()> {
    let data_dir = fresh_dir("in-url")?;
    let alice = key_of("alice", &data_dir).await?;
    let key = alice.trim_start_matches("Bearer ");
    let mut bond = Bond::up_in(data_dir.clone(), &[], &[("BOND_SECRET", SECRET)]).await?;
    let closed = Socket::open(&format!("{}/stream?token={key}", bond.ws)).await?.closed().await?;
    ensure!(closed.0 == 1008 && closed.1.starts_with("AUTH_INVALID"), "{closed:?}");
    ensure!(!closed.1.contains(key), "{closed:?}");
    bond.terminate().await?;
    let settings = [("BOND_SECRET", SECRET), ("BOND_KEYS_IN_URLS", "true")];
    let bond = Bond::up_in(data_dir, &[], &settings).await?;
    Socket::open(&format!("{}/stream?token={key}", bond.ws)).await?.event_of("heartbeat").await.map(drop)
}

/// What only proxies and other sites send.
const STRANGE: [(&str, &str); 9] = [
    ("forwarded", "for=203.0.113.5"),
    ("x-forwarded-for", "203.0.113.5"),
    ("x-forwarded-host", "bond.example"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "203.0.113.5"),
    ("via", "1.1 proxy"),
    ("sec-fetch-site", "cross-site"),
    ("sec-fetch-site", "same-site"),
    ("origin", "https://evil.example"),
];

#[tokio::test]
async fn without_keys_nothing_comes_in_through_a_proxy_or_from_another_site() -> Result<()> {
    let bond = Bond::up(&[], &[]).await?;
    let created = bond.stream(SENTENCE).await?;
    for header in STRANGE {
        let (status, answer) = bond.request("GET", "/v1/streams", &[header], "").await?;
        ensure!(status == 403 && answer["code"] == "FORBIDDEN", "{header:?}: {status} {answer}");
        for url in [ws_url(&created, ""), format!("{}/stream", bond.ws)] {
            let status = handshake_status(&url, &[header]).await?;
            ensure!(status == 403, "{header:?} {url}: {status}");
        }
    }
    ensure!(bond.log().contains("not for use behind a proxy"), "{}", bond.log());
    Ok(())
}

#[tokio::test]
async fn with_keys_a_proxy_may_pass_requests_on() -> Result<()> {
    let data_dir = fresh_dir("proxied")?;
    let alice = key_of("alice", &data_dir).await?;
    let settings = [("BOND_SECRET", SECRET), ("WS_HOST", "https://feed.example/")];
    let bond = Bond::up_in(data_dir, &[], &settings).await?;
    let headers =
        [("authorization", alice.as_str()), ("x-forwarded-proto", "http"), ("host", "bond.example")];
    let granted = bond.request("POST", "/v1/feeds/token", &headers, "").await?.1;
    let url = granted["ws_url"].as_str().unwrap_or_default();
    ensure!(url.starts_with("wss://feed.example/stream?token=f1."), "{granted}");
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[tokio::test]
async fn a_broker_has_a_secret_of_its_own_and_lets_in_no_web_page() -> Result<()> {
    let redis = Redis::start_with(&[]).await?;
    for (settings, named) in
        [(&[][..], "BOND_SECRET is not set"), (&[("BOND_SECRET", PUBLISHED)], "was published")]
    {
        let mut command = Command::new(binary());
        command.args(["broker", "--port", "0", "--redis", &redis.url()]).env_remove("BOND_SECRET");
        let output = command.envs(settings.iter().copied()).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(20), output).await.context("it started")??;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains(named), "{said}");
    }
    let broker = Broker::start(&redis.url(), &[("BOND_SECRET", SECRET)]).await?;
    let said = broker.process.log();
    ensure!(said.contains("64 bits") && said.contains("BOND_LEGACY_TOKENS=false"), "{said}");
    let url = format!("{}/ws/orders?token={}", broker.ws, legacy(SECRET, "orders", unix_now() + 60)?);
    for header in STRANGE.into_iter().chain([("host", "rebind.evil.example")]) {
        let status = handshake_status(&url, &[header]).await?;
        ensure!(status == 403, "{header:?}: {status}");
    }
    drop(Socket::open(&url).await?);
    let settings =
        [("BOND_SECRET", SECRET), ("WS_HOST", "wss://feed.example"), ("BOND_LEGACY_TOKENS", "false")];
    let behind = Broker::start(&redis.url(), &settings).await?;
    ensure!(!behind.process.log().contains("64 bits"), "{}", behind.process.log());
    let url = format!("{}/ws/orders?token={}", behind.ws, forged(SECRET, "orders")?);
    let headers =
        [("host", "feed.example"), ("origin", "https://app.example"), ("x-forwarded-for", "203.0.113.5")];
    drop(Socket::open_with(&url, &headers).await?);
    Ok(())
}

#[tokio::test]
async fn beyond_loopback_clear_text_is_warned_of() -> Result<()> {
    for (host, warns) in [("feed.example", true), ("wss://feed.example", false)] {
        let data_dir = fresh_dir("tls")?;
        let alice = key_of("alice", &data_dir).await?;
        let settings = [("BOND_SECRET", SECRET), ("WS_HOST", host)];
        let bond = Bond::up_in(data_dir, &["--bind", "0.0.0.0"], &settings).await?;
        ensure!(bond.log().contains("no TLS") == warns, "{host}: {}", bond.log());
        let headers = [("authorization", alice.as_str()), ("host", "evil.example")];
        let url = bond.request("POST", "/v1/feeds/token", &headers, "").await?.1["ws_url"].to_string();
        ensure!(url.contains("://feed.example") && !url.contains("evil"), "{url}");
    }
    Ok(())
}
