//! Weights that wait in the host's memory for a device that has no room for all of them.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};

/// The value of a parameter on `device`, where its layer's input is. Of a network that was read into the host's memory it is
/// a copy, which goes when the layer is done: so a network of any size computes on any device, a layer at a time. As it is
/// stored where the device knows such numbers, in f32 elsewhere.
pub(super) fn value_on<const D: usize>(parameter: &Param<Tensor<D>>, device: &Device) -> Tensor<D> {
    let value = parameter.val();
    if value.device().inner() == device.clone().inner() {
        return value;
    }
    let dtype = if device.supports_dtype(value.dtype()) { value.dtype() } else { DType::F32 };
    value.cast(dtype).to_device(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_same_device_nothing_is_copied_or_rounded() {
        let device = Device::flex();
        let value = Tensor::<2>::from_data([[1.0f32, 2.0], [3.0, 4.5]], &device).cast(DType::F16);
        let parameter = Param::from_tensor(value.clone());
        for device in [device.clone(), device.autodiff()] {
            let got = value_on(&parameter, &device);
            assert_eq!((got.dtype(), got.into_data()), (DType::F16, value.clone().into_data()));
        }
    }
}
