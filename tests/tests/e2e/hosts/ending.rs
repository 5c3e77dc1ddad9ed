//! Clients that are sent away behind API Gateway, and what its limits and the users of Redis leave to whom.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::gateway::Cloud;
use bond_e2e::host::{Host, subscribe};
use bond_e2e::socket::{Came, Socket};
use serde_json::json;
use tokio::time::{Instant, timeout};

/// How soon a client is gone that is sent away. On AWS it is less; this is a debug build.
const SOON: Duration = Duration::from_secs(20);

/// The last of these takes the host's key away.
pub(super) async fn run(cloud: &Cloud, host: &Host) -> Result<()> {
    a_flood_of_pings_keeps_nobody_out(host).await.context("a flood of pings")?;
    who_speaks_too_often_is_closed(host).await.context("too many messages")?;
    each_user_of_redis_keeps_to_its_work(cloud).await.context("users of Redis")?;
    a_revoked_key_closes_what_it_opened(cloud, host).await.context("a revoked key")
}

async fn a_flood_of_pings_keeps_nobody_out(host: &Host) -> Result<()> {
    let mut flooder = host.feed("").await?;
    for _ in 0..1_000 {
        flooder.send_text(r#"{"type":"ping"}"#).await?;
    }
    let connected = timeout(SOON, host.feed("")).await.context("nobody else gets in")?;
    connected?.close().await?;
    while flooder.event().await?["message"] != "Too Many Requests" {}
    flooder.close().await
}

async fn who_speaks_too_often_is_closed(host: &Host) -> Result<()> {
    let mut socket = host.feed("").await?;
    // On a busy machine functions answer hardly faster than the pace allows.
    let (deadline, mut refusals) = (Instant::now() + 3 * SOON, 0);
    loop {
        ensure!(Instant::now() < deadline, "not closed");
        for _ in 0..20 {
            // Fails once it is closed, which is read below.
            let _ = socket.send_text(r#"{"type":"background_mode","enabled":true}"#).await;
        }
        match drained(&mut socket).await? {
            Some(came) => refusals += came,
            None => break,
        }
    }
    ensure!((1..=8).contains(&refusals), "told {refusals} times");
    Ok(())
}

/// How many refusals have come by now; none where the connection is over.
async fn drained(socket: &mut Socket) -> Result<Option<usize>> {
    let mut refusals = 0;
    loop {
        match timeout(Duration::from_millis(50), socket.next()).await {
            Err(_) => return Ok(Some(refusals)),
            Ok(Ok(Came::Frame(text))) => refusals += usize::from(text.contains("RATE_LIMIT_EXCEEDED")),
            Ok(Ok(Came::Closed(..)) | Err(_)) => return Ok(None),
        }
    }
}

async fn each_user_of_redis_keeps_to_its_work(cloud: &Cloud) -> Result<()> {
    // Whoever sends a command may read the others: the script that adds one holds all of them to their bound.
    let refused: [(&str, &[&str]); 7] = [
        ("functions", &["DEL", "bond:control"]),
        ("functions", &["SET", "bond:lease", "me"]),
        ("functions", &["HGETALL", "bond:vitals"]),
        ("api", &["SET", "bond:lease", "me"]),
        ("api", &["XRANGE", "bond:{1}:log:streams.00000000000000aa", "-", "+"]),
        ("edge", &["DEL", "bond:lease"]),
        ("ingest", &["CONFIG", "GET", "*"]),
    ];
    for (user, words) in refused {
        let mut connection = cloud.redis.connect().await?;
        connection.command(&["AUTH", user, user]).await?;
        let answer = connection.command(words).await;
        let Err(error) = answer else { bail!("{user} may {words:?}: {answer:?}") };
        ensure!(error.to_string().contains("NOPERM"), "{user} {words:?}: {error}");
    }
    Ok(())
}

async fn a_revoked_key_closes_what_it_opened(cloud: &Cloud, host: &Host) -> Result<()> {
    let edge = cloud.edge().await?;
    let key = host.api.key.as_deref().context("a key")?;
    let url = format!("{}/stream", edge.ws);
    let mut beside = open(&url, key).await?;
    beside.event_of("heartbeat").await.context("the edge knows the key")?;
    let mut feed = host.feed("").await?;
    feed.send(&subscribe(json!({"channels": ["trades"]}))).await?;
    feed.event_of("trade").await?;
    cloud.replace_keys("{}").await?;
    let over = async {
        while drained(&mut feed).await?.is_some() {}
        anyhow::Ok(())
    };
    timeout(SOON, over).await.context("the relay leaves it open")??;
    let (code, reason) = beside.closed().await.context("the edge leaves it open")?;
    ensure!(code == 1008, "closed with {code} {reason}");
    timeout(SOON, async {
        while !is_refused(&url, key).await? {}
        anyhow::Ok(())
    })
    .await
    .context("the edge goes on letting it in")?
}

async fn open(url: &str, key: &str) -> Result<Socket> {
    Socket::open_with(url, &[("authorization", &format!("Bearer {key}"))]).await
}

/// Whether a dedicated edge closes a connection at once, with 1008.
async fn is_refused(url: &str, key: &str) -> Result<bool> {
    Ok(matches!(open(url, key).await?.next().await?, Came::Closed(1008, _)))
}
