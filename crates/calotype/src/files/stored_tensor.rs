//! A tensor as a weight file stores it: f32, half as long, or packed in fewer bits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use burn::tensor::{Bytes, DType, Device, Tensor, TensorData, bf16, f16};
use calotype_kernels::has_kernels;
use calotype_kernels::mapped::MappedFile;
use calotype_kernels::quantised::QuantisedMatrix;
use rayon::prelude::*;

use super::low_rank::LowRank;
use super::packing::Packing;
use crate::named::named_enum;

/// Numbers that are looked at together.
const PIECE: usize = 1 << 16;

named_enum! {
    /// How the numbers of weights may be stored.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Storage: "dtype" {
        /// 32 bits.
        F32 = "f32",
        /// IEEE 754 binary16: 11 significant bits, largest number 65,504.
        F16 = "f16",
        /// The upper half of an f32: 8 significant bits, f32's range.
        Bf16 = "bf16",
    }
}

impl Storage {
    /// burn's name.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    /// PyTorch's name.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Bytes of a number.
    pub fn size(self) -> usize {
        self.dtype().size()
    }
}

/// Shape and bytes, often in a mapped file: nothing is read, and nothing unpacked, before somebody looks.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    shape: Vec<usize>,
    encoding: Encoding,
    bytes: Bytes,
    /// Where the bytes may lie.
    file: Option<MappedFile>,
    /// What is added to packed numbers, one after the other.
    added: Vec<LowRank>,
}

/// What the bytes of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Encoding {
    /// Numbers.
    Plain(Storage),
    /// Numbers in fewer bits.
    Packed(Packing),
}

impl Encoding {
    /// Bytes of so many numbers; `None` if there cannot be so many.
    fn size(self, numbers: usize) -> Option<usize> {
        match self {
            Self::Plain(storage) => numbers.checked_mul(storage.size()),
            Self::Packed(packing) => packing.size(numbers),
        }
    }
}

impl StoredTensor {
    /// `bytes` are the numbers row by row, in the machine's order; `None` unless there are as many as the shape
    /// has places.
    pub fn new(shape: Vec<usize>, storage: Storage, bytes: Bytes) -> Option<Self> {
        Self::encoded(shape, Encoding::Plain(storage), bytes)
    }

    /// The same of numbers that are packed, block by block in the order of the places.
    pub fn packed(shape: Vec<usize>, packing: Packing, bytes: Bytes) -> Option<Self> {
        Self::encoded(shape, Encoding::Packed(packing), bytes)
    }

    fn encoded(shape: Vec<usize>, encoding: Encoding, bytes: Bytes) -> Option<Self> {
        let numbers = shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size))?;
        (encoding.size(numbers) == Some(bytes.len())).then_some(Self {
            shape,
            encoding,
            bytes,
            file: None,
            added: vec![],
        })
    }

    /// The same as a part of a mapped file, whose memory can be [released](StoredTensor::release).
    pub(super) fn of_file(self, file: &MappedFile) -> Self {
        Self { file: Some(file.clone()), ..self }
    }

    /// Lets go of the memory that the bytes take if they lie in a mapped file: [`MappedFile::release`].
    pub fn release(&self) {
        if let Some(file) = &self.file {
            file.release(&self.bytes);
        }
    }

    /// A copy of `bytes`, aligned; `None` as for [`StoredTensor::new`].
    pub fn copied(shape: Vec<usize>, storage: Storage, bytes: &[u8]) -> Option<Self> {
        let bytes = match storage {
            Storage::F32 => Bytes::from_elems(
                bytes.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)).collect::<Vec<_>>(),
            ),
            Storage::F16 | Storage::Bf16 => Bytes::from_elems(
                bytes.as_chunks::<2>().0.iter().map(|b| u16::from_ne_bytes(*b)).collect::<Vec<_>>(),
            ),
        };
        Self::new(shape, storage, bytes)
    }

    /// Of numbers in memory; `None` unless there are as many as the shape has places.
    pub fn from_f32(shape: Vec<usize>, values: Vec<f32>) -> Option<Self> {
        Self::new(shape, Storage::F32, Bytes::from_elems(values))
    }

    /// PyTorch's shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The same with `sum` added to its numbers, which stay packed; `None` unless it is a packed matrix of as many rows and
    /// columns, whose rows are whole blocks.
    pub fn with_sum(mut self, sum: LowRank) -> Option<Self> {
        let fits = self.is_packed() && self.shape == sum.shape() && self.has_whole_rows();
        self.added.push(sum);
        fits.then_some(self)
    }

    /// What its bytes are, without what [is added](StoredTensor::with_sum).
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Its bytes as they are, packed or not, without what [is added](StoredTensor::with_sum).
    pub fn stored(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether each of its rows is a whole number of bytes and blocks.
    pub(super) fn has_whole_rows(&self) -> bool {
        self.shape.get(1..).is_none_or(|rest| self.encoding.size(rest.iter().product()).is_some())
    }

    /// How the numbers are stored; of packed ones, what they become.
    pub fn storage(&self) -> Storage {
        match self.encoding {
            Encoding::Plain(storage) => storage,
            Encoding::Packed(_) => Storage::F32,
        }
    }

    /// Whether the numbers are packed in fewer bits than a [`Storage`] has.
    pub fn is_packed(&self) -> bool {
        matches!(self.encoding, Encoding::Packed(_))
    }

    /// The numbers as [`StoredTensor::storage`] has them: those of the file, or a copy of unpacked ones.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self.encoding {
            Encoding::Plain(_) => Cow::Borrowed(&self.bytes),
            Encoding::Packed(_) => {
                Cow::Owned(self.to_f32().iter().flat_map(|number| number.to_ne_bytes()).collect())
            }
        }
    }

    /// How many [`StoredTensor::bytes`] there are, without a look at them.
    pub fn byte_count(&self) -> usize {
        self.shape.iter().product::<usize>() * self.storage().size()
    }

    /// The same with all numbers times `factor`; `None` unless the numbers are fp8.
    pub fn scaled(self, factor: f32) -> Option<Self> {
        match self.encoding {
            Encoding::Packed(Packing::Fp8 { format, scale }) => {
                let encoding = Encoding::Packed(Packing::Fp8 { format, scale: scale * factor });
                Some(Self { encoding, ..self })
            }
            _ => None,
        }
    }

    /// The numbers, row by row.
    pub fn to_f32(&self) -> Vec<f32> {
        let half = |number: fn([u8; 2]) -> f32| {
            self.bytes.par_chunks_exact(2).map(|b| number([b[0], b[1]])).collect()
        };
        match self.encoding {
            Encoding::Plain(Storage::F32) => (self.bytes.par_chunks_exact(4))
                .map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Encoding::Plain(Storage::F16) => half(|b| f16::from_ne_bytes(b).to_f32()),
            Encoding::Plain(Storage::Bf16) => half(|b| bf16::from_ne_bytes(b).to_f32()),
            Encoding::Packed(packing) => {
                let mut numbers = packing.unpacked(&self.bytes);
                for sum in &self.added {
                    let [_, columns] = sum.shape();
                    let rows = numbers.par_chunks_mut(columns).enumerate();
                    rows.for_each(|(row, numbers)| sum.add(row, 0, numbers));
                }
                numbers
            }
        }
    }

    /// The same numbers in another way, rounded to the nearest where it has fewer bits.
    pub fn stored_as(self, storage: Storage) -> Self {
        if self.encoding == Encoding::Plain(storage) {
            return self;
        }
        let values = self.to_f32();
        let bytes = match storage {
            Storage::F32 => Bytes::from_elems(values),
            Storage::F16 => {
                Bytes::from_elems(values.par_iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>())
            }
            Storage::Bf16 => {
                Bytes::from_elems(values.par_iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>())
            }
        };
        Self { bytes, encoding: Encoding::Plain(storage), shape: self.shape, file: None, added: vec![] }
    }

    /// The same numbers under another shape of as many places; `None` for any other.
    pub fn reshaped(self, shape: Vec<usize>) -> Option<Self> {
        if !self.added.is_empty() && self.shape != shape {
            let storage = self.storage();
            return self.stored_as(storage).reshaped(shape);
        }
        let (file, added) = (self.file, self.added);
        Self::encoded(shape, self.encoding, self.bytes).map(|tensor| Self { file, added, ..tensor })
    }

    /// Some of the rows, without a copy where they lie in a mapped file; `None` for rows that it does not have. Packed
    /// ones stay so where a row is a whole number of blocks.
    pub fn rows(&self, range: Range<usize>) -> Option<Self> {
        let [rows, rest @ ..] = &self.shape[..] else { return None };
        if range.start > range.end || range.end > *rows {
            return None;
        }
        let Some(row) = self.encoding.size(rest.iter().product()) else {
            return self.clone().stored_as(self.storage()).rows(range);
        };
        let shape = std::iter::once(range.len()).chain(rest.iter().copied()).collect();
        let (first, end) = (range.start * row, range.end * row);
        let added = self.added.iter().map(|sum| sum.rows(range.clone())).collect::<Option<Vec<_>>>()?;
        let rows = match (self.bytes.view(first, end), self.encoding) {
            (Ok(bytes), encoding) => {
                let file = self.file.clone();
                Self::encoded(shape, encoding, bytes).map(|tensor| Self { file, ..tensor })
            }
            (Err(_), Encoding::Plain(storage)) => Self::copied(shape, storage, &self.bytes[first..end]),
            (Err(_), Encoding::Packed(packing)) => {
                Self::packed(shape, packing, Bytes::from_elems(self.bytes[first..end].to_vec()))
            }
        };
        rows.map(|rows| Self { added, ..rows })
    }

    /// Whether no number is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        // All ones in the exponent.
        let none = |size: usize, special: fn(&[u8]) -> bool| {
            self.bytes
                .par_chunks(PIECE)
                .all(|piece| !piece.chunks_exact(size).fold(false, |any, b| any | special(b)))
        };
        match self.encoding {
            Encoding::Plain(Storage::F32) => {
                none(4, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) & 0x7F80_0000 == 0x7F80_0000)
            }
            Encoding::Plain(Storage::F16) => none(2, |b| u16::from_ne_bytes([b[0], b[1]]) & 0x7C00 == 0x7C00),
            Encoding::Plain(Storage::Bf16) => {
                none(2, |b| u16::from_ne_bytes([b[0], b[1]]) & 0x7F80 == 0x7F80)
            }
            Encoding::Packed(packing) => {
                self.added.iter().all(LowRank::is_finite) && packing.is_finite(&self.bytes)
            }
        }
    }

    /// The same numbers on a device, in [`StoredTensor::storage`]. A packed matrix stays packed where the device's kernels
    /// unpack while they multiply, unless a row is no whole number of blocks.
    ///
    /// # Panics
    /// If the shape is not `shape`.
    pub fn into_tensor<const D: usize>(self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let storage = self.storage();
        let bytes = match (self.encoding, &shape[..]) {
            (Encoding::Packed(packing), &[rows, columns]) if has_kernels(device) => {
                let matrix = packing.matrix(self.bytes.clone(), [rows, columns]);
                matrix.map(|matrix| adding(matrix, self.added.clone()).into_bytes())
            }
            _ => None,
        };
        let bytes = bytes.unwrap_or_else(|| self.stored_as(storage).bytes);
        let data = TensorData::from_bytes(bytes, shape, storage.dtype());
        Tensor::from_data(data, (device, storage.dtype()))
    }
}

/// A packed matrix with sums added to its numbers.
fn adding(matrix: QuantisedMatrix, sums: Vec<LowRank>) -> QuantisedMatrix {
    if sums.is_empty() {
        return matrix;
    }
    matrix.adding(Box::new(move |row, first, numbers| {
        sums.iter().for_each(|sum| sum.add(row, first, numbers));
    }))
}

/// One tensor in f32.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// diffusers' or transformers' key.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// Row-major values.
    pub values: Vec<f32>,
}

impl NamedTensor {
    /// Every tensor of a weight file in f32.
    pub fn all_of(tensors: HashMap<String, StoredTensor>) -> HashMap<String, Self> {
        let each = |(name, tensor): (String, StoredTensor)| {
            (name.clone(), Self { name, shape: tensor.shape().to_vec(), values: tensor.to_f32() })
        };
        tensors.into_iter().map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_nearest_and_read_back() {
        let values = vec![0.0, -1.5, 65504.0, 1.0 + 1.0 / 1024.0, 3.0e-5, 0.1];
        let tensor = StoredTensor::from_f32(vec![2, 3], values.clone()).unwrap();
        for (storage, largest) in [(Storage::F32, 0.0), (Storage::F16, 5e-4), (Storage::Bf16, 4e-3)] {
            let other = tensor.clone().stored_as(storage);
            assert_eq!(other.bytes().len(), 6 * storage.size());
            for (got, expected) in other.to_f32().iter().zip(&values) {
                assert!((got - expected).abs() <= largest * expected.abs().max(1e-3), "{storage}: {got}");
            }
            assert_eq!(other.clone().stored_as(Storage::F32).to_f32(), other.to_f32());
        }
    }

    #[test]
    fn rows_are_taken_out() {
        let tensor = StoredTensor::from_f32(vec![3, 2], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        for storage in Storage::ALL {
            let rows = tensor.clone().stored_as(storage).rows(1..3).unwrap();
            assert_eq!((rows.shape(), rows.to_f32()), (&[2, 2][..], vec![2.0, 3.0, 4.0, 5.0]));
        }
        assert!(tensor.rows(2..4).is_none() && tensor.rows(0..0).is_some());
        assert!(StoredTensor::from_f32(vec![], vec![1.0]).unwrap().rows(0..1).is_none());
    }

    #[test]
    fn what_is_not_a_number_is_found_anywhere() {
        for storage in Storage::ALL {
            for at in [0, 70_000, 99_999] {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut values = vec![1.0e4; 100_000];
                    let tensor = |values: &[f32]| {
                        StoredTensor::from_f32(vec![100_000], values.to_vec()).unwrap().stored_as(storage)
                    };
                    assert!(tensor(&values).is_finite());
                    values[at] = bad;
                    assert!(!tensor(&values).is_finite(), "{storage} {bad} at {at}");
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        assert!(StoredTensor::from_f32(vec![2, 2], vec![0.0; 3]).is_none());
        assert!(StoredTensor::from_f32(vec![usize::MAX, 2], vec![0.0; 3]).is_none());
        assert!(StoredTensor::from_f32(vec![], vec![1.0]).is_some());
    }
}
