//! Tests of the CPU that are tests of a GPU, too.

#[cfg(feature = "gpu")]
use burn::tensor::Device;

/// Each function, which takes a device, as tests: of the CPU, and in builds with the feature `gpu` of the first GPU, by
/// the names `FUNCTION::cpu` and `FUNCTION::gpu`.
macro_rules! on_each_device {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            #[test]
            fn cpu() {
                super::$test(&burn::tensor::Device::flex());
            }

            #[cfg(feature = "gpu")]
            #[test]
            fn gpu() {
                crate::devices::on_gpu(super::$test);
            }
        })+
    };
}
pub(crate) use on_each_device;

/// Runs `test` on the first GPU that a driver of this machine offers, be it one that computes on the processor. Where
/// there is none it says so.
#[cfg(feature = "gpu")]
pub fn on_gpu(test: impl FnOnce(&Device)) {
    use calotype::machine::device_name::{DeviceKind, DeviceName};

    match (DeviceName { kind: DeviceKind::Gpu, number: 0 }).open() {
        Ok(device) => test(&device),
        Err(error) => eprintln!("skipped: {error}"),
    }
}
