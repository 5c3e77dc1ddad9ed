//! Resident memory of a process.

use anyhow::{Context, Result};

/// Resident set of the process in bytes (`VmRSS` of `/proc/{pid}/status`). Socket buffers of the kernel are not in it.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kilobytes = status.lines().find_map(resident_kilobytes);
    Ok(kilobytes.with_context(|| format!("no VmRSS in {path}"))? * 1024)
}

fn resident_kilobytes(line: &str) -> Option<u64> {
    line.strip_prefix("VmRSS:")?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_resident_line_alone() {
        assert_eq!(resident_kilobytes("VmRSS:\t    5124 kB"), Some(5124));
        assert_eq!(resident_kilobytes("VmHWM:\t    9999 kB"), None);
    }

    #[test]
    fn a_live_process_has_memory() {
        assert!(resident_bytes(std::process::id()).expect("own status") > 0);
    }
}
