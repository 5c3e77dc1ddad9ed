//! Afterwards: what came, compared with what the simulator knows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bond_e2e::socket::Socket;
use bond_sim::{Market, Venue};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::watch::{PATIENCE, Watch, is_event};
use super::world::Site;

/// Between two looks at a book that changes all the time.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// How often a book is looked at before it counts as never the same.
const LOOKS: usize = 300;

/// Best first: price and size in the base currency.
type Side = Vec<(f64, f64)>;

/// A book's best 20 levels a side after the update of this id.
struct Book {
    id: u64,
    bids: Side,
    asks: Side,
}

impl Site {
    /// Whether a trade of this id, as the venue writes it, was ever sent.
    pub(super) fn has_sent_trade(&self, id: &str) -> bool {
        let stream = self.trades_stream();
        self.simulator.sent().iter().any(|frame| frame.stream == stream && frame.id == id)
    }

    fn sent_trades(&self) -> BTreeSet<String> {
        let stream = self.trades_stream();
        self.simulator
            .sent()
            .into_iter()
            .filter(|frame| frame.stream == stream)
            .map(|frame| frame.id)
            .collect()
    }
}

/// No trade came twice, none came that was not sent; and where trades are numbered, each number came or was told lost, not both.
pub(super) async fn audit_trades(site: &Site, watch: &Watch) -> Result<()> {
    let topic = site.topic("trades");
    let came = ids(watch, &topic);
    let distinct: BTreeSet<_> = came.iter().cloned().collect();
    ensure!(distinct.len() == came.len(), "{} trades came more than once", came.len() - distinct.len());
    let sent = site.sent_trades();
    let invented: Vec<_> = distinct.difference(&sent).collect();
    ensure!(invented.is_empty(), "never sent: {invented:?}");
    if site.venue != Venue::Binance {
        return Ok(());
    }
    let numbers: BTreeSet<u64> = distinct.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
    let (first, last) = (*numbers.first().context("no trade")?, *numbers.last().context("no trade")?);
    let missing: BTreeSet<u64> = (first..=last).filter(|number| !numbers.contains(number)).collect();
    ensure!(!missing.is_empty(), "the faults took no trade away");
    let mut mark = 0;
    let mut told = BTreeSet::new();
    while told != missing {
        let waits = format!("lost trades: {missing:?} are missing, {told:?} told");
        let (next, status) = watch
            .find(mark, &waits, PATIENCE, |m| m["topic"] == topic.as_str() && m["lost"].is_object())
            .await?;
        let bound = |name: &str| status["lost"][name].as_u64().context("a number");
        for number in bound("from")?..=bound("to")? {
            ensure!(number > last || missing.contains(&number), "{number} was told lost and came");
            ensure!(number > last || told.insert(number), "{number} was told lost twice");
        }
        mark = next;
    }
    Ok(())
}

fn ids(watch: &Watch, topic: &str) -> Vec<String> {
    let trades = watch.since(0).into_iter().filter(|m| is_event(m, topic));
    trades.map(|trade| trade["trade_id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// At an id that both have seen, the book that the client has is the simulator's.
pub(super) async fn audit_book(site: &Site, watch: &Watch) -> Result<()> {
    let topic = site.topic("orderbook");
    for _ in 0..LOOKS {
        let theirs = site.book().await?;
        let beyond = |m: &Value| is_event(m, &topic) && m["sequence"].as_u64() > Some(theirs.id);
        watch.find(0, &format!("{topic} beyond {}", theirs.id), PATIENCE, beyond).await?;
        if let Some(ours) = book_at(site, watch, &topic, theirs.id) {
            ensure!(
                same(&ours.bids, &theirs.bids),
                "bids at {}: {:?} not {:?}",
                theirs.id,
                ours.bids,
                theirs.bids
            );
            ensure!(
                same(&ours.asks, &theirs.asks),
                "asks at {}: {:?} not {:?}",
                theirs.id,
                ours.asks,
                theirs.asks
            );
            return Ok(());
        }
        sleep(LOOK_AGAIN).await;
    }
    bail!("{topic} and the simulator have no id in common")
}

/// The client's book after the update of this id. Binance's answers may end within an update, which says nothing of the book then.
fn book_at(site: &Site, watch: &Watch, topic: &str, id: u64) -> Option<Book> {
    let books = watch.since(0).into_iter().filter(|m| is_event(m, topic));
    let ours = books.filter(|m| m["sequence"].as_u64() <= Some(id)).last()?;
    let at = ours["sequence"].as_u64()?;
    if site.venue == Venue::Binance && at != id {
        return None;
    }
    Some(Book { id: at, bids: side(&ours["bids"], 1.0), asks: side(&ours["asks"], 1.0) })
}

fn same(ours: &Side, theirs: &Side) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
    let pairs = ours.iter().zip(theirs);
    ours.len() == theirs.len() && pairs.into_iter().all(|(a, b)| near(a.0, b.0) && near(a.1, b.1))
}

fn side(levels: &Value, unit: f64) -> Side {
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(f64::NAN);
    let levels = levels.as_array().map_or(&[][..], Vec::as_slice);
    levels.iter().take(20).map(|level| (number(&level[0]), number(&level[1]) * unit)).collect()
}

impl Site {
    /// The book of BTC as the venue tells it to somebody who has just come.
    async fn book(&self) -> Result<Book> {
        let market = if self.market == Market::Spot { "spot" } else { "linear" };
        match self.venue {
            Venue::Binance => self.book_by_rest().await,
            Venue::Okx => {
                let instrument = if self.market == Market::Spot { "BTC-USDT" } else { "BTC-USDT-SWAP" };
                let wish = json!({"op": "subscribe", "args": [{"channel": "books", "instId": instrument}]});
                self.book_by_socket("/ws/v5/public", &wish, ["seqId", "bids", "asks"]).await
            }
            Venue::Bybit => {
                let wish = json!({"op": "subscribe", "args": ["orderbook.200.BTCUSDT"]});
                self.book_by_socket(&format!("/v5/public/{market}"), &wish, ["u", "b", "a"]).await
            }
        }
    }

    async fn book_by_rest(&self) -> Result<Book> {
        let base = if self.market == Market::Spot { "/api/v3" } else { "/fapi/v1" };
        let url = format!("{}{base}/depth?symbol=BTCUSDT&limit=20", self.simulator.base_url());
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer: Value = client.get(url).send().await?.json().await?;
        self.read(&answer, ["lastUpdateId", "bids", "asks"])
    }

    async fn book_by_socket(&self, path: &str, wish: &Value, names: [&str; 3]) -> Result<Book> {
        let mut socket = Socket::open(&format!("ws://{}{path}", self.simulator.addr())).await?;
        socket.send(wish).await?;
        loop {
            let message = socket.event().await?;
            let is_snapshot = message["action"] == "snapshot" || message["type"] == "snapshot";
            let data = if message["data"].is_array() { &message["data"][0] } else { &message["data"] };
            if is_snapshot {
                return self.read(data, names);
            }
        }
    }

    fn read(&self, data: &Value, [id, bids, asks]: [&str; 3]) -> Result<Book> {
        // A contract of BTC-USDT-SWAP is 0.01 BTC.
        let contracts = (self.venue, self.market) == (Venue::Okx, Market::Perpetual);
        let unit = if contracts { 0.01 } else { 1.0 };
        let id = data[id].as_u64().with_context(|| format!("no {id} in {data}"))?;
        Ok(Book { id, bids: side(&data[bids], unit), asks: side(&data[asks], unit) })
    }
}

/// How many trades were sent in each window of so many ms, by the venue's own time and each counted once.
pub(super) fn sent_by_window(site: &Site, window_ms: i64) -> Result<BTreeMap<i64, u64>> {
    let mut seen = BTreeSet::new();
    let mut windows = BTreeMap::new();
    for frame in site.simulator.sent().into_iter().filter(|frame| frame.stream == site.trades_stream()) {
        if !seen.insert(frame.id) {
            continue;
        }
        let push: Value = serde_json::from_str(&frame.text)?;
        let data = if push["data"].is_array() { &push["data"][0] } else { &push };
        let time = &data[if site.venue == Venue::Okx { "ts" } else { "T" }];
        let ms = time.as_i64().or_else(|| time.as_str()?.parse().ok()).context("no time")?;
        *windows.entry(ms - ms.rem_euclid(window_ms)).or_default() += 1;
    }
    Ok(windows)
}
