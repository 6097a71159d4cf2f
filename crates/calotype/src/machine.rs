//! What work runs on, and who watches it.

pub mod device_memory;
pub mod device_name;
pub mod memory;

use burn::tensor::Device;

use crate::progress::Progress;

/// What work runs on, and who watches it.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// Where the networks run.
    pub device: &'a Device,
    /// Threads on the processor; results do not depend on it.
    pub threads: usize,
    /// Watches, and may stop the work.
    pub progress: &'a dyn Progress,
}
