//! Sources that are no venue: users' own WebSockets, and social posts.

pub mod guard;

pub mod social;
