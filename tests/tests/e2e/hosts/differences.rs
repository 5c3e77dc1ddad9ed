//! The table of differences between hosts in `docs/protocol.md`: each row is held by what the scenarios expect, or by a test of its own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bond_e2e::host::{Ending, Refusal, Traits};

/// What holds a row.
enum Held {
    /// What the scenarios expect of a host: the words that its cell must have.
    ByTraits(fn(&Traits) -> String),
    /// A test of one host, by its file and its name.
    ByTest(&'static str, &'static str),
}

use Held::{ByTest, ByTraits};

/// Every row of the table, in its order.
const ROWS: [(&str, Held); 19] = [
    (
        "paths",
        ByTest("functions/tests/handlers/connect.rs", "who_may_not_is_refused_with_the_status_of_the_reason"),
    ),
    ("a connection that is refused", ByTraits(refusal)),
    ("a stream that ends", ByTraits(ending)),
    (
        "a connection that is closed for another reason",
        ByTest(
            "edge/src/relay/tests/control.rs",
            "connections_of_a_revoked_key_are_told_and_closed_and_no_other",
        ),
    ),
    ("`pong`", ByTraits(pong)),
    (
        "several answers to one message",
        ByTest(
            "functions/tests/handlers/message.rs",
            "what_does_not_fit_the_one_answer_is_left_to_the_relay",
        ),
    ),
    (
        "`heartbeat`",
        ByTest("edge/src/relay/tests/control.rs", "heartbeats_come_at_once_and_then_every_five_minutes"),
    ),
    (
        "`reconnect`",
        ByTest(
            "edge/src/relay/tests/takeover.rs",
            "a_successor_of_a_relay_that_ended_in_order_repeats_nothing",
        ),
    ),
    (
        "silence of a client",
        ByTest("localstack/tests/gateway/websocket.rs", "an_idle_connection_ends_after_10_minutes"),
    ),
    (
        "age of a connection",
        ByTest("localstack/tests/gateway/websocket.rs", "a_connection_ends_after_2_hours_however_busy"),
    ),
    (
        "a message that is too large",
        ByTest("functions/tests/handlers/message.rs", "a_message_above_32_kb_is_refused_unread"),
    ),
    (
        "an event that is too large",
        ByTest("edge/src/relay/truncate.rs", "a_book_keeps_its_best_levels_to_the_digit"),
    ),
    ("batches", ByTest("shared/aws/src/gateway/frame.rs", "a_batch_is_a_json_array")),
    (
        "a connection to topics that is refused",
        ByTest("functions/tests/handlers/topics.rs", "who_may_not_is_refused_at_the_handshake"),
    ),
    (
        "topics of one connection",
        ByTest(
            "shared/core/src/connection/json/topics.rs",
            "a_subscription_that_would_not_fit_is_refused_and_changes_nothing",
        ),
    ),
    (
        "answers to `subscribe`, `unsubscribe`, `resume`, and `frequency` of a topic",
        ByTest(
            "functions/tests/handlers/topics.rs",
            "answers_that_say_where_a_topic_stands_are_left_to_the_relay",
        ),
    ),
    ("`pong` of a connection to topics", ByTraits(pong_in_envelope)),
    (
        "the end of a token for topics",
        ByTest(
            "edge/src/relay/tests/topics.rs",
            "the_end_of_a_token_is_announced_and_closes_the_connection_unless_it_is_refreshed",
        ),
    ),
    (
        "a message beyond the limit of all clients together",
        ByTest(
            "localstack/tests/gateway/websocket.rs",
            "a_message_beyond_its_routes_limit_is_told_so_and_reaches_no_function",
        ),
    ),
];

fn refusal(traits: &Traits) -> String {
    match traits.refusal {
        Refusal::Close(code) => format!("closed with {code}"),
        Refusal::Handshake => "the handshake is answered with 401".to_owned(),
    }
}

fn ending(traits: &Traits) -> String {
    match traits.ending {
        Ending::Code(code) => format!("closed with {code}"),
        Ending::Platform => "closed by the platform".to_owned(),
    }
}

fn pong(traits: &Traits) -> String {
    let words = if traits.mock_pong { "the platform's own" } else { "with `ts` and `correlation_id`" };
    words.to_owned()
}

fn pong_in_envelope(traits: &Traits) -> String {
    let words = if traits.mock_pong { "the platform's own" } else { "in the envelope" };
    words.to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the table, each as its name, and what it says of the dedicated edge and of API Gateway.
fn rows(document: &str) -> Result<Vec<[&str; 3]>> {
    let (_, section) = document.split_once("\n## Differences between hosts\n").context("the section")?;
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).skip(2);
    let cells = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        <[&str; 3]>::try_from(cells).map_err(|cells| anyhow::anyhow!("{} cells in {line}", cells.len()))
    });
    cells.collect()
}

#[test]
fn the_table_of_differences_is_what_the_tests_hold() -> Result<()> {
    let document = fs::read_to_string(root().join("docs/protocol.md"))?;
    let rows = rows(&document)?;
    let names: Vec<&str> = rows.iter().map(|[name, ..]| *name).collect();
    ensure!(names == ROWS.each_ref().map(|(name, _)| *name), "rows in the document: {names:?}");
    for ([name, dedicated, serverless], (_, held)) in rows.into_iter().zip(&ROWS) {
        match held {
            ByTraits(words) => {
                let hosts = [(dedicated, super::dedicated("")), (serverless, super::serverless(""))];
                for (cell, words) in hosts.map(|(cell, traits)| (cell, words(&traits))) {
                    ensure!(cell.contains(&words), "{name}: {words:?} is not in {cell:?}");
                }
            }
            ByTest(file, test) => {
                let text = fs::read_to_string(root().join(file)).with_context(|| (*file).to_owned())?;
                ensure!(text.contains(&format!("fn {test}()")), "{name}: there is no test {test} in {file}");
            }
        }
    }
    Ok(())
}
