//! A first stream: a sentence becomes a URL, and the URL gives events.
//!
//! `cargo run -p bond-examples --bin first_stream [COUNT]`

use anyhow::{Context, Result};
use bond_examples::{count, create};
use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::connect_async;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let created = create(&reqwest::Client::new(), "BTC price + tweets every 1s").await?;
    let url = created["ws_url"].as_str().context("no ws_url")?;
    let (socket, _) = connect_async(url).await?;
    let mut frames = socket.take(count(5)?);
    while let Some(frame) = frames.next().await {
        let event: Value = serde_json::from_str(frame?.to_text()?)?;
        println!("{} {} {} {}", event["window_end"], event["symbol"], event["price_close"], event["tweets"]);
    }
    Ok(())
}
