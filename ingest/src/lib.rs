//! The long-running side of Bond: exchange connectors, order books, windows, and the single writer of the event log.

pub mod report;
pub mod venue;
