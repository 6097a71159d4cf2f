//! Whether a training fits the memory of a GPU: what it will put there is counted before the first step, what a step takes
//! is measured by the check.

use burn::module::Module;
use calotype_kernels::has_kernels;

use super::learner::stays_on_device;
use super::objective::Objective;
use super::optimizer::Optimizer;
use super::session::Session;
use crate::error::Result;
use crate::machine::memory::{left_bytes, mib, require_room, taken_bytes};

/// Refuses a training that a GPU has no room for, beside the networks that are there already: without activations, and so
/// only one that cannot fit at all.
///
/// # Errors
/// `Error::Argument`.
pub(super) fn require<N: Module + Sync, O: Objective<N>>(
    objective: &O,
    optimizer: &Optimizer,
    session: &Session,
) -> Result<()> {
    if has_kernels(session.device) {
        return Ok(());
    }
    let stays = stays_on_device(objective, optimizer, session);
    let bytes = bytes_to_come([optimizer.numbers(), weights(optimizer)], stays);
    let instead = "`--device cpu`, a smaller network, or fewer averages";
    require_room(session.device, bytes as u64, "the optimiser's state and gradients", instead)
}

/// Of an optimiser of so many `numbers`, `weights` among them, that [stays](stays_on_device) on the device: a copy of all,
/// which takes the network's place, and gradients take the place of the network's old weights. Of another the gradients.
fn bytes_to_come([numbers, weights]: [usize; 2], stays: bool) -> usize {
    4 * if stays { numbers } else { weights }
}

fn weights(optimizer: &Optimizer) -> usize {
    optimizer.values().map(|(_, _, values)| values.len()).sum()
}

/// A GPU's memory around the check before a training.
pub(super) struct DeviceRoom {
    /// What the process can have of it in all; where somebody tells.
    has: Option<u64>,
}

impl DeviceRoom {
    /// Before the check has computed anything; `None` of the processor.
    pub fn before(session: &Session) -> Option<Self> {
        let taken = taken_bytes(session.device)?;
        Some(Self { has: left_bytes(session.device).map(|left| left + taken) })
    }

    /// About how many bytes a step takes, and a warning where that is more than there is: what the check has taken, which
    /// are the networks, gradients and activations of one share after the other, and what `optimizer` will keep there.
    pub fn after<N: Module + Sync, O: Objective<N>>(
        &self,
        objective: &O,
        optimizer: &Optimizer,
        session: &Session,
    ) -> (u64, Option<String>) {
        let stays = stays_on_device(objective, optimizer, session);
        let kept = if stays { 4 * (optimizer.numbers() - weights(optimizer)) } else { 0 };
        let needs = taken_bytes(session.device).unwrap_or(0) + kept as u64;
        (needs, self.has.and_then(|has| too_much(needs, has)))
    }

    /// Bytes that the process can have of it in all; where somebody tells.
    pub fn has(&self) -> Option<u64> {
        self.has
    }
}

fn too_much(needs: u64, has: u64) -> Option<String> {
    (needs > has).then(|| {
        format!(
            "a step takes about {:.0} MiB of the device, which has {:.0}: take a smaller `batch_size`, more `parts`, or for a \
             U-Net `gradient_checkpointing`",
            mib(needs),
            mib(has)
        )
    })
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
        assert_eq!(too_much(5 << 20, 5 << 20), None);
        let warning = too_much(6 << 20, 5 << 20).unwrap();
        assert!(
            warning.starts_with("a step takes about 6 MiB of the device, which has 5: take"),
            "{warning}"
        );
    }
}
