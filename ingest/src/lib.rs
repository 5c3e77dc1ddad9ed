//! The long-running side of Bond: exchange connectors, order books, windows, and the single writer of the event log.

pub mod book;
pub mod engine;
pub mod leader;
pub mod net;
pub mod normalize;
pub mod publish;
pub mod report;
pub mod rest;
pub mod session;
pub mod source;
pub mod venue;
