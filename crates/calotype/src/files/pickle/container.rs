//! Where the pickle and the numbers of tensors lie in a file: three layouts since 2016, and a pickle alone.
//! `torch/serialization.py`.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::machine::{Input, Persistent, read};
use super::value::{Fault, Id, Result, Tensors, Value, Values};
use super::{state_dict, tar};
use crate::error::Cause;
use crate::files::content::is_zip;
use crate::files::numbers;

/// The longest pickle in a zip, in bytes: a packed one may claim any length.
const LONGEST_PICKLE: u64 = 100 << 20;
/// How an old file begins, in either spelling of the number.
const MAGIC: [&[u8]; 2] = [b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", b"119547037146038801333356"];
/// Where that is looked for: what stands before depends on the protocol.
const MAGIC_WITHIN: usize = 64;

/// The tensors of a file by name, and where the numbers of their storages lie.
pub(super) struct Contents {
    pub tensors: Tensors,
    pub storages: BTreeMap<String, Storage>,
}

/// The numbers of a storage.
#[derive(Debug)]
pub(super) enum Storage {
    /// In the file as they are, with the checksum that they should have.
    InFile(Range<usize>, Option<u32>),
    /// Unpacked.
    InMemory(Vec<u8>),
}

impl Storage {
    /// Its bytes.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::InFile(range, _) => range.len(),
            Self::InMemory(bytes) => bytes.len(),
        }
    }
}

/// Bytes of the storage that tensors look at, by its key.
pub(super) type Needs = BTreeMap<String, usize>;

/// What a file holds. `accept` sees the tensors before anything is unpacked for them.
pub(super) fn contents(file: &[u8], accept: impl FnOnce(&Tensors) -> Result<Needs>) -> Result<Contents> {
    let head = &file[..file.len().min(MAGIC_WITHIN)];
    if is_zip(head) {
        zipped(file, accept)
    } else if tar::is_tar(file) {
        let (tensors, storages) = tar::contents(file)?;
        accept(&tensors)?;
        Ok(Contents { tensors, storages })
    } else if MAGIC.iter().any(|magic| head.windows(magic.len()).any(|part| part == *magic)) {
        stream(file, accept)
    } else {
        let tensors = tensors(&mut Input { rest: file }, &Persistent::Nothing)?;
        Ok(Contents { tensors, storages: BTreeMap::new() })
    }
}

pub(super) fn tensors(input: &mut Input, persistent: &Persistent) -> Result<Tensors> {
    let mut values = Values::default();
    let root = read(input, &mut values, persistent)?;
    state_dict::tensors(&values, root)
}

/// PyTorch 1.6 and later: `NAME/data.pkl`, and each storage as `NAME/data/KEY`.
fn zipped(file: &[u8], accept: impl FnOnce(&Tensors) -> Result<Needs>) -> Result<Contents> {
    // What a zip contains stands at its end.
    let cut_off =
        |e: zip::result::ZipError| Fault { cause: Some(Cause::CutOff), ..Fault::unread(e.to_string()) };
    let mut archive = ZipArchive::new(Cursor::new(file)).map_err(cut_off)?;
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let roots = names.iter().filter_map(|name| name.strip_suffix("data.pkl"));
    let root = roots.filter(|root| root.is_empty() || root.ends_with('/')).min_by_key(|root| root.len());
    let root =
        root.ok_or_else(|| Fault::unread("it is a zip without `data.pkl`: not what torch.save writes"))?;
    if unpacked(&mut archive, &format!("{root}byteorder"), 16).is_ok_and(|order| order.starts_with(b"big")) {
        return Err(big_endian());
    }
    let pickle = unpacked(&mut archive, &format!("{root}data.pkl"), LONGEST_PICKLE)?;
    let tensors = tensors(&mut Input { rest: &pickle }, &Persistent::Storages)?;
    let mut storages = BTreeMap::new();
    let mut in_file = 0_usize;
    for (key, need) in accept(&tensors)? {
        let storage = storage(&mut archive, &format!("{root}data/{key}"), need)?;
        if let Storage::InFile(range, _) = &storage {
            in_file = in_file.saturating_add(range.len());
        }
        // Each is read for its checksum; entries that share bytes would make that endless.
        if in_file > file.len() {
            return Err(Fault::damaged("its storages have more bytes than the file"));
        }
        storages.insert(key, storage);
    }
    Ok(Contents { tensors, storages })
}

type Zip<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// A storage, of which `need` bytes are used.
fn storage(archive: &mut Zip, name: &str, need: usize) -> Result<Storage> {
    let wrong = |e: zip::result::ZipError| Fault::damaged(format!("`{name}`: {e}"));
    let missing = || Fault::damaged(format!("`{name}` is not in the file"));
    let index = archive.index_for_name(name).ok_or_else(missing)?;
    let entry = archive.by_index_raw(index).map_err(wrong)?;
    if entry.compression() != CompressionMethod::Stored {
        drop(entry);
        return Ok(Storage::InMemory(unpacked(archive, name, need as u64)?));
    }
    let end = entry.data_start().and_then(|start| Some((start, start.checked_add(entry.size())?)));
    let range = end.and_then(|(start, end)| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?));
    // 0 is written where no checksum was computed.
    let checksum = Some(entry.crc32()).filter(|&checksum| checksum != 0);
    range.map(|range| Storage::InFile(range, checksum)).ok_or_else(missing)
}

/// The first bytes of an entry, at most so many; all of them with their checksum looked at.
fn unpacked(archive: &mut Zip, name: &str, most: u64) -> Result<Vec<u8>> {
    let wrong = |reason: String| Fault::damaged(format!("`{name}`: {reason}"));
    let mut entry = archive.by_name(name).map_err(|e| wrong(e.to_string()))?;
    let mut bytes = Vec::new();
    entry.by_ref().take(most).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    if bytes.len() as u64 == most {
        // The checksum is compared at the end.
        let rest = entry.read(&mut [0]).map_err(|e| wrong(e.to_string()))?;
        if rest > 0 && most == LONGEST_PICKLE {
            return Err(Fault::unread(format!("`{name}` has more than {most} bytes")));
        }
    }
    Ok(bytes)
}

/// Up to PyTorch 1.5: pickles one after the other (a number, a version, the machine, the object, the keys of the
/// storages), then each storage with its length.
fn stream(file: &[u8], accept: impl FnOnce(&Tensors) -> Result<Needs>) -> Result<Contents> {
    let mut input = Input { rest: file };
    let mut values = Values::default();
    let mut next = |input: &mut Input| read(input, &mut values, &Persistent::Nothing);
    next(&mut input)?;
    let (version, machine) = (next(&mut input)?, next(&mut input)?);
    if values.size(version, "the version")? != 1001 {
        return Err(Fault::unread("it is of another version of torch.save than 1001"));
    }
    check_byte_order(&values, machine)?;
    let mut values = Values::default();
    let root = read(&mut input, &mut values, &Persistent::Storages)?;
    let keys = read(&mut input, &mut values, &Persistent::Nothing)?;
    let keys = values.list(keys, "the keys of its storages")?;
    let keys = keys.into_iter().map(|key| values.text(key, "the key of a storage"));
    let keys = keys.collect::<Result<Vec<String>>>()?;
    let sizes = values.storages();
    let mut storages = BTreeMap::new();
    for key in keys {
        let (dtype, length) = *sizes
            .get(key.as_str())
            .ok_or_else(|| Fault::damaged(format!("storage `{key}` belongs to no tensor")))?;
        let given = i64::from_le_bytes(input.array()?);
        if usize::try_from(given) != Ok(length) {
            return Err(Fault::damaged(format!("storage `{key}` has {given} numbers, expected {length}")));
        }
        let bytes = length.checked_mul(dtype.map_or(1, numbers::size));
        let start = file.len() - input.rest.len();
        let taken = input.take(bytes.ok_or_else(|| Fault::cut_off("a storage"))?)?;
        storages.insert(key, Storage::InFile(start..start + taken.len(), None));
    }
    let tensors = state_dict::tensors(&values, root)?;
    accept(&tensors)?;
    Ok(Contents { tensors, storages })
}

/// Refuses what a big-endian machine has written.
pub(super) fn check_byte_order(values: &Values, machine: Id) -> Result<()> {
    let little = values.dict(machine).and_then(|entries| values.entry(entries, "little_endian"));
    match little.map(|id| values.get(id)) {
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => Err(big_endian()),
        _ => Err(Fault::damaged("it does not say in which order its bytes are")),
    }
}

fn big_endian() -> Fault {
    Fault::unread("a big-endian machine has written it, which is not read")
}
