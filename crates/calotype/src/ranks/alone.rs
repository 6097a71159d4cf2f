//! One process, which has nobody to ask.

use calotype_kernels::memory::Buffer;

use super::Ranks;
use crate::error::Result;

/// One process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn all_to_all(&self, send: Buffer, _: &[usize], _: &[usize]) -> Result<Buffer> {
        Ok(send)
    }

    fn all_gather(&self, all: Buffer, _: &[usize]) -> Result<Buffer> {
        Ok(all)
    }

    fn all_gather_bytes(&self, send: Vec<u8>, _: &[usize]) -> Result<Vec<u8>> {
        Ok(send)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        Ok(bytes)
    }
}
