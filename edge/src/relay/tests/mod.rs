//! The relay over a log in memory, a fan-out function that fails as it is told to, and clients that check what they get.

mod control;
mod delivery;
mod failures;
mod feeds;
mod gateway;
mod host;
mod membership;
mod takeover;
mod topics;
