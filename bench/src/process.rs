//! Memory and processor time, from `/proc`.

use anyhow::{Context, Result};

/// Resident set of the process in bytes (`VmRSS` of `/proc/{pid}/status`). Socket buffers of the kernel are not in it.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kilobytes = status.lines().find_map(resident_kilobytes);
    Ok(kilobytes.with_context(|| format!("no VmRSS in {path}"))? * 1024)
}

/// Processor seconds the process has used, in user code and in the kernel, to a hundredth.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(cpu_ticks(&stat).with_context(|| format!("no times in {path}"))? as f64 / TICKS_PER_SECOND)
}

/// Processor seconds that all processes together have used, and those the host took away.
pub fn machine_cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    Ok(machine_ticks(&stat).context("no times in /proc/stat")? as f64 / TICKS_PER_SECOND)
}

/// Children of a process that run this program, whose name is cut to 15 bytes by the kernel.
pub fn children(parent: u32, program: &str) -> Result<Vec<u32>> {
    let processes = std::fs::read_dir("/proc").context("cannot read /proc")?;
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_one = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        name_and_parent(&stat) == Some((program, parent))
    };
    Ok(pids.filter(is_one).collect())
}

/// Fields 2 and 4 (`comm`, without its brackets, and `ppid`).
fn name_and_parent(stat: &str) -> Option<(&str, u32)> {
    let (before, after) = stat.rsplit_once(") ")?;
    Some((before.split_once('(')?.1, after.split(' ').nth(1)?.parse().ok()?))
}

/// Of the first line (`cpu user nice system idle iowait irq softirq steal`), user, nice, system and steal: interrupts
/// belong to no process.
fn machine_ticks(stat: &str) -> Option<u64> {
    let ticks: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).flat_map(str::parse).collect();
    match ticks[..] {
        [user, nice, system, _, _, _, _, steal, ..] => Some(user + nice + system + steal),
        _ => None,
    }
}

/// `USER_HZ`, which Linux shows to user space as 100 on every architecture Bond runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields 14 and 15 (`utime`, `stime`), counted after the name, which may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = stat.rsplit_once(") ")?.1;
    let mut times = after_name.split(' ').skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

fn resident_kilobytes(line: &str) -> Option<u64> {
    line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok()
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
    fn user_and_kernel_time_are_added() {
        let stat = "42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_ticks(stat), Some(200));
    }

    #[test]
    fn a_name_may_hold_brackets() {
        assert_eq!(name_and_parent("42 (a (b) c) S 7 2 3"), Some(("a (b) c", 7)));
    }

    #[test]
    fn idle_time_and_interrupts_are_left_out() {
        assert_eq!(machine_ticks("cpu  1 2 4 1000 1000 1000 1000 8 0 0\ncpu0 9 9 9"), Some(15));
    }

    #[test]
    fn a_live_process_has_memory() {
        assert!(resident_bytes(std::process::id()).expect("own status") > 0);
    }
}
