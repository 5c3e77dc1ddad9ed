//! Keys that change while a process runs: what Secrets Manager holds is read again and again.

use std::sync::Arc;
use std::time::Duration;

use bond_aws::Secrets;
use bond_core::api_key::{Holder, KeyFile};
use bond_core::key_source::KeySourceError;
use bond_core::time::{Clock, UnixNanos};
use bond_edge::relay::Revoked;
use parking_lot::RwLock;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the keys that sign tokens are read again: two are good at a time, so that a rotation can wait.
pub(crate) const TOKEN_KEYS_EVERY: Duration = Duration::from_secs(60);

/// Reads with `read` every so often, and hands what was found to `found`, until `stop`. Where nothing can be read, what was found before
/// stays good.
pub(crate) async fn follow<T, R>(
    every: Duration,
    stop: CancellationToken,
    read: impl Fn() -> R,
    found: impl Fn(T),
) where
    R: Future<Output = Result<T, KeySourceError>>,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reading = async {
        loop {
            ticks.tick().await;
            match read().await {
                Ok(keys) => found(keys),
                Err(error) => tracing::error!("{error}; those read before stay good"),
            }
        }
    };
    stop.run_until_cancelled(reading).await;
}

/// The secret of API keys.
#[derive(Clone)]
pub(crate) struct KeySecret {
    pub(crate) secrets: Secrets,
    /// Its name or ARN.
    pub(crate) name: String,
    /// How often it is read again.
    pub(crate) every: Duration,
}

impl KeySecret {
    /// Has `known` be what it says, until `stop`.
    pub(crate) async fn follow(self, known: Arc<KnownKeys>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let read = || async {
            let asked_at = clock.now();
            let keys = self.secrets.api_keys(&self.name).await;
            keys.map(|keys| (asked_at, keys)).map_err(|error| KeySourceError(error.to_string()))
        };
        follow(self.every, stop, read, |(asked_at, keys)| known.note(asked_at, keys)).await;
    }
}

/// How far API Gateway's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(2);

/// The API keys as they were last read, for connections that others have let in.
#[derive(Default)]
pub(crate) struct KnownKeys(RwLock<Option<(UnixNanos, KeyFile)>>);

impl KnownKeys {
    /// Notes what was asked for at `asked_at`.
    pub(crate) fn note(&self, asked_at: UnixNanos, keys: KeyFile) {
        *self.0.write() = Some((asked_at, keys));
    }
}

impl Revoked for KnownKeys {
    fn is_revoked(&self, holder: &Holder, opened_at: UnixNanos) -> bool {
        // A key that was made since we looked opens connections before we know of it.
        let known = self.0.read();
        known.as_ref().is_some_and(|(read_at, keys)| *read_at > opened_at.plus(SKEW) && !keys.has(holder))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use parking_lot::Mutex;

    use bond_core::api_key::ApiKey;

    use super::*;

    #[test]
    fn a_key_is_revoked_once_a_later_reading_lacks_it() {
        let at = UnixNanos::from_secs;
        let (known, key) = (KnownKeys::default(), ApiKey::from_random([7; 32]));
        let mut file = KeyFile::new([1; 32]);
        file.add(&key, "ann", vec![], at(1)).expect("added");
        let holder = file.keys()[0].holder();
        assert!(!known.is_revoked(&holder, at(10)), "nothing is known yet");
        known.note(at(20), file);
        assert!(!known.is_revoked(&holder, at(10)));
        known.note(at(30), KeyFile::new([1; 32]));
        assert!(known.is_revoked(&holder, at(10)));
        assert!(!known.is_revoked(&holder, at(29)), "the key may have been made meanwhile");
        known.note(at(33), KeyFile::new([1; 32]));
        assert!(known.is_revoked(&holder, at(29)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_is_found_in_time_and_a_failure_changes_nothing() {
        let (stop, asked, found) = (CancellationToken::new(), AtomicU32::new(0), Mutex::new(Vec::new()));
        let read = || {
            let n = asked.fetch_add(1, Ordering::Relaxed);
            async move { if n == 1 { Err(KeySourceError("down".to_owned())) } else { Ok(n) } }
        };
        let following = follow(Duration::from_secs(3), stop.clone(), read, |n| found.lock().push(n));
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            stop.cancel();
        };
        tokio::join!(following, stopping);
        assert_eq!(*found.lock(), [0, 2, 3]);
    }
}
