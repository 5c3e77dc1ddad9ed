//! Panics planted by tests: whoever is named in the file that `BOND_PLANT_FILE` names panics, once.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use smol_str::SmolStr;

/// How often a task looks whether it is to panic.
const LOOK: Duration = Duration::from_millis(20);

#[allow(clippy::disallowed_methods, reason = "tests alone have this feature, and tell by the environment")]
fn file() -> Option<&'static PathBuf> {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    FILE.get_or_init(|| std::env::var_os("BOND_PLANT_FILE").map(PathBuf::from)).as_ref()
}

/// Panics where `name` is the one that the file names. The file is gone afterwards.
#[allow(clippy::panic, reason = "it is what was asked for")]
pub(crate) fn check(name: &str) {
    let Some(path) = file() else { return };
    let is_named = std::fs::read_to_string(path).is_ok_and(|text| text.trim() == name);
    if is_named && std::fs::remove_file(path).is_ok() {
        panic!("planted in {name}");
    }
}

/// `task`, until it is named.
pub(crate) async fn around<F: Future>(name: SmolStr, task: F) -> F::Output {
    if file().is_none() {
        return task.await;
    }
    tokio::select! {
        output = task => output,
        never = looks(&name) => match never {},
    }
}

async fn looks(name: &str) -> std::convert::Infallible {
    loop {
        tokio::time::sleep(LOOK).await;
        check(name);
    }
}
