//! Sources other than venues: users' own WebSockets, and social posts.

mod mapping;
pub mod social;
pub mod websocket;
