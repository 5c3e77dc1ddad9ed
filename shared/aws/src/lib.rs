//! AWS adapters of the ports: the only crate that talks to AWS.
//!
//! DynamoDB and Secrets Manager are reached through AWS's SDK. Lambda's one call and `@connections` are signed HTTP requests of our
//! own ([`ApiGateway`], [`LambdaInvoker`]): there a request must not be repeated behind our back, what was never sent must be
//! told from what may have been, and a post must be cheap: about 27 µs of CPU, where the SDK's takes 100 (300 bytes, 100 at once, on
//! loopback without TLS; `examples/posts.rs` measures it). No type of the SDK shows in this crate's interface.

mod clients;
mod connections;
mod gateway;
mod lambda;
mod secrets;
mod signed;
mod streams;
mod table;

pub use self::clients::Aws;
pub use self::connections::DynamoConnections;
pub use self::gateway::{ApiGateway, MESSAGE_BYTES};
pub use self::lambda::LambdaInvoker;
pub use self::secrets::{SecretError, Secrets};
pub use self::signed::ClientError;
pub use self::streams::DynamoStreams;

#[cfg(test)]
mod tests;
