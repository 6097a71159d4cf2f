//! The devices of this machine, by the names that `--device` takes.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use serde::Serialize;

use super::device_memory::left_bytes;
use super::memory::mib;
use crate::error::{Error, Result};
use crate::named::named_enum;

named_enum! {
    /// What networks can run on.
    #[derive(Hash)]
    pub enum DeviceKind: "device" {
        Cpu = "cpu": "The processor",
        Gpu = "gpu": "A GPU by Vulkan, Metal or DirectX 12 (cargo feature `gpu`)",
        Cuda = "cuda": "An NVIDIA GPU by CUDA (cargo feature `cuda`)",
    }
}

impl DeviceKind {
    /// Those that this build has.
    pub fn of_this_build() -> Vec<Self> {
        let here = |kind: &Self| match kind {
            Self::Cpu => true,
            Self::Gpu => cfg!(feature = "gpu"),
            Self::Cuda => cfg!(feature = "cuda"),
        };
        Self::ALL.into_iter().filter(here).collect()
    }

    /// The devices of this kind, the best first: discrete GPUs, then integrated and virtual ones, then drivers that
    /// compute on the processor.
    fn devices(self) -> Vec<Device> {
        match self {
            Self::Cpu => vec![Device::flex()],
            Self::Gpu => gpus(),
            Self::Cuda => cuda_devices(),
        }
    }
}

#[cfg(feature = "gpu")]
fn gpus() -> Vec<Device> {
    use burn::tensor::{DeviceKind, DeviceType};

    let found = Device::enumerate(DeviceType::Wgpu).into_vec();
    let numbered = |kind: fn(usize) -> DeviceKind| (0..found.len()).map(kind);
    let by_rank = numbered(DeviceKind::DiscreteGpu)
        .chain(numbered(DeviceKind::IntegratedGpu))
        .chain(numbered(DeviceKind::VirtualGpu))
        .chain([DeviceKind::Cpu]);
    let known: Vec<Device> = by_rank.map(Device::wgpu).filter(|device| found.contains(device)).collect();
    let others: Vec<Device> = found.into_iter().filter(|device| !known.contains(device)).collect();
    [known, others].concat()
}

#[cfg(not(feature = "gpu"))]
fn gpus() -> Vec<Device> {
    vec![]
}

#[cfg(feature = "cuda")]
fn cuda_devices() -> Vec<Device> {
    Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec()
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> Vec<Device> {
    vec![]
}

/// A device by the name that users write: `cpu`, `gpu`, the second GPU `gpu:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceName {
    /// What it is.
    pub kind: DeviceKind,
    /// Which of its kind, from 0.
    pub number: usize,
}

impl DeviceName {
    /// The processor.
    pub const CPU: Self = Self { kind: DeviceKind::Cpu, number: 0 };

    /// The device.
    ///
    /// # Errors
    /// `Error::Argument` naming what there is, where the build or the machine lacks it, or its driver is known to fail.
    pub fn open(self) -> Result<Device> {
        let kind = self.kind.name();
        if !DeviceKind::of_this_build().contains(&self.kind) {
            let expected = format!("cpu, or a build with `cargo build --release --features {kind}`");
            return Err(Error::argument("--device", expected, self));
        }
        let devices = self.kind.devices();
        let Some(device) = devices.get(self.number) else {
            let expected = if devices.is_empty() {
                format!("cpu, since no driver of this machine offers a {kind}")
            } else {
                let names: Vec<String> = found(self.kind).iter().map(FoundDevice::to_string).collect();
                format!("one of cpu, {}", names.join(", "))
            };
            return Err(Error::argument("--device", expected, self));
        };
        refuse_known_fault(self, device)?;
        Ok(device.clone())
    }
}

/// burn's SPIR-V needs a driver that lavapipe is not: it crashes while a pipeline is compiled (docs/gpu.md).
#[cfg(feature = "vulkan")]
fn refuse_known_fault(name: DeviceName, device: &Device) -> Result<()> {
    use burn::tensor::DeviceKind as WgpuKind;

    if name.kind == DeviceKind::Gpu && *device == Device::wgpu(WgpuKind::Cpu) {
        let expected = "a GPU, or a build with `--features gpu` in place of `vulkan`: the driver that computes on the \
                        processor crashes on SPIR-V";
        return Err(Error::argument("--device", expected, hardware(device).unwrap_or_default()));
    }
    Ok(())
}

#[cfg(not(feature = "vulkan"))]
fn refuse_known_fault(_: DeviceName, _: &Device) -> Result<()> {
    Ok(())
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            0 => f.pad(self.kind.name()),
            number => f.pad(&format!("{}:{number}", self.kind)),
        }
    }
}

impl FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, number) = match text.split_once(':') {
            None => (text, Some(0)),
            Some((kind, number)) => (kind, number.parse().ok()),
        };
        let name = number.map(|number| Ok(Self { kind: kind.parse()?, number }));
        match name.transpose()? {
            Some(name) if name.kind != DeviceKind::Cpu || text == "cpu" => Ok(name),
            _ => {
                Err(Error::argument("device", "cpu, or a kind and a number as in gpu:1", format!("`{text}`")))
            }
        }
    }
}

/// A device that this build finds on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct FoundDevice {
    /// As `--device` takes it.
    pub name: String,
    /// What its driver calls it; nothing for the processor.
    pub hardware: Option<String>,
    /// What is left of its memory, in units of 2²⁰ bytes; nothing for the processor, and where nobody tells.
    pub memory_left_mib: Option<f64>,
}

impl fmt::Display for FoundDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.hardware, self.memory_left_mib) {
            (Some(hardware), Some(memory)) => write!(f, "{} ({hardware}, {memory:.0} MiB left)", self.name),
            (Some(hardware), None) => write!(f, "{} ({hardware})", self.name),
            (None, _) => f.write_str(&self.name),
        }
    }
}

/// Every device that this build finds; opens each.
pub fn found_devices() -> Vec<FoundDevice> {
    DeviceKind::of_this_build().into_iter().flat_map(found).collect()
}

fn found(kind: DeviceKind) -> Vec<FoundDevice> {
    let named = |(number, device): (usize, Device)| FoundDevice {
        name: DeviceName { kind, number }.to_string(),
        hardware: hardware(&device),
        memory_left_mib: left_bytes(&device).filter(|_| kind != DeviceKind::Cpu).map(mib),
    };
    kind.devices().into_iter().enumerate().map(named).collect()
}

/// What its driver calls a device; nothing for the processor. Opens it.
#[cfg(any(feature = "gpu", feature = "cuda"))]
pub fn hardware(device: &Device) -> Option<String> {
    device.identity().map(|identity| identity.name)
}

/// What its driver calls a device; nothing for the processor.
#[cfg(not(any(feature = "gpu", feature = "cuda")))]
pub fn hardware(_: &Device) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_devices_and_back() {
        for (text, kind, number) in [
            ("cpu", DeviceKind::Cpu, 0),
            ("gpu", DeviceKind::Gpu, 0),
            ("gpu:1", DeviceKind::Gpu, 1),
            ("cuda:12", DeviceKind::Cuda, 12),
        ] {
            let name: DeviceName = text.parse().unwrap();
            assert_eq!(name, DeviceName { kind, number });
            assert_eq!(name.to_string(), text);
        }
        assert_eq!("gpu:0".parse::<DeviceName>().unwrap().to_string(), "gpu");
    }

    #[test]
    fn other_names_are_refused_with_what_there_is() {
        for text in ["cpu:0", "cpu:1", "gpu:", "gpu:-1", "gpu:x", "gpu:1:2"] {
            let error = text.parse::<DeviceName>().unwrap_err().to_string();
            assert!(error.contains("gpu:1") && error.contains(text), "{error}");
        }
        let error = "metal".parse::<DeviceName>().unwrap_err().to_string();
        assert_eq!(error, "device: expected one of cpu, gpu, cuda, got `metal`");
    }

    #[test]
    fn a_device_that_is_not_there_is_refused() {
        assert_eq!(DeviceName::CPU.open().unwrap(), Device::flex());
        assert_eq!(found_devices()[0].to_string(), "cpu");
        let error = "gpu:999".parse::<DeviceName>().unwrap().open().unwrap_err().to_string();
        let expected = if cfg!(feature = "gpu") { "cpu" } else { "--features gpu" };
        assert!(error.starts_with("--device: ") && error.contains(expected), "{error}");
    }
}
