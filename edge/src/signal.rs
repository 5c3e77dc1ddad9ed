//! Why a process stops: it is asked to by a signal, or something has ended that it cannot go on without.

use std::time::Duration;

use bond_supervise::{Death, Supervisor};
use tokio::signal::unix::{SignalKind, signal};

/// How long a process may take to say goodbye once something has died in it.
const LAST_WORDS: Duration = Duration::from_millis(800);

/// Waits until a signal asks to stop.
///
/// # Errors
/// [`Death`] where something that must run has ended instead. The process then ends within 800 ms, whatever else it waits for.
pub async fn stop_or_death(supervisor: &Supervisor) -> Result<(), Death> {
    let death = tokio::select! {
        () = stop_requested() => return Ok(()),
        death = supervisor.died() => death,
    };
    // What died may hold what the goodbye waits for. A process without a thread to spare ends at once.
    let ends = || {
        std::thread::sleep(LAST_WORDS);
        std::process::exit(1);
    };
    if std::thread::Builder::new().name("last-words".to_owned()).spawn(ends).is_err() {
        std::process::exit(1);
    }
    Err(death)
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
