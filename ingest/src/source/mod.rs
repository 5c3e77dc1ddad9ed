//! Sources that are no venue: users' own WebSockets, and social posts.

pub mod guard;
mod mapping;
pub mod social;
pub mod websocket;
