//! What this process writes is for its owner alone.

use std::io;
use std::path::Path;

/// Has the system give nobody else a right to the files and directories that are made from here on.
pub fn by_default() {
    #[cfg(unix)]
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Makes the data directory where it is missing, and takes from others the rights to what an earlier version made there.
///
/// A directory that is not ours alone, as it holds other things too, keeps its rights.
///
/// # Errors
/// Where the system refuses.
pub fn data_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    #[cfg(unix)]
    tighten(path)?;
    Ok(())
}

/// What is in a data directory.
#[cfg(unix)]
const OURS: [&str; 9] = [
    "streams.redb",
    "keys.json",
    "keys.json.new",
    "secret",
    "jwt-secret",
    "log",
    "ready",
    "bond.pid",
    "bond.log",
];

#[cfg(unix)]
fn tighten(path: &Path) -> io::Result<()> {
    let mut is_ours_alone = true;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(|name| OURS.contains(&name));
        is_ours_alone &= is_ours;
        if is_ours && entry.file_type()?.is_file() {
            restrict(&entry.path())?;
        }
    }
    if is_ours_alone { restrict(path) } else { Ok(()) }
}

#[cfg(unix)]
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut rights = std::fs::metadata(path)?.permissions();
    if rights.mode() & 0o077 == 0 {
        return Ok(());
    }
    rights.set_mode(rights.mode() & 0o700);
    std::fs::set_permissions(path, rights)
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("metadata").permissions().mode() & 0o777
    }

    fn open_to_all(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("rights");
    }

    #[test]
    fn what_an_earlier_version_made_is_taken_from_others() {
        let dir = TempDir::new().expect("directory");
        let registry = dir.path().join("streams.redb");
        fs::write(&registry, "").expect("written");
        open_to_all(&registry, 0o644);
        open_to_all(dir.path(), 0o755);
        data_dir(dir.path()).expect("tightened");
        assert_eq!((mode(&registry), mode(dir.path())), (0o600, 0o700));
    }

    #[test]
    fn a_directory_with_other_things_in_it_keeps_its_rights() {
        let dir = TempDir::new().expect("directory");
        let (ours, other) = (dir.path().join("keys.json"), dir.path().join("photo"));
        for path in [&ours, &other] {
            fs::write(path, "").expect("written");
            open_to_all(path, 0o644);
        }
        open_to_all(dir.path(), 0o755);
        data_dir(dir.path()).expect("tightened");
        assert_eq!((mode(&ours), mode(&other), mode(dir.path())), (0o600, 0o644, 0o755));
    }
}
