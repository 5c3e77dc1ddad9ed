//! `bond demo topics`: a simulated bond desk on the topics of a running server.

use std::io::Write;
use std::time::Duration;

use bond_core::publish::{PublishBatch, PublishEvent};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use self::desk::{AUCTION, Desk, ISINS, Said, USER};
use super::client::RestClient;
use super::token;
use crate::cli::{DemoTopicsArgs, JwtArgs};
use crate::config::JwtSettings;
use crate::failure::{Exit, Failure, Outcome};
use crate::signal;

mod desk;

/// How often the desk moves: with about six topics each time, half of what a server takes from one owner without being set otherwise.
const TICK: Duration = Duration::from_millis(250);

/// How long the printed token is good.
const TOKEN_TTL: Duration = Duration::from_secs(12 * 3600);

/// Publishes until it is told to stop, or the seconds are over.
///
/// # Errors
/// Where the server cannot be reached or refuses, or no token can be made.
pub async fn topics(args: &DemoTopicsArgs, settings: &JwtSettings) -> Outcome {
    let client = RestClient::new(&args.server)?;
    let mut desk = Desk::new();
    publish(&client, desk.open()).await?;
    introduce(&args.server.url, &token(args, settings)?)?;
    tokio::select! {
        () = signal::stop_requested() => Ok(()),
        () = over(args.seconds) => Ok(()),
        outcome = run(&client, desk) => outcome,
    }
}

async fn run(client: &RestClient, mut desk: Desk) -> Outcome {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        publish(client, desk.tick()).await?;
    }
}

async fn over(seconds: Option<u32>) {
    match seconds {
        Some(seconds) => sleep_until(Instant::now() + Duration::from_secs(seconds.into())).await,
        None => std::future::pending().await,
    }
}

async fn publish(client: &RestClient, said: Vec<Said>) -> Outcome {
    for Said { topic, kind, payload, meta } in said {
        let event = PublishEvent::new(kind, &payload, Some(&meta), None);
        let batch = event.and_then(|event| PublishBatch::of(vec![event], None));
        let body = batch.map_err(|error| Failure::new(Exit::Failed, error))?.to_json();
        client.post_text(&format!("/v1/topics/{topic}/events"), body, None).await?;
    }
    Ok(())
}

fn token(args: &DemoTopicsArgs, settings: &JwtSettings) -> Result<String, Failure> {
    let minted = JwtArgs {
        user: USER.to_owned(),
        role: None,
        topics: None,
        publish: Vec::new(),
        ttl: TOKEN_TTL,
        data_dir: args.data_dir.clone(),
    };
    token::minted(&minted, settings)
}

fn introduce(url: &str, token: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "a bond desk, simulated, on five paths; follow one with websocat -n or wscat -c:")?;
    for url in urls(url, token) {
        writeln!(out, "{url}")?;
    }
    writeln!(out, "the token is the user {USER}'s; Ctrl-C ends the demo")?;
    Ok(out.flush()?)
}

/// The five paths, as a client connects to them.
fn urls(url: &str, token: &str) -> Vec<String> {
    let base = url.trim_end_matches('/').replacen("http", "ws", 1);
    let [isin, ..] = ISINS;
    let paths = [
        format!("market/{isin}"),
        format!("auction/{AUCTION}"),
        format!("trading/{USER}"),
        format!("risk/{USER}"),
        format!("mobile/{USER}"),
    ];
    paths.iter().map(|path| format!("{base}/ws/{path}?token={token}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_are_those_of_the_server() {
        let urls = urls("https://bond.example/", "t");
        assert_eq!(urls.len(), 5);
        assert_eq!(urls[2], "wss://bond.example/ws/trading/demo?token=t");
    }
}
