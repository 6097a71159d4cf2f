//! How much of a device's memory is taken and how much is left: burn's runtimes of CUDA and Vulkan know what a card has, its
//! WGSL does not, and there the system tells.

use burn::tensor::Device;

use super::memory::{available_bytes, mib};
use crate::error::{Error, Result};

/// Bytes that this process has taken of a device's own memory, those that it keeps for later among them; `None` for the
/// processor.
pub fn taken_bytes(device: &Device) -> Option<u64> {
    device.memory_pool_usage().map(|usage| usage.bytes_reserved)
}

/// Bytes that this process can still have on a device: of a GPU with memory of its own what that has, less what the process
/// has [taken](taken_bytes); where a device shares the machine's, as the processor does, what is free there.
/// `None` where neither its driver nor the system tells. Opens the device.
pub fn left_bytes(device: &Device) -> Option<u64> {
    match of_its_own(device) {
        Some(bytes) => Some(bytes?.saturating_sub(taken_bytes(device).unwrap_or(0))),
        None => available_bytes(),
    }
}

/// Bytes that a device has of its own, none where nobody tells; `None` where it shares the machine's.
#[cfg(not(any(feature = "gpu", feature = "cuda")))]
fn of_its_own(_: &Device) -> Option<Option<u64>> {
    None
}

/// Bytes that a device has of its own, none where nobody tells; `None` where it shares the machine's.
#[cfg(any(feature = "gpu", feature = "cuda"))]
fn of_its_own(device: &Device) -> Option<Option<u64>> {
    use burn::backend::DispatchDevice;

    let device = device.clone().inner();
    let DispatchDevice::Cube(own) = device.as_dispatch() else { return None };
    let client = own.client();
    let properties = client.properties();
    // A driver that computes on the processor is no card.
    let card = properties.identity.physical.as_ref().filter(|_| !shares_the_machines(&device))?;
    let told = || {
        let address = card.pci_address?.to_string();
        from_linux(&address).or_else(|| from_nvidia(&address))
    };
    Some(properties.memory.max_memory().or_else(told))
}

/// Whether it is built into the processor.
#[cfg(feature = "gpu")]
fn shares_the_machines(device: &Device) -> bool {
    use burn::tensor::{DeviceKind, DeviceType};

    let devices = Device::enumerate(DeviceType::Wgpu).into_vec().len();
    (0..devices).any(|number| *device == Device::wgpu(DeviceKind::IntegratedGpu(number)))
}

#[cfg(all(feature = "cuda", not(feature = "gpu")))]
fn shares_the_machines(_: &Device) -> bool {
    false
}

/// As Linux' drivers of AMD have it, of the card at a PCI address: `0000:03:00.0`.
#[cfg(any(feature = "gpu", feature = "cuda"))]
fn from_linux(address: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/sys/bus/pci/devices/{address}/mem_info_vram_total")).ok()?;
    text.trim().parse().ok()
}

/// As the tool that comes with NVIDIA's driver has it.
#[cfg(any(feature = "gpu", feature = "cuda"))]
fn from_nvidia(address: &str) -> Option<u64> {
    let asked = ["--query-gpu=memory.total", "--format=csv,noheader,nounits", "--id", address];
    let output = std::process::Command::new("nvidia-smi").args(asked).output().ok()?;
    let mib: u64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    Some(mib << 20)
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
    fn the_processor_has_what_is_free_of_the_machines() {
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
