//! The layout before PyTorch 0.1.10, of early 2017: torchvision's VGG-16 comes so.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::ops::Range;

use safetensors::Dtype;
use tar::Archive;

use super::calls::storage_dtype;
use super::container::{Storage, check_byte_order, tensors};
use super::machine::{Input, Persistent, read};
use super::value::{Fault, Id, MOST_AXES, Result, Tensor, Tensors, Values};
use crate::files::numbers;

/// Whether a file is a tar.
pub(super) fn is_tar(file: &[u8]) -> bool {
    file.get(257..262) == Some(b"ustar")
}

/// Tensors by name and storages by key, from the members `storages`, `tensors` and `pickle`.
pub(super) fn contents(file: &[u8]) -> Result<(Tensors, BTreeMap<String, Storage>)> {
    let members = members(file)?;
    let member = |name: &str| {
        let range = members.get(name).cloned();
        range.and_then(|range| file.get(range)).ok_or_else(|| Fault::damaged(format!("it has no `{name}`")))
    };
    if let Ok(machine) = member("sys_info") {
        let mut values = Values::default();
        let machine = read(&mut Input { rest: machine }, &mut values, &Persistent::Nothing)?;
        check_byte_order(&values, machine)?;
    }
    let storages = storages(file, member("storages")?)?;
    let described = descriptions(&mut Reader::new(member("tensors")?), &storages)?;
    let tensors = tensors(&mut Input { rest: member("pickle")? }, &Persistent::Tensors(&described))?;
    let in_file = |(key, (_, range))| (key, Storage::InFile(range, None));
    Ok((tensors, storages.into_iter().map(in_file).collect()))
}

/// Where each member lies in the file.
fn members(file: &[u8]) -> Result<HashMap<String, Range<usize>>> {
    let wrong = |e: std::io::Error| Fault::damaged(format!("as a tar: {e}"));
    let mut members = HashMap::new();
    for entry in Archive::new(Cursor::new(file)).entries().map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        let name = entry.path().map_err(wrong)?.to_string_lossy().trim_start_matches("./").to_owned();
        let (start, length) = (entry.raw_file_position() as usize, entry.size() as usize);
        members.insert(name, start..start.saturating_add(length));
    }
    Ok(members)
}

/// The numbers of a storage, and where they lie in the file.
type Place = (Dtype, Range<usize>);

/// Pickles with numbers between them.
struct Reader<'a> {
    input: Input<'a>,
    values: Values,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { input: Input { rest: bytes }, values: Values::default() }
    }

    fn pickle(&mut self) -> Result<Id> {
        read(&mut self.input, &mut self.values, &Persistent::Nothing)
    }

    fn fields<const N: usize>(&mut self, what: &str) -> Result<[Id; N]> {
        let fields = self.pickle()?;
        let fields = self.values.list(fields, what)?;
        let got = fields.len();
        fields.try_into().map_err(|_| Fault::damaged(format!("{what}: expected {N} fields, got {got}")))
    }

    fn size(&mut self) -> Result<usize> {
        let size = i64::from_le_bytes(self.input.array()?);
        usize::try_from(size).map_err(|_| Fault::damaged(format!("expected at least 0, got {size}")))
    }
}

/// `(key, device, class)`, the length and the numbers of each; then parts of them under keys of their own.
fn storages(file: &[u8], member: &[u8]) -> Result<HashMap<String, Place>> {
    let outside = |key: &str| Fault::damaged(format!("storage `{key}` lies outside of the file"));
    let mut reader = Reader::new(member);
    let mut places: HashMap<String, Place> = HashMap::new();
    let count = reader.pickle()?;
    for _ in 0..reader.values.size(count, "the number of storages")? {
        let [key, _, class] = reader.fields("a storage")?;
        let key = reader.values.text(key, "the key of a storage")?;
        let class = reader.values.get(class).kind().to_owned();
        let dtype = storage_dtype(&class)?.ok_or_else(|| Fault::damaged("a storage has no type"))?;
        let length = reader.size()?.checked_mul(numbers::size(dtype)).ok_or_else(|| outside(&key))?;
        let start = reader.input.take(length)?.as_ptr().addr() - file.as_ptr().addr();
        places.insert(key, (dtype, start..start + length));
    }
    let parts = reader.pickle()?;
    for part in reader.values.list(parts, "the parts of storages")? {
        let fields = reader.values.list(part, "a part of a storage")?;
        let [key, root, offset, length] = fields[..] else {
            return Err(Fault::damaged("a part of a storage has not four fields"));
        };
        let [key, root] = [key, root].map(|id| reader.values.text(id, "the key of a storage"));
        let (key, root) = (key?, root?);
        let [offset, length] = [offset, length].map(|id| reader.values.size(id, "a part of a storage"));
        let (dtype, whole) = places.get(&root).cloned().ok_or_else(|| outside(&root))?;
        let size = numbers::size(dtype);
        let start = offset?.checked_mul(size).and_then(|start| start.checked_add(whole.start));
        let end = length?.checked_mul(size).and_then(|length| start?.checked_add(length));
        let (Some(start), Some(end)) = (start, end.filter(|&end| end <= whole.end)) else {
            return Err(outside(&key));
        };
        places.insert(key, (dtype, start..end));
    }
    Ok(places)
}

/// `(key, storage, class)`, the number of axes, their sizes and strides, and the offset, of each tensor.
fn descriptions(reader: &mut Reader, storages: &HashMap<String, Place>) -> Result<HashMap<String, Tensor>> {
    let mut tensors = HashMap::new();
    let count = reader.pickle()?;
    for _ in 0..reader.values.size(count, "the number of tensors")? {
        let [key, storage, _] = reader.fields("a tensor")?;
        let [key, storage] = [key, storage].map(|id| reader.values.text(id, "the key of a tensor"));
        let (key, storage) = (key?, storage?);
        let missing = || Fault::damaged(format!("storage `{storage}` is missing"));
        let (dtype, _) = *storages.get(&storage).ok_or_else(missing)?;
        let axes = u32::from_le_bytes(reader.input.array()?) as usize;
        reader.input.take(4)?;
        if axes > MOST_AXES {
            return Err(Fault::damaged(format!("tensor `{key}` has {axes} axes")));
        }
        let shape = (0..axes).map(|_| reader.size()).collect::<Result<Vec<_>>>()?;
        let stride = (0..axes).map(|_| reader.size()).collect::<Result<Vec<_>>>()?;
        tensors.insert(key, Tensor { storage, dtype, offset: reader.size()?, shape, stride });
    }
    Ok(tensors)
}
