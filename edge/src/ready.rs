//! Telling that everything is served.

use std::io::{self, Write};
use std::path::Path;

/// Says so to people, and to scripts that wait for the file, which is there whole or not at all.
///
/// # Errors
/// Where the file cannot be written.
pub fn announce(file: Option<&Path>, banner: &str) -> io::Result<()> {
    // Whoever has read enough may have closed the pipe: what serves goes on all the same.
    let _ = io::stdout().write_all(banner.as_bytes());
    let Some(path) = file else { return Ok(()) };
    let draft = path.with_extension("new");
    std::fs::write(&draft, banner)?;
    std::fs::rename(draft, path)
}
