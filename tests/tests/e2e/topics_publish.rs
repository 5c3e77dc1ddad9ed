//! Publishing to topics, as a team does it: over REST and from a shell.

use anyhow::{Context, Result, ensure};
use bond_e2e::process::{Bond, binary};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::process::Command;

const EVENTS: &str = "/v1/topics/prices.IN1234567890/events";
const SNAPSHOT: &str = "/v1/topics/prices.IN1234567890/snapshot";

async fn up() -> Result<Bond> {
    Bond::up(&["--sim-rate", "20"], &[("BOND_REST_PER_SECOND", "1000")]).await
}

/// The text of the topic's snapshot.
async fn snapshot(bond: &Bond) -> Result<String> {
    Ok(bond.send("GET", SNAPSHOT, &[], "").await?.text().await?)
}

/// What `bond publish` prints, its exit code first.
async fn publish(bond: &Bond, words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(binary());
    command.args(["publish", "--url", &bond.rest]).args(words).env_remove("BOND_API_KEY");
    let output = command.kill_on_drop(true).output().await?;
    let said = if output.status.success() { output.stdout } else { output.stderr };
    Ok((output.status.code(), String::from_utf8(said)?))
}

#[tokio::test]
async fn what_is_published_is_the_state_to_the_digit_and_a_key_makes_it_once() -> Result<()> {
    let bond = up().await?;
    let headers = [("content-type", "application/json"), ("idempotency-key", "7f")];
    let body = r#"{"events":[{"type":"snapshot","payload":{"bid":99.1000,"levels":{"a":1}}},{"payload":{"levels":{"a":null,"b":0.10}}}]}"#;
    let first = bond.request("POST", EVENTS, &headers, body).await?;
    ensure!(first.0 == 200 && first.1["last_seq"] == 2, "{first:?}");
    let again = bond.request("POST", EVENTS, &headers, body).await?;
    ensure!(again == first, "{again:?} after {first:?}");
    let found = snapshot(&bond).await?;
    ensure!(
        found.contains(r#""seq":2"#) && found.contains(r#"{"bid":99.1000,"levels":{"b":0.10}}"#),
        "{found}"
    );
    let (status, other) = bond.request("POST", EVENTS, &headers, r#"{"events":[{"payload":1}]}"#).await?;
    ensure!(status == 400 && other["code"] == "INVALID_MESSAGE", "{other}");
    Ok(())
}

#[tokio::test]
async fn of_those_who_expect_the_same_head_one_wins_and_the_others_learn_the_head() -> Result<()> {
    let bond = up().await?;
    let body = |racer: usize| json!({"events": [{"payload": {"racer": racer}}], "if_seq": 0});
    let bodies: Vec<Value> = (0..16).map(body).collect();
    let answers = join_all(bodies.iter().map(|body| bond.post(EVENTS, body))).await;
    let mut won = 0;
    for answer in answers {
        let (status, answer) = answer?;
        won += usize::from(status == 200);
        ensure!(status == 200 || (status == 409 && answer["head"]["seq"] == 1), "{status} {answer}");
    }
    ensure!(won == 1, "{won} won");
    Ok(())
}

#[tokio::test]
async fn a_batch_that_is_too_much_is_refused_whole() -> Result<()> {
    let bond = up().await?;
    let many = json!({"events": vec![json!({"payload": 1}); 101]});
    let large = json!({"events": [{"payload": 1}, {"payload": "x".repeat(25 * 1024)}]});
    let body = json!({"events": vec![json!({"payload": "x".repeat(16 * 1024)}); 4], "correlation": "x".repeat(1024)});
    for (body, expected) in [(many, 400), (large, 413), (body, 413)] {
        let (status, answer) = bond.post(EVENTS, &body).await?;
        ensure!(status == expected, "{status} {answer}");
    }
    ensure!(bond.get(SNAPSHOT).await?.0 == 404, "nothing was appended");
    Ok(())
}

#[tokio::test]
async fn from_a_shell_an_event_is_published_with_what_was_typed() -> Result<()> {
    let bond = up().await?;
    let topic = "prices.IN1234567890";
    let (code, said) =
        publish(&bond, &[topic, "--type", "snapshot", "--key", "a", r#"{"bid": 1.50}"#]).await?;
    ensure!(code == Some(0) && said.contains(r#""first_seq":1"#), "{said}");
    let (_, again) = publish(&bond, &[topic, "--type", "snapshot", "--key", "a", r#"{"bid": 1.50}"#]).await?;
    ensure!(again == said, "{again}");
    let meta = r#"{"subtopic":"L1"}"#;
    let (code, said) = publish(&bond, &[topic, "--if-seq", "1", "--meta", meta, r#"{"ask": 2.0}"#]).await?;
    ensure!(code == Some(0) && said.contains(r#""first_seq":2"#), "{said}");
    ensure!(snapshot(&bond).await?.contains(r#"{"ask":2.0,"bid":1.50}"#));
    let (code, said) = publish(&bond, &[topic, "--if-seq", "1", "3"]).await?;
    ensure!(code == Some(5) && said.contains("CONFLICT") && said.contains("head is 2"), "{said}");
    let (code, said) = publish(&bond, &["trades.okx.BTC-USDT", "1"]).await?;
    ensure!(code == Some(3), "{said}");
    let events = bond.get(&format!("{EVENTS}?after_seq=1")).await?.1;
    ensure!(events["events"][0]["meta"]["subtopic"] == "L1", "{events}");
    Ok(())
}

#[tokio::test]
async fn a_topic_outlives_who_published_to_it_until_it_is_deleted() -> Result<()> {
    let bond = up().await?;
    let (_, first) = bond.post(EVENTS, &json!({"events": [{"payload": {"bid": 1}}]})).await?;
    let (_, list) = bond.get("/v1/topics?prefix=prices.").await?;
    ensure!(list["topics"][0]["seq"] == 1 && list["next"].is_null(), "{list}");
    let answer = bond.send("DELETE", "/v1/topics/prices.IN1234567890", &[], "").await?;
    ensure!(answer.status() == 204, "{answer:?}");
    ensure!(bond.get(SNAPSHOT).await?.0 == 404);
    let (_, next) = bond.post(EVENTS, &json!({"events": [{"payload": {"bid": 1}}]})).await?;
    let epoch = next["epoch"].as_str().context("an epoch")?;
    ensure!(next["first_seq"] == 1 && first["epoch"] != epoch, "{next} after {first}");
    Ok(())
}

#[tokio::test]
async fn figures_count_what_became_of_the_events() -> Result<()> {
    let bond = up().await?;
    bond.post(EVENTS, &json!({"events": [{"payload": 1}, {"payload": 2}]})).await?;
    bond.post(EVENTS, &json!({"events": [{"payload": 1}], "if_seq": 7})).await?;
    let figures = bond.send("GET", "/metrics", &[("accept", "text/plain")], "").await?.text().await?;
    for line in [
        r#"bond_published_events_total{outcome="appended"} 2"#,
        r#"bond_published_events_total{outcome="conflict"} 1"#,
    ] {
        ensure!(figures.contains(line), "{line} is missing in {figures}");
    }
    Ok(())
}
