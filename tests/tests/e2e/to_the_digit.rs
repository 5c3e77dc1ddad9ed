//! Real frames in, the very same numbers out: a capture through the whole of Bond against a computation of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use bond_e2e::captures;
use bond_e2e::process::{Bond, binary};
use bond_e2e::socket::Socket;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const CAPTURE: &str = "binance-spot-btcusdt-20240808.ndjson.gz";
const WINDOW_MS: i64 = 5000;

/// A trade as integers: milliseconds, and price and quantity in units of 1e-8, as this venue writes both.
#[derive(Clone, Copy)]
struct Trade {
    id: i64,
    ms: i64,
    price: i128,
    size: i128,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    open: i128,
    high: i128,
    low: i128,
    close: i128,
    volume: i128,
    trades: u64,
}

/// Parses exactly eight decimals without any decimal library.
fn units(text: &str) -> Result<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Ok(format!("{whole}{fraction:0<8}").parse()?)
}

fn trades(path: &Path) -> Result<Vec<Trade>> {
    let mut trades = Vec::new();
    for (_, frame) in captures::frames(path)? {
        let frame: Value = serde_json::from_str(&frame)?;
        let data = &frame["data"];
        if data["e"] == "trade" {
            trades.push(Trade {
                id: data["t"].as_i64().context("t")?,
                ms: data["T"].as_i64().context("T")?,
                price: units(data["p"].as_str().context("p")?)?,
                size: units(data["q"].as_str().context("q")?)?,
            });
        }
    }
    Ok(trades)
}

/// Windows by the trades' own times; the first and last of one time are those of the lowest and highest id.
fn windows(mut trades: Vec<Trade>) -> BTreeMap<i64, Window> {
    trades.sort_by_key(|trade| (trade.ms, trade.id));
    let mut windows: BTreeMap<i64, Window> = BTreeMap::new();
    for t in trades {
        let start = t.ms - t.ms.rem_euclid(WINDOW_MS);
        let fresh =
            Window { open: t.price, high: t.price, low: t.price, close: t.price, volume: 0, trades: 0 };
        let window = windows.entry(start).or_insert(fresh);
        window.high = window.high.max(t.price);
        window.low = window.low.min(t.price);
        window.close = t.price;
        window.volume += t.size;
        window.trades += 1;
    }
    windows
}

async fn simulator(capture: &Path) -> Result<(Child, String)> {
    let mut child = Command::new(binary())
        .args(["sim", "--venue", "binance", "--speed", "20", "--capture"])
        .arg(capture)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(url) = line.split_whitespace().find(|word| word.starts_with("http://")) {
            return Ok((child, url.to_owned()));
        }
    }
    anyhow::bail!("the simulator names no URL")
}

/// Reads the digits as they came: a JSON number becomes no binary floating point on the way.
fn window_of(text: &str) -> Result<(i64, Window)> {
    let event: BTreeMap<&str, &RawValue> = serde_json::from_str(text)?;
    let field =
        |name: &str| event.get(name).map(|value| value.get()).with_context(|| format!("no {name} in {text}"));
    let figure = |name: &str| units(field(name)?);
    let raw_data: Value = serde_json::from_str(field("raw_data")?)?;
    let window = Window {
        open: figure("price_open")?,
        high: figure("price_high")?,
        low: figure("price_low")?,
        close: figure("price_close")?,
        volume: figure("volume_sum")?,
        trades: raw_data["trades"].as_u64().context("trades")?,
    };
    assert_eq!(field("late")?, "0", "{text}");
    Ok((millis(field("window_start")?.trim_matches('"'))?, window))
}

/// `2024-08-08T23:54:15.000Z` of this one day as Unix milliseconds, and of the next.
fn millis(rfc3339: &str) -> Result<i64> {
    let days: i64 = if rfc3339.starts_with("2024-08-08T") { 19_943 } else { 19_944 };
    let number =
        |range: std::ops::Range<usize>| -> Result<i64> { Ok(rfc3339.get(range).context("short")?.parse()?) };
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Ok((days * 86_400 + seconds) * 1000)
}

#[tokio::test]
async fn every_window_of_a_capture_is_right_to_the_last_digit() -> Result<()> {
    let Some(capture) = captures::find(CAPTURE) else { return Ok(()) };
    let expected = windows(trades(&capture)?);
    let (_simulator, url) = simulator(&capture).await?;
    let bond = Bond::up(&["--venue-url", &format!("binance={url}")], &[("BOND_MAX_LAG_MS", "5000")]).await?;
    let created = bond.stream("BTC price on binance every 5s").await?;
    let mut socket = Socket::open(created["ws_url"].as_str().context("ws_url")?).await?;
    // The last two windows close by wall pace after the capture's end, or not at all while the lag is waited for.
    let closed = expected.len() - 2;
    for (start, window) in expected.iter().take(closed) {
        let event = socket.text().await?;
        assert_eq!(window_of(&event)?, (*start, window.clone()), "{event}");
    }
    Ok(())
}
