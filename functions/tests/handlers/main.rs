//! The functions as API Gateway and the relay call them: recorded events in, over ports in memory.

mod api;
mod connect;
mod disconnect;
mod fanout;
mod message;
mod support;
mod topics;
