//! How much of a device's memory can still be had: burn's runtimes of CUDA and Vulkan know what a card has, its WGSL does
//! not, and there the system tells.

use burn::tensor::Device;

use super::memory::{available_bytes, taken_bytes};

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
