//! The control plane's use-cases, whoever hosts them: the REST router, who may call it, and who may connect.

pub mod admission;
pub mod auth;
pub mod authorizer;
pub mod jwt;
pub mod keys;
pub mod local;
pub mod paces;
pub mod problem;
pub mod refusals;
pub mod rest;
pub mod tokens;
