//! Delivery: from a topic's log to the clients that follow it, whatever carries the bytes to them.
//!
//! One task fills a [`ring`] of ready frames for every followed topic from the log's tail ([`hub`]). A client is a cursor into each ring that
//! it follows ([`follow`]), or a [`feed`] of many. Workers with sockets (`crate::ws`) and the relay's lanes (`crate::relay`) are woken by a
//! [`mailbox`] when a ring has news.
//!
//! A ring holds WebSocket frames, header and all, laid back to back: a worker writes a run of them to a socket in one call, and nothing is
//! copied or encoded for one client. The relay, which has no socket, takes the headers off.

pub(crate) mod cursor;
pub(crate) mod feed;
pub(crate) mod follow;
pub(crate) mod followers;
pub(crate) mod frame;
mod frame_buffer;
mod history;
pub(crate) mod hub;
pub(crate) mod leases;
pub(crate) mod mailbox;
pub(crate) mod pool;
pub(crate) mod ring;
pub(crate) mod roster;

/// What a client is told that is disconnected because it takes nothing.
pub(crate) const TOO_SLOW: &str = "too slow: connect again with a narrower filter or a coarser interval";
