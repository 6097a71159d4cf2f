//! Memory of the machine and of this process, where Linux tells.

use std::fs;

/// Bytes that can be had without swapping; `None` where the system does not tell.
pub fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(1024 * line.trim().trim_end_matches(" kB").parse::<u64>().ok()?)
}

/// The largest resident set of this process, where Linux tells.
pub fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().trim_end_matches(" kB").parse::<u64>().ok()?)
}

/// Lets [`peak_bytes`] begin anew at what the resident set is now. Whether the system does so.
pub fn forget_peak() -> bool {
    // proc_pid_clear_refs(5): 5 resets VmHWM.
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// In units of 2²⁰.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn linux_tells_what_is_free() {
        assert!(available_bytes().unwrap() > 1 << 20);
    }
}
