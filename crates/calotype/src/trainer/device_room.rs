//! Whether a training fits the memory of a GPU: what it will put there is counted before the first step, what a step takes
//! is measured by the check.

use burn::tensor::Device;
use calotype_kernels::has_kernels;

use super::optimizer::Optimizer;
use crate::error::Result;
use crate::machine::device_memory::{left_bytes, require_room, taken_bytes};
use crate::machine::memory::mib;

/// Refuses a training that a GPU has no room for, beside the networks that are there already: without activations, and so
/// only one that cannot fit at all.
///
/// - `stays`: whether it [stays on the device](super::learner::stays_on_device).
///
/// # Errors
/// `Error::Argument`.
pub(super) fn require(optimizer: &Optimizer, stays: bool, device: &Device) -> Result<()> {
    if has_kernels(device) {
        return Ok(());
    }
    let bytes = bytes_to_come([optimizer.numbers(), optimizer.weights()], stays);
    let instead = "`--device cpu`, a smaller network, or fewer averages";
    require_room(device, bytes as u64, "the optimiser's state and gradients", instead)
}

/// Of an optimiser of so many `numbers`, `weights` among them, that stays on the device: a copy of all, which takes the
/// network's place, and gradients take the place of the network's old weights. Of another the gradients.
fn bytes_to_come([numbers, weights]: [usize; 2], stays: bool) -> usize {
    4 * if stays { numbers } else { weights }
}

/// Bytes of a GPU's memory that this process can have in all; `None` of the processor, and where nobody tells.
pub(super) fn all_bytes(device: &Device) -> Option<u64> {
    Some(taken_bytes(device)? + left_bytes(device)?)
}

/// About how many bytes of a GPU's memory a step takes, when the check has computed one: what that has taken, which are the
/// networks, gradients and activations, and the moments and averages of a training that `stays`. `None` of the processor.
pub(super) fn bytes_of_a_step(optimizer: &Optimizer, stays: bool, device: &Device) -> Option<u64> {
    let kept = if stays { 4 * (optimizer.numbers() - optimizer.weights()) } else { 0 };
    Some(taken_bytes(device)? + kept as u64)
}

/// What to say of a step that takes more than there is.
pub(super) fn doubt(takes: Option<u64>, all: Option<u64>) -> Option<String> {
    let (takes, all) = takes.zip(all).filter(|(takes, all)| takes > all)?;
    Some(format!(
        "a step takes about {:.0} MiB of the device, which has {:.0}: take a smaller `batch_size`, more `parts`, or for a \
         U-Net `gradient_checkpointing`",
        mib(takes),
        mib(all)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_beside_the_network_is_counted_once() {
        // AdamW with one average: a weight, two moments and an average of each of 10 parameters.
        assert_eq!(bytes_to_come([40, 10], true), 160);
        assert_eq!(bytes_to_come([40, 10], false), 40);
    }

    #[test]
    fn a_step_beyond_the_device_is_a_warning_with_a_way_out() {
        for [takes, all] in [[Some(5 << 20), Some(5 << 20)], [None, Some(1)], [Some(1), None]] {
            assert_eq!(doubt(takes, all), None);
        }
        let warning = doubt(Some(6 << 20), Some(5 << 20)).unwrap();
        assert!(
            warning.starts_with("a step takes about 6 MiB of the device, which has 5: take"),
            "{warning}"
        );
    }
}
