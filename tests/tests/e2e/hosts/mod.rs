//! One list of scenarios, run against every host.
//!
//! In what the hosts differ is the table at the end of `docs/protocol.md`, which [`differences`] holds to the tests. They are driven at
//! different rates, too ([`Traits`]): the dedicated edge by 400 events a second and venue, beside another process on one Redis by 200,
//! `bond-gateway` by 200, the emulator by 40, since it takes 66 ms a call and posts one after another.

mod differences;
mod ending;
mod moving;
mod rights;
mod scenarios;
mod topics;
mod topics_moving;
mod upgrade;

use anyhow::Result;
use bond_e2e::api::Api;
use bond_e2e::cloud::Deployed;
use bond_e2e::gateway::{Cloud, Options};
use bond_e2e::host::{Ending, Host, ISSUER_SECRET, Refusal, Traits};
use bond_e2e::process::Bond;
use bond_e2e::redis::Redis;

/// What a dedicated edge is started with.
const SETTINGS: [(&str, &str); 2] = [("BOND_MAX_STREAMS", "50"), ("BOND_JWT_SECRET", ISSUER_SECRET)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_behind_a_strict_gateway_serve_topics() -> Result<()> {
    let traits = serverless("bond-gateway");
    let cloud = Cloud::start(Options { rate: 10, ..Options::default() }).await?;
    let topics_url = Some(format!("{}?", cloud.ws));
    let host = Host { api: cloud.api.clone(), feed_url: cloud.feed_url(), topics_url, traits };
    topics::run(&host).await?;
    topics_moving::run(&cloud, &host).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dedicated_edge_does_it_all() -> Result<()> {
    let traits = dedicated("dedicated edge");
    let bond = Bond::up(&["--sim-rate", &traits.rate.to_string()], &SETTINGS).await?;
    let topics_url = Some(format!("{}/ws?", bond.ws));
    let feed_url = format!("{}/stream?mode=feed", bond.ws);
    let host = Host { api: Api::clone(&bond), feed_url, topics_url, traits };
    scenarios::run(&host).await?;
    topics::run(&host).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dedicated_edge_beside_others_on_redis_does_it_all() -> Result<()> {
    let traits = Traits { rate: 200, joins: 10, ..dedicated("dedicated edge on Redis") };
    let (redis, settings) = (Redis::start().await?, SETTINGS);
    let rate = traits.rate.to_string();
    let _ingest = Bond::up(&["--redis", &redis.url(), "--sim-rate", &rate], &settings).await?;
    let edge = Bond::edge(&redis.url(), &settings).await?;
    edge.is_ready().await?;
    let topics_url = Some(format!("{}/ws?", edge.ws));
    let host =
        Host { api: Api::clone(&edge), feed_url: format!("{}/?mode=feed", edge.ws), topics_url, traits };
    scenarios::run(&host).await?;
    topics::run(&host).await
}

fn dedicated(name: &'static str) -> Traits {
    Traits {
        name,
        refusal: Refusal::Close(1008),
        ending: Ending::Code(4510),
        mock_pong: false,
        rate: 400,
        joins: 20,
    }
}

/// What all hosts behind API Gateway have in common.
fn serverless(name: &'static str) -> Traits {
    Traits {
        name,
        refusal: Refusal::Handshake,
        ending: Ending::Platform,
        mock_pong: true,
        rate: 200,
        joins: 10,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_functions_behind_a_strict_gateway_do_it_all() -> Result<()> {
    let traits = serverless("bond-gateway");
    let cloud = Cloud::start(Options { rate: traits.rate, ..Options::default() }).await?;
    let topics_url = Some(format!("{}?", cloud.ws));
    let host = Host { api: cloud.api.clone(), feed_url: cloud.feed_url(), topics_url, traits };
    scenarios::run(&host).await?;
    moving::run(&cloud, &host).await?;
    ending::run(&cloud, &host).await
}

async fn deployed(arguments: &[&str]) -> Result<(Deployed, Host)> {
    let traits = Traits { rate: 40, joins: 3, ..serverless("emulator") };
    let rate = format!("--sim-rate {}", traits.rate);
    let mut all = vec!["--ingest-args", rate.as_str(), "--set", "BOND_MAX_STREAMS=50"];
    all.extend(arguments);
    let cloud = Deployed::start(&all).await?;
    let host = Host { api: cloud.api.clone(), feed_url: cloud.feed_url(), topics_url: None, traits };
    Ok((cloud, host))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stacks_deployed_do_it_all_and_are_upgraded_in_place() -> Result<()> {
    let (mut cloud, host) = deployed(&[]).await?;
    scenarios::run(&host).await?;
    upgrade::run(&mut cloud, &host).await?;
    cloud.down()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stacks_do_it_all_with_no_more_rights_than_they_are_given() -> Result<()> {
    let (cloud, host) = deployed(&["--auth"]).await?;
    scenarios::run(&host).await?;
    rights::run(&cloud, &host).await?;
    cloud.down()
}
