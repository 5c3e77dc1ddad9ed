//! Lua scripts. Only the digest is sent if the server knows the script already.

use std::sync::OnceLock;

use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::types::{FromValue, MultipleKeys, Value};
use sha1::{Digest, Sha1};

use crate::client::{Redis, Verb, call};

const EVALSHA: Verb = Verb::new("EVALSHA", FIRST_KEY);
const EVAL: Verb = Verb::new("EVAL", FIRST_KEY);

/// As these, for scripts that write nothing: whoever may only read the keys may run them (Redis 7).
const EVALSHA_RO: Verb = Verb::new("EVALSHA_RO", FIRST_KEY);
const EVAL_RO: Verb = Verb::new("EVAL_RO", FIRST_KEY);

/// The index of the first key among the arguments: after the script and the number of keys.
const FIRST_KEY: usize = 2;

/// A script and its digest. Declare it as a `static`, so that the digest is taken once.
pub(crate) struct Script {
    text: &'static str,
    digest: OnceLock<String>,
    writes: bool,
}

impl Script {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, digest: OnceLock::new(), writes: true }
    }

    /// A script that writes nothing.
    pub(crate) const fn reading(text: &'static str) -> Self {
        Self { text, digest: OnceLock::new(), writes: false }
    }

    /// Runs the script on the server that has the key.
    pub(crate) async fn run<R: FromValue>(
        &self,
        redis: &Redis,
        keys: impl Into<MultipleKeys>,
        args: Vec<Value>,
    ) -> Result<R, Error> {
        self.run_on(redis.client(), keys.into(), args).await?.convert()
    }

    /// Runs the script at most once: it is not sent again if the connection breaks.
    pub(crate) async fn run_once<R: FromValue>(
        &self,
        redis: &Redis,
        keys: impl Into<MultipleKeys>,
        args: Vec<Value>,
    ) -> Result<R, Error> {
        self.run_on(redis.strict(), keys.into(), args).await?.convert()
    }

    async fn run_on(
        &self,
        client: &WithOptions<Client>,
        keys: MultipleKeys,
        args: Vec<Value>,
    ) -> Result<Value, Error> {
        let keys = keys.inner();
        let count = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        let mut all = Vec::with_capacity(FIRST_KEY + keys.len() + args.len());
        all.extend([self.digest().into(), count.into()]);
        all.extend(keys.into_iter().map(Value::from));
        all.extend(args);
        let (by_digest, by_text) = if self.writes { (EVALSHA, EVAL) } else { (EVALSHA_RO, EVAL_RO) };
        match call(client, by_digest, all.clone()).await {
            // A server has no scripts after a restart or a failover. EVAL makes it remember this one.
            Err(error) if error.details().starts_with("NOSCRIPT") => {
                all[0] = Value::from_static_str(self.text);
                call(client, by_text, all).await
            }
            answer => answer,
        }
    }

    fn digest(&self) -> &str {
        self.digest.get_or_init(|| {
            Sha1::digest(self.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
        })
    }
}
