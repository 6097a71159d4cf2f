//! ggml's types of tensors: plain numbers, or blocks of one kind.

use std::fmt;
use std::str::FromStr;

use super::block::BlockKind;
use crate::error::{Error, Result};
use crate::files::{Packing, Storage};

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// Each by itself.
    Plain(Storage),
    /// In blocks along its rows.
    Blocks(BlockKind),
}

impl TensorType {
    /// Those that are written, from the most bits to the fewest.
    pub const WRITTEN: [Self; 8] = [
        Self::Plain(Storage::F32),
        Self::Plain(Storage::F16),
        Self::Plain(Storage::Bf16),
        Self::Blocks(BlockKind::Q8_0),
        Self::Blocks(BlockKind::Q6K),
        Self::Blocks(BlockKind::Q5K),
        Self::Blocks(BlockKind::Q4K),
        Self::Blocks(BlockKind::Q4_0),
    ];

    /// ggml's number.
    pub fn id(self) -> u32 {
        match self {
            Self::Plain(Storage::F32) => 0,
            Self::Plain(Storage::F16) => 1,
            Self::Plain(Storage::Bf16) => 30,
            Self::Blocks(kind) => kind.id(),
        }
    }

    /// The type of ggml's number; `None` for those that are not read.
    pub fn of_id(id: u32) -> Option<Self> {
        let plain = Storage::ALL.map(Self::Plain).into_iter();
        plain.chain(BlockKind::ALL.map(Self::Blocks)).find(|one| one.id() == id)
    }

    /// Bytes of a tensor of `shape`; `None` if its rows are no whole number of blocks, or it is larger than memory can
    /// be.
    pub fn size(self, shape: &[usize]) -> Option<usize> {
        let numbers = shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size))?;
        match self {
            Self::Plain(storage) => numbers.checked_mul(storage.size()),
            Self::Blocks(kind) => {
                let row = shape.last().copied().unwrap_or(1);
                row.is_multiple_of(kind.numbers()).then(|| Packing::Blocks(kind).size(numbers))?
            }
        }
    }
}

/// As it is asked for: `q4_k`.
impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(storage) => f.pad(storage.name()),
            Self::Blocks(kind) => f.pad(&kind.name().to_lowercase()),
        }
    }
}

impl FromStr for TensorType {
    type Err = Error;

    /// One of those that are written.
    fn from_str(text: &str) -> Result<Self> {
        let names = Self::WRITTEN.map(|one| one.to_string());
        let found = Self::WRITTEN.into_iter().zip(&names).find(|(_, name)| *name == text);
        found
            .map(|(one, _)| one)
            .ok_or_else(|| crate::named::unknown("dtype", &names.each_ref().map(String::as_str), text))
    }
}
