//! Telling that everything is served.

use std::io;
use std::path::Path;

/// Says so to people, and to scripts that wait for the file, which is there whole or not at all.
///
/// # Errors
/// Where the file cannot be written.
pub fn announce(file: Option<&Path>, banner: &str) -> io::Result<()> {
    print!("{banner}");
    let Some(path) = file else { return Ok(()) };
    let draft = path.with_extension("new");
    std::fs::write(&draft, banner)?;
    std::fs::rename(draft, path)
}
