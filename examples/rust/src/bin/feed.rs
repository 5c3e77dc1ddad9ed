//! A feed: one socket for several venues, without creating a stream.
//!
//! `cargo run -p bond-examples --bin feed [COUNT]`

use anyhow::{Context, Result};
use bond_examples::{count, server};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = format!("{}/stream", server().replacen("http", "ws", 1));
    let (mut socket, _) = connect_async(url).await?;
    let wish = json!({
        "type": "subscribe", "channels": ["trades"], "symbols": ["BTC/USDT"], "exchanges": ["binance", "okx", "bybit"],
    });
    socket.send(Message::text(wish.to_string())).await?;
    let mut left = count(10)?;
    while left > 0 {
        let Message::Text(frame) = socket.next().await.context("the server has closed")?? else { continue };
        let event: Value = serde_json::from_str(&frame)?;
        match event["type"].as_str() {
            Some("trade") => {
                println!("{} {} {} {}", event["exchange"], event["symbol"], event["side"], event["price"]);
                left -= 1;
            }
            Some("error") => eprintln!("{} {}", event["code"], event["message"]),
            // Heartbeats come too.
            _ => {}
        }
    }
    Ok(())
}
