//! The dedicated edge: REST and WebSocket from local state, and the parts of the `bond` command.

pub mod store;
