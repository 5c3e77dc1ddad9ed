//! Panics planted by tests: whoever is named in the file that `BOND_PLANT_FILE` names panics, once.

use std::io::Write;
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

/// Tells tests that there is somebody of this name: a line in the file beside the other one.
pub(crate) fn tell(how: &str, name: &str) {
    let Some(path) = file() else { return };
    let beside = std::fs::File::options().create(true).append(true).open(path.with_extension("names"));
    // Whoever misses a name fails by that.
    let _ = beside.and_then(|mut file| file.write_all(format!("{how} {name}\n").as_bytes()));
}

/// `task`, until it is named.
pub(crate) async fn around<F: Future>(name: SmolStr, task: F) -> F::Output {
    if file().is_none() {
        return task.await;
    }
    // Who is done at once is to look as well.
    tokio::select! {
        biased;
        never = looks(&name) => match never {},
        output = task => output,
    }
}

async fn looks(name: &str) -> std::convert::Infallible {
    loop {
        check(name);
        tokio::time::sleep(LOOK).await;
    }
}
