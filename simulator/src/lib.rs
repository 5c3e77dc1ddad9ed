//! Simulated venues: Binance, OKX and Bybit as a market-data client sees them, over recorded frames or a made-up market.
//!
//! A simulator is one HTTP server on loopback with the WebSocket and REST addresses of one venue and market. It is as strict as
//! the venue is, and unkind on demand: see [`Fault`]. Everything it sends is simulated and says so where the protocol leaves room:
//! in the HTTP header `server: bond-sim`, and in a field `simulated` of instrument lists.
//!
//! | venue | WebSocket | streams | REST |
//! |---|---|---|---|
//! | Binance spot | `/ws`, `/ws/…`, `/stream?streams=…` | `trade`, `aggTrade`, `bookTicker`, `depth[@100ms]`, `depth<5,10,20>[@100ms]`, `ticker`, `miniTicker` | `/api/v3/` `ping`, `time`, `exchangeInfo`, `depth` |
//! | Binance USD-M | `/public/…` and `/market/…` | `depth[@100ms,@500ms]`, `depth<5,10,20>`, `bookTicker`; `aggTrade`, `markPrice[@1s]`, `forceOrder`, `ticker`, `miniTicker` | `/fapi/v1/` likewise |
//! | OKX | `/ws/v5/public` | `trades`, `tickers`, `books`, `books5`, `bbo-tbt`, `funding-rate`, `mark-price`, `open-interest`, `liquidation-orders` | `/api/v5/` `public/time`, `public/instruments`, `market/books` |
//! | Bybit | `/v5/public/spot` or `/v5/public/linear` | `orderbook.<1,50,200,1000>`, `publicTrade`, `tickers`, `allLiquidation` | `/v5/market/` `time`, `instruments-info`, `orderbook` |
//!
//! The seeded market follows one latent price per asset ([`LatentPrice`]), a function of seed and wall time: simulators with one
//! seed agree on it, and each venue stays within a few basis points. Within a venue trades print at the touch and take from the
//! book what they say, best prices are those of the book, and deltas turn a snapshot into the book. A day's high, low and volume
//! count from the start of the simulator.
//!
//! A capture begins after the first subscription and keeps its own times. Of an OKX or Bybit capture a late subscriber gets no
//! snapshot; of a Binance capture REST answers the recorded snapshot, carried forward by what has been replayed.
//!
//! It shares no code with the rest of Bond, so that a misread field cannot be misread alike on both sides.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use bond_sim::{Config, Market, Venue, serve};
//!
//! let simulator = serve(Config::seeded(Venue::Binance, Market::Spot, 42, 50.0)).await?;
//! println!("{}", simulator.base_url());
//! simulator.inject("drop:trade:1/100".parse()?);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::panic, reason = "a test says what went wrong by panicking"))]

mod capture;
mod clock;
mod config;
mod fault;
mod frame;
mod http;
mod hub;
mod journal;
mod market;
mod rest;
mod seeded;
mod server;
mod session;
mod source;
mod venue;

pub use config::{Config, Feed, Market, Venue};
pub use fault::{Count, Effect, Fault, FaultId, Filter, ParseFaultError};
pub use frame::Class;
pub use hub::SentFrame;
pub use journal::{Entry, Journal, Stats, StreamStats};
pub use market::LatentPrice;
pub use server::{Simulator, serve};
