//! The fan-out as clients see it: real sockets over a log in memory.

mod control;
mod deflate;
mod delivery;
mod feeds;
pub(crate) mod floods;
mod health;
pub(crate) mod host;
mod lifecycle;
mod remote;
mod topics;
mod users;
