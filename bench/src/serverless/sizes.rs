//! How large the functions' zips are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use bond_e2e::process::{binary, fresh_dir};

/// What packs a binary as it is deployed.
const PACKER: &str = "../scripts/packaging/zip_function.py";

/// Where `make package` leaves what it built for arm64.
const PACKAGED: &str = "../dist";

/// A function's zips, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Of the binary that was measured here.
    pub here: u64,
    /// As deployed, for arm64; `None` where `make package` has not been run.
    pub deployed: Option<u64>,
}

/// Packs the binary of a function.
///
/// # Errors
/// It cannot be packed.
pub fn measure(function: &str) -> Result<Sizes> {
    let zip = fresh_dir("zips")?.join(format!("{function}.zip"));
    let packed = Command::new(PACKER).arg(binary().with_file_name(function)).arg(&zip).status()?;
    ensure!(packed.success(), "{function} cannot be packed");
    let deployed: PathBuf = Path::new(PACKAGED).join(format!("{function}.zip"));
    let size = |path: &Path| path.metadata().map(|file| file.len());
    Ok(Sizes { here: size(&zip)?, deployed: size(&deployed).ok() })
}
