//! Simulated venues: Binance, OKX and Bybit as a market-data client sees them, over recorded frames or a made-up market.
//!
//! A simulator is one HTTP server on loopback with the WebSocket and REST addresses of one venue and market. It is as strict as
//! the venue is, and unkind on demand: see [`Fault`]. Everything it sends is simulated and says so where the protocol leaves room:
//! in the HTTP header `server: bond-sim`, and in a field `simulated` of instrument lists.
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

#![cfg_attr(
    test,
    allow(clippy::panic, reason = "a test says what went wrong by panicking")
)]

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
