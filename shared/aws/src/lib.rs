//! AWS adapters of the ports: the only crate that talks to AWS.
//!
//! DynamoDB, Secrets Manager and what of `@connections` is rare are reached through AWS's SDK. Posts ([`ApiGateway`] says why) and
//! Lambda's one call ([`LambdaInvoker`]) are signed HTTP requests of our own: there what was never sent must be told from what may
//! have been. No type of the SDK shows in this crate's interface.

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
pub use self::secrets::{KeySecrets, SecretError, Secrets};
pub use self::signed::ClientError;
pub use self::streams::DynamoStreams;

#[cfg(test)]
mod tests;
