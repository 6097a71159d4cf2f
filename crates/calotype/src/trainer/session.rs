//! Where and how a part is trained.

use std::path::PathBuf;

use burn::tensor::Device;

use crate::progress::Progress;
use crate::ranks::Ranks;
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
    /// The processes that train as one; how many there are changes the time, not the result.
    pub ranks: &'a dyn Ranks,
}

impl Session<'_> {
    /// Where this rank keeps latents and text features: a cache belongs to one process.
    pub(super) fn own_cache(&self) -> PathBuf {
        match self.ranks.rank() {
            0 => self.run.cache(),
            rank => self.run.cache().join(format!("rank-{rank}")),
        }
    }
}
