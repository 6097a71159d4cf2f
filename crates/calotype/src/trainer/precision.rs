//! Precision of a training's products, for as long as it lasts.

use burn::tensor::Device;
use calotype_kernels::use_bf16;

use super::recipe::Precision;
use crate::error::{Error, Result};

/// Products are in the precision that was asked for until this is dropped.
#[must_use]
pub(super) struct Held(Precision);

/// Chooses the precision of products; f32 again afterwards.
///
/// # Errors
/// `Error::Argument` for bf16 on another device, or a processor that does not have it.
pub(super) fn hold(precision: Precision, device: &Device) -> Result<Held> {
    if precision == Precision::Bf16 {
        let refuse = |expected: &str| Err(Error::argument("`training.precision`", expected, "bf16"));
        if *device != Device::flex() {
            return refuse("f32: other devices than the CPU have no kernels of ours");
        }
        if !use_bf16(true) {
            return refuse("f32: this processor has no AVX512-BF16");
        }
    }
    Ok(Held(precision))
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.0 == Precision::Bf16 {
            use_bf16(false);
        }
    }
}
