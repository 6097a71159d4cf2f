//! Where and how a part is trained.

use burn::tensor::Device;

use crate::progress::Progress;
use crate::runs::folder::RunFolder;

/// Where and how a part is trained.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// The run's folder.
    pub run: &'a RunFolder,
    /// Threads; changes the time, not the result.
    pub threads: usize,
    /// Threads that prepare batches ahead; changes the time, not the result.
    pub workers: usize,
    /// Go on from the part's last checkpoint, which must be there ([`RunFolder::has_begun`]); otherwise begin, where
    /// none may be.
    pub resume: bool,
    /// Check a training that begins before its first step: [`preflight`](super::preflight).
    pub preflight: bool,
    /// Where the networks run.
    pub device: &'a Device,
    /// Watches, and may stop the loop.
    pub progress: &'a dyn Progress,
}
