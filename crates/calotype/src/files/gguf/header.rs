//! What a GGUF file says about itself: metadata, and where which tensor lies.
//!
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::block::BlockKind;
use super::metadata;
use super::reader::Reader;
use super::tensor_type::TensorType;
use crate::error::Cause;
use crate::files::content::GGUF;
use crate::files::fault::{Fault, Result};

/// Versions that differ in nothing that is read here; the first had shorter lengths.
const VERSIONS: [u32; 2] = [2, 3];
/// The data begin at a multiple of it, where `general.alignment` says nothing.
pub(super) const ALIGNMENT: usize = 32;
/// Tensors and values of a header, each: a thousand times as many as a file has.
const MOST_ENTRIES: usize = 1 << 20;
/// Dimensions of ggml's tensors.
const MOST_DIMENSIONS: u32 = 4;

/// Kinds of numbers that ggml knows and that are not read (id, name).
const UNREAD: [(u32, &str); 19] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

/// A tensor and its place in the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    /// PyTorch's: the last dimension is the one whose numbers lie side by side.
    pub shape: Vec<usize>,
    pub kind: TensorType,
    pub place: Range<usize>,
}

/// All that comes before the numbers.
#[derive(Debug)]
pub(super) struct Header {
    pub metadata: HashMap<String, String>,
    pub tensors: Vec<Entry>,
}

impl Header {
    /// Of a whole file.
    pub(super) fn read(file: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(file);
        if reader.bytes(4, "its first word")? != GGUF {
            return Err(Fault::damaged("it does not begin with `GGUF`"));
        }
        check_version(reader.u32("its version")?)?;
        let tensor_count = reader.u64("the number of its tensors")?;
        let value_count = reader.u64("the number of its values")?;
        let mut metadata = HashMap::new();
        for _ in 0..value_count {
            check_count(metadata.len())?;
            let key = reader.text("a key of its metadata")?;
            if let Some(value) = metadata::value(&mut reader, key)? {
                metadata.insert(key.to_owned(), value);
            }
        }
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            check_count(tensors.len())?;
            tensors.push(entry(&mut reader)?);
        }
        let begin = begin_of_data(&metadata, reader.position())?;
        place(&mut tensors, begin, file.len())?;
        Ok(Self { metadata, tensors })
    }
}

/// Whether there may be one more.
fn check_count(count: usize) -> Result<()> {
    if count < MOST_ENTRIES {
        Ok(())
    } else {
        Err(Fault::unread(format!("it has more than {MOST_ENTRIES} entries")))
    }
}

fn check_version(version: u32) -> Result<()> {
    if VERSIONS.contains(&version) {
        return Ok(());
    }
    let what =
        if VERSIONS.contains(&version.swap_bytes()) { "its numbers are big-endian" } else { "its version" };
    Err(Fault::unread(format!("{what} ({version}): versions 2 and 3 are read, little-endian")))
}

/// A tensor whose place counts from the beginning of the data.
fn entry(reader: &mut Reader) -> Result<Entry> {
    let name = reader.text("the name of a tensor")?.to_owned();
    let dimensions = reader.u32(&name)?;
    if dimensions > MOST_DIMENSIONS {
        return Err(Fault::damaged(format!("tensor `{name}` has {dimensions} dimensions")));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let size = reader.u64(&name)?;
        shape.push(usize::try_from(size).map_err(|_| too_large(&name))?);
    }
    let kind = kind(reader.u32(&name)?, &name)?;
    let offset = usize::try_from(reader.u64(&name)?).map_err(|_| too_large(&name))?;
    if shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size)).is_none() {
        return Err(too_large(&name));
    }
    if let TensorType::Blocks(block) = kind {
        let (row, per_block) = (shape.first().copied().unwrap_or(1), block.numbers());
        if !row.is_multiple_of(per_block) {
            let reason = format!("tensor `{name}` has rows of {row} numbers, no multiple of {per_block}");
            return Err(Fault::damaged(format!("{reason}, as {} needs", block.name())));
        }
    }
    shape.reverse();
    let bytes = kind.size(&shape);
    let end = bytes.and_then(|bytes| offset.checked_add(bytes)).ok_or_else(|| too_large(&name))?;
    Ok(Entry { name, shape, kind, place: offset..end })
}

fn too_large(name: &str) -> Fault {
    Fault::damaged(format!("tensor `{name}` is larger than memory can be"))
}

fn kind(id: u32, name: &str) -> Result<TensorType> {
    TensorType::of_id(id).ok_or_else(|| match UNREAD.iter().find(|(unread, _)| *unread == id) {
        Some((_, kind)) => {
            let read = BlockKind::ALL.map(BlockKind::name).join(", ");
            Fault::unread(format!("tensor `{name}` is of type {kind}; F32, F16, BF16, {read} are read"))
        }
        None => Fault::damaged(format!("tensor `{name}` is of type {id}, which is none")),
    })
}

fn begin_of_data(metadata: &HashMap<String, String>, header: usize) -> Result<usize> {
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(text) => {
            text.parse::<u32>().ok().filter(|n| n.is_power_of_two()).map(|n| n as usize).ok_or_else(|| {
                Fault::damaged(format!("`general.alignment` is {text}, expected a power of two"))
            })?
        }
    };
    header.checked_next_multiple_of(alignment).ok_or_else(|| Fault::cut_off("its header"))
}

/// Places in the file. No number belongs to two tensors: a small file would stand for much memory otherwise.
fn place(tensors: &mut [Entry], begin: usize, length: usize) -> Result<()> {
    let mut names = HashSet::new();
    if let Some(twice) = tensors.iter().find(|tensor| !names.insert(&tensor.name)) {
        return Err(Fault::damaged(format!("it has two tensors `{}`", twice.name)));
    }
    tensors.sort_by(|a, b| (a.place.start, a.place.end, &a.name).cmp(&(b.place.start, b.place.end, &b.name)));
    let mut free = 0;
    for Entry { name, place, .. } in tensors {
        if place.start < free {
            return Err(Fault::damaged(format!("tensor `{name}` lies over another")));
        }
        free = place.end;
        let end = begin.checked_add(place.end).filter(|&end| end <= length);
        let end = end.ok_or_else(|| {
            let has = length.saturating_sub(begin);
            let reason =
                format!("tensor `{name}` ends {} bytes after the header, the file has {has}", place.end);
            Fault { reason, cause: Some(Cause::CutOff) }
        })?;
        *place = begin + place.start..end;
    }
    Ok(())
}
