//! What the end-to-end tests share: a `bond` process of one's own, and clients that know the wire contract alone.

pub mod api;
pub mod captures;
pub mod cloud;
pub mod emulator;
pub mod gateway;
pub mod host;
pub mod numbers;
pub mod plant;
pub mod process;
pub mod redis;
mod roles;
pub mod socket;
