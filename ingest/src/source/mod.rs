//! Sources that are no venue: users' own WebSockets, and social posts.

mod mapping;
pub mod social;
pub mod websocket;
