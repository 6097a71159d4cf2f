//! How much memory a GPU has: burn's runtimes of CUDA, Metal and Vulkan know, its WGSL does not, and there Linux tells.

use burn::tensor::Device;

use super::memory::available_bytes;

/// Bytes that a device can hold: all that a GPU has of its own, and what is free of the machine's where it shares that, as
/// the processor does. `None` where neither its driver nor the system tells.
#[cfg(not(any(feature = "gpu", feature = "cuda")))]
pub fn device_bytes(_: &Device) -> Option<u64> {
    available_bytes()
}

/// Bytes that a device can hold: all that a GPU has of its own, and what is free of the machine's where it shares that, as
/// the processor does. `None` where neither its driver nor the system tells.
#[cfg(any(feature = "gpu", feature = "cuda"))]
pub fn device_bytes(device: &Device) -> Option<u64> {
    use burn::backend::DispatchDevice;

    let device = device.clone().inner();
    let DispatchDevice::Cube(own) = device.as_dispatch() else { return available_bytes() };
    let client = own.client();
    let properties = client.properties();
    if let Some(bytes) = properties.memory.max_memory() {
        return Some(bytes);
    }
    match &properties.identity.physical {
        Some(card) if !shares_the_machines(&device) => {
            let address = card.pci_address?.to_string();
            from_linux(&address).or_else(|| from_nvidia(&address))
        }
        // A driver that computes on the processor is no card.
        _ => available_bytes(),
    }
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

/// As the kernel's drivers of AMD have it, of the card at a PCI address: `0000:03:00.0`.
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
