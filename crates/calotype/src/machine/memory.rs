//! Memory of the machine, of this process and of a device, where the system or a driver tells.

use std::fs;

use burn::tensor::Device;

pub use super::device_memory::left_bytes;
use crate::error::{Error, Result};

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

/// Bytes that this process has taken of a device's own memory, those that it keeps for later among them; `None` for the
/// processor.
pub fn taken_bytes(device: &Device) -> Option<u64> {
    device.memory_pool_usage().map(|usage| usage.bytes_reserved)
}

/// Refuses what a device has no room for, where it is known how much is left there.
///
/// - `bytes`: how many more it is to hold.
/// - `what`: of what, `the model's weights`.
/// - `instead`: what else may be done, `--offload`.
///
/// # Errors
/// `Error::Argument` with both numbers, where there are fewer left.
pub fn require_room(device: &Device, bytes: u64, what: &str, instead: &str) -> Result<()> {
    refuse_more_than(left_bytes(device), bytes, what, instead)
}

fn refuse_more_than(left: Option<u64>, bytes: u64, what: &str, instead: &str) -> Result<()> {
    match left {
        Some(left) if bytes > left => {
            let expected = format!("{:.0} MiB of memory for {what}, or {instead}", mib(bytes).ceil());
            Err(Error::argument("device", expected, format!("{:.0} MiB that are left", mib(left).floor())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_what_is_free() {
        assert!(available_bytes().unwrap() > 1 << 20);
        assert_eq!(left_bytes(&Device::flex()).map(|bytes| bytes > 1 << 20), Some(true));
        assert_eq!(taken_bytes(&Device::flex()), None);
    }

    #[test]
    fn what_a_device_cannot_hold_is_refused_with_both_numbers_and_a_way_out() {
        let ask = |left| refuse_more_than(left, (3 << 30) + 1, "the model's weights", "`--offload`");
        assert!(ask(Some(4 << 30)).is_ok() && ask(None).is_ok());
        let error = ask(Some(2 << 30)).unwrap_err().to_string();
        let expected = "device: expected 3073 MiB of memory for the model's weights, or `--offload`, got 2048 MiB that \
                        are left";
        assert_eq!(error, expected);
    }
}
