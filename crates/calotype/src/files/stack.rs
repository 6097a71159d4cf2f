//! A tensor of a file that is written: rows of others, one below the other, in the type that it is written in.

use std::borrow::Cow;
use std::fmt::Display;
use std::ops::Range;

use rayon::prelude::*;

use super::gguf::{BlockKind, TensorType};
use crate::error::{Error, Result};
use crate::files::{Encoding, Packing, Storage, StoredTensor};

/// Numbers that are in memory at a time, about: whole rows.
const PIECE: usize = 1 << 20;
/// Numbers that one thread packs at a time, a multiple of every block.
const OF_THREAD: usize = 1 << 14;
/// From here on f16 rounds to infinity.
const TOO_LARGE: f32 = 65_520.0;

/// A tensor that is put together when its turn comes, a few rows at a time.
#[derive(Debug)]
pub struct Stack<'a> {
    /// Its name in the file.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// How its numbers are written.
    pub kind: TensorType,
    /// One place after the other: a tensor, and the rows of it.
    parts: Vec<(&'a StoredTensor, Range<usize>)>,
}

impl<'a> Stack<'a> {
    /// One tensor, as it is stored; packed numbers in f32.
    pub fn whole(name: impl Into<String>, tensor: &'a StoredTensor) -> Self {
        let rows = tensor.shape().first().copied().unwrap_or(1);
        Self {
            name: name.into(),
            shape: tensor.shape().to_vec(),
            kind: TensorType::Plain(tensor.storage()),
            parts: vec![(tensor, 0..rows)],
        }
    }

    /// Rows of tensors, in the dtype of the first; `None` for rows that differ in length, or that are not there.
    pub fn of_rows(name: impl Into<String>, parts: Vec<(&'a StoredTensor, Range<usize>)>) -> Option<Self> {
        let (first, _) = parts.first()?;
        let row = first.shape().get(1..)?;
        let fits = |(tensor, rows): &(&StoredTensor, Range<usize>)| {
            tensor.shape().get(1..) == Some(row) && rows.start <= rows.end && rows.end <= tensor.shape()[0]
        };
        if !parts.iter().all(fits) {
            return None;
        }
        let rows = parts.iter().map(|(_, rows)| rows.len()).sum();
        let shape = std::iter::once(rows).chain(row.iter().copied()).collect();
        Some(Self { name: name.into(), shape, kind: TensorType::Plain(first.storage()), parts })
    }

    /// How all of its rows are stored where they come from; `None` if in several ways.
    pub fn encoding(&self) -> Option<Encoding> {
        let mut all = self.parts.iter().map(|(tensor, _)| tensor.encoding());
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// The same of what packed numbers become.
    pub fn storage(&self) -> Option<Storage> {
        let mut all = self.parts.iter().map(|(tensor, _)| tensor.storage());
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    /// Hands over its bytes in pieces, and lets go of what was read for them.
    ///
    /// # Errors
    /// Those of `put`; `Error::Data` for a number that the type does not hold; `Error::Argument` for blocks that are only
    /// read.
    pub(super) fn write(&self, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        for (tensor, rows) in &self.parts {
            let row: usize = tensor.shape().iter().skip(1).product();
            let at_once = if tensor.has_whole_rows() { PIECE / row.max(1) } else { rows.len() }.max(1);
            for begin in rows.clone().step_by(at_once) {
                let piece = tensor.rows(begin..rows.end.min(begin + at_once));
                // A single number has no rows.
                let piece = piece.unwrap_or_else(|| (*tensor).clone());
                put(&self.encoded(&piece)?)?;
                piece.release();
            }
        }
        Ok(())
    }

    fn encoded<'p>(&self, piece: &'p StoredTensor) -> Result<Cow<'p, [u8]>> {
        match (self.kind, piece.encoding()) {
            (TensorType::Plain(storage), Encoding::Plain(own)) if storage == own => Ok(piece.bytes()),
            (TensorType::Plain(storage), _) => {
                let values = piece.to_f32();
                if storage == Storage::F16 {
                    self.check(&values)?;
                }
                let numbers =
                    StoredTensor::from_f32(vec![values.len()], values).expect("as many as there are");
                Ok(Cow::Owned(numbers.stored_as(storage).bytes().into_owned()))
            }
            (TensorType::Blocks(kind), Encoding::Packed(Packing::Blocks(own))) if kind == own => {
                Ok(Cow::Borrowed(piece.stored()))
            }
            (TensorType::Blocks(kind), _) => self.packed(kind, &piece.to_f32()).map(Cow::Owned),
        }
    }

    fn packed(&self, kind: BlockKind, values: &[f32]) -> Result<Vec<u8>> {
        let quantise = kind.quantiser().ok_or_else(|| {
            Error::argument(
                "dtype",
                join(TensorType::WRITTEN),
                format!("{}, which is only read", kind.name()),
            )
        })?;
        self.check(values)?;
        let (numbers, bytes) = (kind.numbers(), kind.bytes());
        let mut packed = vec![0; values.len() / numbers * bytes];
        (values.par_chunks(OF_THREAD).zip(packed.par_chunks_mut(OF_THREAD / numbers * bytes)))
            .for_each(|(values, packed)| quantise(values, packed));
        Ok(packed)
    }

    /// Refuses what f16 does not hold: it is what blocks have for factors, too.
    fn check(&self, values: &[f32]) -> Result<()> {
        let holds = |x: &f32| x.abs() < TOO_LARGE;
        // All of them, without a branch for each, before the first that is wrong is looked for.
        let wrong = |piece: &[f32]| {
            let all = piece.iter().fold(true, |all, x| all & holds(x));
            if all { None } else { piece.iter().copied().find(|x| !holds(x)) }
        };
        match values.par_chunks(OF_THREAD).find_map_first(wrong) {
            None => Ok(()),
            Some(number) => {
                let expected =
                    format!("numbers of at most 65504, as {} holds (bf16 and f32 hold more)", self.kind);
                Err(Error::data(format!("tensor `{}`", self.name), expected, number))
            }
        }
    }
}

fn join<T: Display>(all: impl IntoIterator<Item = T>) -> String {
    all.into_iter().map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}
