//! The messages of a WebSocket beside events: what clients say, and what an edge answers and announces.

mod client;
pub mod envelope;
mod filter;
mod server;

pub use client::{
    ClientMessage, CorrelationId, MAX_LAG_LIMIT, MOST_REWIND, MessageError, Rate, Request, Subscribe,
    TopicForm, Unsubscribe,
};
pub use filter::MOST_TOLD;
pub use server::{ServerMessage, to_json};
