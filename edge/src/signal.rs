//! Why a process stops: it is asked to by a signal, or something has ended that it cannot go on without.

use std::time::Duration;

use bond_supervise::{Death, Supervisor};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// How long a process takes at least to say goodbye once something has died in it: until then whoever asks `/ready` is told of it.
const LEAST_WORDS: Duration = Duration::from_millis(250);

/// How long it may take at most.
const LAST_WORDS: Duration = Duration::from_millis(600);

/// A process that stops, and why.
#[derive(Debug)]
#[must_use = "whether something has died is known at the end"]
pub struct Stopping {
    death: Option<Death>,
    not_before: Instant,
}

impl Stopping {
    /// Waits until the process may end: at once where it was asked to, else when 250 ms have passed since the death.
    ///
    /// # Errors
    /// The [`Death`].
    pub async fn end(self) -> Result<(), Death> {
        let Some(death) = self.death else { return Ok(()) };
        sleep_until(self.not_before).await;
        Err(death)
    }
}

/// Waits until a signal asks to stop, or something has ended that must run. In the second case the process ends within 600 ms, whatever
/// else it waits for.
pub async fn stop_or_death(supervisor: &Supervisor) -> Stopping {
    let death = tokio::select! {
        () = stop_requested() => None,
        death = supervisor.died() => Some(death),
    };
    if death.is_some() {
        end_by_itself();
    }
    tracing::info!("stopping");
    Stopping { death, not_before: Instant::now() + LEAST_WORDS }
}

/// What died may hold what the goodbye waits for. A process without a thread to spare ends at once.
fn end_by_itself() {
    let ends = || {
        std::thread::sleep(LAST_WORDS);
        std::process::exit(1);
    };
    #[expect(clippy::disallowed_methods, reason = "nothing outlives it")]
    if std::thread::Builder::new().name("last-words".to_owned()).spawn(ends).is_err() {
        std::process::exit(1);
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn stop_requested() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; end this process with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
