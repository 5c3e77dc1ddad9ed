//! The session loop against simulated venues over real sockets: what goes wrong is told, and ends in recovery without a restart.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

mod books;
mod recovery;
mod rig;
mod subscriptions;
