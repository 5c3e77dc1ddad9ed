//! Posts and invocations that fail.

use anyhow::{Context, Result, ensure};
use bond_e2e::api::ws_url;
use bond_e2e::gateway::{Cloud, Options};
use serde_json::{Value, json};

use super::clients::{Client, Clients};
use super::counted;

/// No fault.
fn none() -> Value {
    json!({})
}

/// What was posted and not receipted comes again.
async fn a_function_dies_midway(cloud: &Cloud, clients: &mut Clients) -> Result<()> {
    for after_posts in [1, 3] {
        // Posts take longer than events to come, so that an invocation has many of them.
        let death = json!({"function": "fanout", "after_posts": after_posts, "times": 3});
        cloud.gateway.faults(&json!({"die_midway": death, "post_delay_ms": 80})).await?;
        clients.all(40, 5).await?;
        cloud.gateway.faults(&none()).await?;
        clients.all(100, 3).await?;
    }
    let stats = cloud.gateway.stats().await?;
    ensure!(counted(&stats, "/functions/fanout/errors")? >= 4, "{}", stats["functions"]["fanout"]);
    ensure!(clients.repeats() > 0, "what died had posted");
    clients.have_everything()
}

/// A fifth of the posts is refused, for either reason, posts overtake each other, and functions are called twice.
async fn posts_are_refused(cloud: &Cloud, clients: &mut Clients) -> Result<()> {
    for kind in ["quota", "slow"] {
        let before = counted(&cloud.gateway.stats().await?, &format!("/posts/{kind}"))?;
        let fault = format!("{kind}_429");
        let faults = json!({fault: 0.2, "reorder": true, "duplicate_invocations": 0.5});
        cloud.gateway.faults(&faults).await?;
        clients.all(60, 3).await?;
        let refused = counted(&cloud.gateway.stats().await?, &format!("/posts/{kind}"))? - before;
        ensure!(refused >= 10, "{refused} posts refused with {kind}");
    }
    cloud.gateway.faults(&none()).await?;
    clients.all(100, 5).await?;
    clients.have_everything()
}

/// The relay hears of a connection while API Gateway still says 410 for it: it gets what came meanwhile.
async fn connections_open_late(cloud: &Cloud, clients: &mut Clients) -> Result<()> {
    cloud.gateway.faults(&json!({"connect_delay_ms": 3_000})).await?;
    let ticks = ws_url(&cloud.api.stream("BTC trades tick by tick").await?, "");
    let witness = &clients.0[0];
    let position = witness.seen().position()?;
    let resumed = format!("{ticks}&from={}", position.position());
    let (resumed, new) =
        tokio::join!(Client::open("resumed late", &resumed, None), Client::open("opened late", &ticks, None));
    let opened_at = witness.seen().latest.clone().and_then(|head| head.ts_event).context("a time")?;
    cloud.gateway.faults(&none()).await?;
    let (mut resumed, mut new) = (resumed?, new?);
    resumed.more(50).await?;
    new.more(50).await?;
    let (first, next) = (resumed.first()?, position.last + 1);
    ensure!(first.seq == Some(next), "{next} was next: {first:?}");
    let first = new.first()?;
    let before = opened_at - first.ts_event.context("a time")?;
    ensure!(before > 1_000, "it began {before} ms before it was open, at {first:?}");
    ensure!(counted(&cloud.gateway.stats().await?, "/posts/gone")? > 0, "nothing was refused");
    clients.have_everything()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_that_fail_leave_nothing_out() -> Result<()> {
    let cloud = Cloud::start(Options { rate: 20, ..Options::default() }).await?;
    let mut clients = Clients::open(&cloud).await?;
    a_function_dies_midway(&cloud, &mut clients).await?;
    posts_are_refused(&cloud, &mut clients).await?;
    connections_open_late(&cloud, &mut clients).await
}
