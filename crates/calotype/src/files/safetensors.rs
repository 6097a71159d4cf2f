//! Weight files: safetensors.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use calotype_kernels::mapped::MappedFile;
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView, View};
use serde_json::json;

use super::fp8::Fp8;
use super::gguf::TensorType;
use super::numbers::{self, to_f32};
use super::{atomic, content, quantised};
use crate::error::{Cause, Error, Result};
use crate::files::{NamedTensor, Packing, Stack, Storage, StoredTensor};

const FORMAT: &str = "safetensors";

/// Names of PyTorch's zero-dimensional parameters, which are `[1]` in memory.
const SCALARS: [&str; 1] = ["logit_scale"];

/// Reads every tensor as f32 (f16, bf16, f64 and integers are converted).
///
/// # Errors
/// `Error::Io`; `Error::Format` for a truncated or foreign file, or an unknown dtype.
pub fn read(path: &Path) -> Result<HashMap<String, NamedTensor>> {
    Ok(NamedTensor::all_of(open(path)?))
}

/// The tensors of a file as they are stored there, mapped into memory: nothing is read before it is used
/// ([`MappedFile::open`] says what that asks of the file). f64 and integers are converted to f32 at once, fp8 when its
/// numbers are asked for.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path) -> Result<HashMap<String, StoredTensor>> {
    let file = MappedFile::open(path).map_err(Error::io("read", path))?;
    let header = SafeTensors::deserialize(&file).map_err(|e| unreadable(path, &file, &e))?;
    quantised::refuse_bitsandbytes(path, FORMAT, header.names().into_iter())?;
    let begin = file.as_ptr().addr();
    let mut views: Vec<(&str, TensorView)> = header.iter().collect();
    // The first of several faults is the same in every run.
    views.sort_by_key(|(name, _)| *name);
    views
        .into_iter()
        .map(|(name, view)| {
            let offset = view.data().as_ptr().addr() - begin;
            let place = offset..offset + view.data().len();
            let tensor = stored(&file, place, &view).ok_or_else(|| {
                let (reason, cause) = numbers::unread(name, view.dtype());
                let error = Error::format(path, FORMAT, reason);
                match cause {
                    Some(cause) => error.because(cause),
                    None => error,
                }
            })?;
            Ok((name.to_owned(), tensor.of_file(&file)))
        })
        .collect()
}

fn stored(file: &MappedFile, place: Range<usize>, view: &TensorView) -> Option<StoredTensor> {
    let shape = view.shape().to_vec();
    let packed = |format: Fp8| {
        let packing = Packing::Fp8 { format, scale: 1.0 };
        StoredTensor::packed(shape.clone(), packing, file.bytes(place.clone(), 1))
    };
    let storage = match view.dtype() {
        Dtype::F8_E4M3 => return packed(Fp8::E4m3),
        Dtype::F8_E5M2 => return packed(Fp8::E5m2),
        // The file's order of bytes is the machine's on every platform that has an accelerated kernel.
        Dtype::F32 if cfg!(target_endian = "little") => Storage::F32,
        Dtype::F16 if cfg!(target_endian = "little") => Storage::F16,
        Dtype::BF16 if cfg!(target_endian = "little") => Storage::Bf16,
        dtype => return StoredTensor::from_f32(shape, to_f32(dtype, view.data())?),
    };
    StoredTensor::new(shape, storage, file.bytes(place, storage.size()))
}

/// The string metadata of the header.
///
/// # Errors
/// As [`read`].
pub fn read_metadata(path: &Path) -> Result<HashMap<String, String>> {
    let file = MappedFile::open(path).map_err(Error::io("read", path))?;
    let (_, header) = SafeTensors::read_metadata(&file).map_err(|e| unreadable(path, &file, &e))?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// Why the header cannot be used: whether something else lies there, or the end of the file is missing.
fn unreadable(path: &Path, file: &[u8], error: &SafeTensorError) -> Error {
    use SafeTensorError::{HeaderTooLarge, HeaderTooSmall, InvalidHeaderLength, MetadataIncompleteBuffer};
    if let Some(found) = content::not_safetensors(file) {
        return found.error(path, FORMAT);
    }
    let length = file.len();
    match error {
        HeaderTooSmall | InvalidHeaderLength | MetadataIncompleteBuffer => {
            let reason = format!("its {length} bytes are not as many as its header says ({error})");
            Error::format(path, FORMAT, reason).because(Cause::CutOff)
        }
        HeaderTooLarge => {
            let reason = "it does not begin with the length of a header, as such files do";
            Error::format(path, FORMAT, reason).because(Cause::Damaged)
        }
        other => Error::format(path, FORMAT, other).because(Cause::Damaged),
    }
}

/// Writes tensors in f32 with `__metadata__ {"format": "pt"}`, whole or not at all.
///
/// # Errors
/// `Error::Io`; `Error::Format` if two tensors have one name, or one has not as many numbers as its shape.
pub fn write(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    let borrowed = |tensor| {
        let NamedTensor { name, shape, values }: &NamedTensor = tensor;
        (name.as_str(), shape.as_slice(), values.as_slice())
    };
    write_borrowed(path, tensors.iter().map(borrowed), HashMap::new())
}

/// [`write()`] of names, shapes and values that lie elsewhere, with more entries in the header.
///
/// # Errors
/// As [`write()`].
pub fn write_borrowed<'a, S: AsRef<str> + Ord + Display>(
    path: &Path,
    tensors: impl Iterator<Item = (S, &'a [usize], &'a [f32])>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    let view = |(name, shape, values): (S, &[usize], &'a [f32])| {
        if shape.iter().product::<usize>() != values.len() {
            let reason = format!("tensor `{name}` of shape {shape:?} has {} numbers", values.len());
            return Err(Error::format(path, FORMAT, reason));
        }
        let shape = shape_in_file(name.as_ref(), shape);
        Ok((name, Numbers { shape, values }))
    };
    serialise(path, tensors.map(view).collect::<Result<Vec<_>>>()?, metadata)
}

/// Numbers in memory, which are bytes of a file when their turn comes.
struct Numbers<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Numbers<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// Writes tensors as they are stored, packed ones in f32, as [`write()`] does.
///
/// # Errors
/// As [`write_stacks`].
pub fn write_stored<'a>(
    path: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a StoredTensor)>,
    metadata: HashMap<String, String>,
) -> Result<()> {
    write_stacks(path, tensors.map(|(name, tensor)| Stack::whole(name, tensor)).collect(), metadata)
}

/// Writes tensors that are put together and converted a few rows at a time, as [`write()`] does: it takes no more memory
/// for larger ones.
///
/// # Errors
/// As [`write()`]; `Error::Argument` for blocks, which such files do not have; those of [`Stack`]'s numbers.
pub fn write_stacks(path: &Path, stacks: Vec<Stack>, mut metadata: HashMap<String, String>) -> Result<()> {
    let mut all =
        stacks.into_iter().map(|stack| Ok((dtype(stack.kind)?, stack))).collect::<Result<Vec<_>>>()?;
    // As the crate orders them: the widest first, so that each begins at a multiple of its width.
    all.sort_by(|(left, one), (right, other)| right.cmp(left).then_with(|| one.name.cmp(&other.name)));
    metadata.insert("format".into(), "pt".into());
    let unwritten = |error: &dyn Display| Error::format(path, FORMAT, error);
    let mut end = 0_usize;
    let mut infos = Vec::new();
    for (dtype, stack) in &all {
        let begin = end;
        let size = stack.kind.size(&stack.shape).and_then(|size| end.checked_add(size));
        end = size.ok_or_else(|| unwritten(&format!("tensor `{}` is larger than memory", stack.name)))?;
        let shape = shape_in_file(&stack.name, &stack.shape);
        infos.push((stack.name.clone(), TensorInfo { dtype: *dtype, shape, data_offsets: (begin, end) }));
    }
    let header = header(metadata, infos).map_err(|error| unwritten(&error))?;
    atomic::write_with(path, |temporary| {
        let failed = || Error::io("write", temporary);
        let mut file = File::create(temporary).map_err(failed())?;
        file.write_all(&header).map_err(failed())?;
        all.iter().try_for_each(|(_, stack)| stack.write(|bytes| file.write_all(bytes).map_err(failed())))
    })
}

/// What stands before the numbers: the header's length and the header, whose metadata have the order of their keys, so that
/// the same contents are the same bytes.
fn header(
    metadata: HashMap<String, String>,
    infos: Vec<(String, TensorInfo)>,
) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
    // Refuses names that come twice, and places that do not follow each other.
    Metadata::new(None, infos.clone())?;
    let metadata: BTreeMap<String, String> = metadata.into_iter().collect();
    let mut entries = serde_json::Map::from_iter([("__metadata__".to_owned(), json!(metadata))]);
    entries.extend(infos.into_iter().map(|(name, info)| (name, json!(info))));
    let mut header = serde_json::to_vec(&entries)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let length = (header.len() as u64).to_le_bytes();
    Ok([length.as_slice(), &header].concat())
}

fn dtype(kind: TensorType) -> Result<Dtype> {
    match kind {
        TensorType::Plain(Storage::F32) => Ok(Dtype::F32),
        TensorType::Plain(Storage::F16) => Ok(Dtype::F16),
        TensorType::Plain(Storage::Bf16) => Ok(Dtype::BF16),
        TensorType::Blocks(_) => {
            let expected = format!("{}: blocks are written into files that end in .gguf", Storage::names());
            Err(Error::argument("dtype", expected, kind))
        }
    }
}

fn shape_in_file(name: &str, shape: &[usize]) -> Vec<usize> {
    if SCALARS.contains(&name) { vec![] } else { shape.to_vec() }
}

/// Tensor by tensor: a copy of a whole model would not fit everywhere that the model does.
fn serialise<S: AsRef<str> + Ord + Display, V: View>(
    path: &Path,
    mut views: Vec<(S, V)>,
    mut metadata: HashMap<String, String>,
) -> Result<()> {
    metadata.insert("format".into(), "pt".into());
    // As the crate orders them: the widest first, so that each begins at a multiple of its width.
    views.sort_by(|(name, one), (next, other)| other.dtype().cmp(&one.dtype()).then_with(|| name.cmp(next)));
    let mut end = 0;
    let info = |(name, view): &(S, V)| {
        let begin = end;
        end += view.data_len();
        let shape = view.shape().to_vec();
        (name.to_string(), TensorInfo { dtype: view.dtype(), shape, data_offsets: (begin, end) })
    };
    let header = header(metadata, views.iter().map(info).collect());
    let header = header.map_err(|error| Error::format(path, FORMAT, error))?;
    atomic::write_with(path, |temporary| {
        let failed = || Error::io("write", temporary);
        let mut file = File::create(temporary).map_err(failed())?;
        file.write_all(&header).map_err(failed())?;
        views.iter().try_for_each(|(_, view)| file.write_all(&view.data()).map_err(failed()))
    })
}
