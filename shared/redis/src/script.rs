//! Lua scripts, sent as digests where the server knows them.

use std::sync::OnceLock;

use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::interfaces::LuaInterface;
use fred::types::{FromValue, MultipleKeys, Value};
use sha1::{Digest, Sha1};

use crate::client::Redis;

/// A script and its digest. Declare it as a `static`, so that the digest is taken once.
pub(crate) struct Script {
    text: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, digest: OnceLock::new() }
    }

    /// Runs it on the server that has `keys`.
    pub(crate) async fn run<R: FromValue>(
        &self,
        redis: &Redis,
        keys: impl Into<MultipleKeys>,
        args: Vec<Value>,
    ) -> Result<R, Error> {
        self.run_on(redis.client(), keys.into(), args).await
    }

    async fn run_on<R: FromValue>(
        &self,
        client: &WithOptions<Client>,
        keys: MultipleKeys,
        args: Vec<Value>,
    ) -> Result<R, Error> {
        let answer = client.evalsha(self.digest(), keys.clone(), args.clone()).await;
        match answer {
            // A server that was restarted, or that another took over from, has no scripts; EVAL makes it remember this one.
            Err(error) if error.details().starts_with("NOSCRIPT") => client.eval(self.text, keys, args).await,
            answer => answer,
        }
    }

    fn digest(&self) -> &str {
        self.digest.get_or_init(|| {
            Sha1::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
        })
    }
}
