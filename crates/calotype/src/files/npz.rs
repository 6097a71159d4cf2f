//! NumPy's `.npz`: a zip of arrays, how other tools store feature statistics.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::numbers::numbers;
use super::{atomic, content};
use crate::error::{Error, Result};

const FORMAT: &str = "NumPy archive (.npz)";
/// Bytes of a text that are read.
const LONGEST_TEXT: u64 = 1 << 20;

/// An array of numbers, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Sizes; empty for a single number.
    pub shape: Vec<usize>,
    /// Values, converted from whatever type the file has.
    pub values: Vec<f64>,
}

impl Array {
    /// An array of this shape.
    pub fn new(shape: &[usize], values: Vec<f64>) -> Self {
        Self { shape: shape.to_vec(), values }
    }
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Npz {
    /// The arrays by name.
    pub arrays: BTreeMap<String, Array>,
    /// Other entries that are text, by file name.
    pub texts: BTreeMap<String, String>,
}

/// Reads every array and text of an archive.
///
/// # Errors
/// `Error::Io`; `Error::Format` for a file that is not such an archive, is truncated, or has an array of
/// something else than numbers (pickled objects are not opened).
pub fn read(path: &Path) -> Result<Npz> {
    require_zip(path)?;
    let bytes = atomic::read(path)?;
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| Error::format(path, FORMAT, e))?;
    let mut npz = Npz::default();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|e| Error::format(path, FORMAT, e))?;
        let name = entry.name().map_err(|e| Error::format(path, FORMAT, e))?.into_owned();
        match name.strip_suffix(".npy") {
            Some(key) => {
                let array = read_npy(&mut entry)
                    .map_err(|reason| Error::format(path, FORMAT, format!("array `{key}`: {reason}")))?;
                npz.arrays.insert(key.to_owned(), array);
            }
            None => {
                let mut text = String::new();
                // An archive can be a thousand times as long as its file: more than this is no note.
                if entry.by_ref().take(LONGEST_TEXT).read_to_string(&mut text).is_ok() {
                    npz.texts.insert(name, text);
                }
            }
        }
    }
    Ok(npz)
}

/// Looks at the first bytes: whatever else is called so need not be read as a whole to be refused.
fn require_zip(path: &Path) -> Result<()> {
    content::refuse_mistaken(path, FORMAT)?;
    let mut start = [0; 4];
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let whole = file.read_exact(&mut start);
    match start {
        // A zip with files, or without.
        [b'P', b'K', 3, 4] | [b'P', b'K', 5, 6] if whole.is_ok() => Ok(()),
        _ => Err(Error::format(path, FORMAT, "it does not begin as a zip archive does")),
    }
}

/// Writes arrays in f64 and texts, whole or not at all.
///
/// # Errors
/// `Error::Io`; `Error::Format` if the archive grows beyond what zip can hold.
pub fn write(path: &Path, npz: &Npz) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::format(path, FORMAT, e);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    // The same bytes whenever they are written.
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .large_file(true);
    for (name, array) in &npz.arrays {
        archive.start_file(format!("{name}.npy"), options).map_err(|e| failed(&e))?;
        archive.write_all(&npy(array)).map_err(|e| failed(&e))?;
    }
    for (name, text) in &npz.texts {
        archive.start_file(name.as_str(), options).map_err(|e| failed(&e))?;
        archive.write_all(text.as_bytes()).map_err(|e| failed(&e))?;
    }
    let bytes = archive.finish().map_err(|e| failed(&e))?.into_inner();
    atomic::write(path, &bytes)
}

/// Format 1.0: magic, version, length of the header, a Python dict, padded to 64 bytes.
fn npy(array: &Array) -> Vec<u8> {
    let sizes: Vec<String> = array.shape.iter().map(|n| format!("{n},")).collect();
    let dict = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}), }}", sizes.join(" "));
    let length = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dict:<width$}\n", width = length - 1).bytes());
    bytes.extend(array.values.iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

fn read_npy(entry: &mut impl Read) -> std::result::Result<Array, String> {
    let mut start = [0; 8];
    entry.read_exact(&mut start).map_err(|e| e.to_string())?;
    if &start[..6] != b"\x93NUMPY" {
        return Err("it does not begin as an array does".into());
    }
    let mut length = [0; 4];
    let length_bytes = if start[6] == 1 { 2 } else { 4 };
    entry.read_exact(&mut length[..length_bytes]).map_err(|e| e.to_string())?;
    let length = u32::from_le_bytes(length) as usize;
    if length > 1 << 16 {
        return Err(format!("a header of {length} bytes"));
    }
    let mut header = vec![0; length];
    entry.read_exact(&mut header).map_err(|e| e.to_string())?;
    let header = String::from_utf8_lossy(&header).into_owned();
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest.trim_start()).ok_or("a bad header");
    let quoted = after("'descr':")?.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
    let descr = quoted.ok_or("records of several types are no numbers")?.to_owned();
    let columns_first = after("'fortran_order':")?.starts_with("True");
    let sizes = after("'shape':")?.trim_start_matches('(').split(')').next().unwrap_or("");
    let shape = (sizes.split(',').map(str::trim).filter(|size| !size.is_empty()))
        .map(|size| size.parse::<usize>().map_err(|e| e.to_string()))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let count = shape.iter().try_fold(1_usize, |n, size| n.checked_mul(*size)).ok_or("an absurd shape")?;
    let wrong_type = || format!("type `{descr}` is not a number");
    let size = size_of(&descr).ok_or_else(wrong_type)?;
    let length = (count as u64).checked_mul(size as u64).ok_or("an absurd shape")?;
    // One byte more, to see that there are too many.
    let mut data = Vec::new();
    entry.take(length.saturating_add(1)).read_to_end(&mut data).map_err(|e| e.to_string())?;
    let there = data.len();
    match (there as u64).cmp(&length) {
        Ordering::Equal => {}
        Ordering::Greater => return Err(format!("{count} numbers promised, more there")),
        Ordering::Less => return Err(format!("{count} numbers promised, {} there", there / size)),
    }
    if descr.starts_with('>') {
        data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    let mut values = to_f64(&descr, &data).ok_or_else(wrong_type)?;
    if columns_first {
        values = rows_first(&shape, &values);
    }
    Ok(Array { shape, values })
}

/// Values of an array whose first index runs fastest (Fortran's order), with the last running fastest.
fn rows_first(shape: &[usize], values: &[f64]) -> Vec<f64> {
    let place = |mut at: usize| {
        let (mut place, mut stride) = (0, values.len());
        for size in shape.iter().rev() {
            stride /= size;
            place += (at % size) * stride;
            at /= size;
        }
        place
    };
    (0..values.len()).map(|at| values[place(at)]).collect()
}

/// Kind and size of a number, as `f8`; NumPy puts the order of its bytes before it.
fn kind(descr: &str) -> &str {
    descr.strip_prefix(['<', '>', '|', '=']).unwrap_or(descr)
}

/// Bytes of a number.
fn size_of(descr: &str) -> Option<usize> {
    match kind(descr) {
        "f8" | "i8" | "u8" => Some(8),
        "f4" | "i4" | "u4" => Some(4),
        "f2" | "i2" | "u2" => Some(2),
        "i1" | "u1" => Some(1),
        _ => None,
    }
}

/// Numbers of this type, each with its lowest byte first.
fn to_f64(descr: &str, data: &[u8]) -> Option<Vec<f64>> {
    Some(match kind(descr) {
        "f8" => numbers(data, f64::from_le_bytes),
        "f4" => numbers(data, |b| f64::from(f32::from_le_bytes(b))),
        "f2" => numbers(data, |b| f64::from(half::f16::from_le_bytes(b).to_f32())),
        "i8" => numbers(data, |b| i64::from_le_bytes(b) as f64),
        "u8" => numbers(data, |b| u64::from_le_bytes(b) as f64),
        "i4" => numbers(data, |b| f64::from(i32::from_le_bytes(b))),
        "u4" => numbers(data, |b| f64::from(u32::from_le_bytes(b))),
        "i2" => numbers(data, |b| f64::from(i16::from_le_bytes(b))),
        "u2" => numbers(data, |b| f64::from(u16::from_le_bytes(b))),
        "i1" => numbers(data, |b| f64::from(i8::from_le_bytes(b))),
        "u1" => numbers(data, |[b]| f64::from(b)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, assert_refuses};

    #[test]
    fn arrays_and_texts_come_back() {
        let folder = TempDir::new();
        let path = folder.join("a.npz");
        let mut npz = Npz::default();
        npz.arrays.insert("mu".into(), Array::new(&[3], vec![1.0, -2.5, 1e-300]));
        npz.arrays.insert("n".into(), Array::new(&[], vec![7.0]));
        npz.arrays.insert("sigma".into(), Array::new(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        npz.texts.insert("protocol.json".into(), "{}".into());
        write(&path, &npz).unwrap();
        assert_eq!(read(&path).unwrap(), npz);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("NumPy"));
    }

    /// An array as NumPy writes it: its header, and these bytes.
    fn stored(descr: &str, columns_first: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if columns_first { "True" } else { "False" };
        let dict = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let length = (dict.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], dict.as_bytes(), data].concat()
    }

    #[test]
    fn arrays_of_any_order_are_the_same_numbers() {
        let read = |bytes: Vec<u8>| read_npy(&mut &bytes[..]).unwrap();
        let (rows, columns) = ([1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0_f64, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let expected = Array::new(&[2, 3], rows.to_vec());
        let little = |values: [f64; 6]| values.map(f64::to_le_bytes).concat();
        let big = |values: [f64; 6]| values.map(f64::to_be_bytes).concat();
        assert_eq!(read(stored("<f8", true, "(2, 3)", &little(columns))), expected);
        assert_eq!(read(stored(">f8", false, "(2, 3)", &big(rows))), expected);
        assert_eq!(read(stored(">f8", true, "(2, 3)", &big(columns))), expected);
        let narrow = columns.map(|v| (v as f32).to_be_bytes()).concat();
        assert_eq!(read(stored(">f4", true, "(2, 3)", &narrow)), expected);
        let integers = rows.map(|v| (v as i16).to_be_bytes()).concat();
        assert_eq!(read(stored(">i2", false, "(2, 3)", &integers)), expected);
        // Three indices, one of them of size 1; a single number; nothing at all.
        let cube = read(stored("<f8", true, "(2, 1, 3)", &little(columns)));
        assert_eq!(cube, Array::new(&[2, 1, 3], rows.to_vec()));
        assert_eq!(read(stored(">i8", true, "()", &7_i64.to_be_bytes())), Array::new(&[], vec![7.0]));
        assert_eq!(read(stored("<f8", true, "(0, 3)", &[])), Array::new(&[0, 3], vec![]));
    }

    /// As other programs write the same matrix: narrow and wide types, all orders, both versions of the header, four
    /// indices, and compressed.
    #[test]
    fn matrices_of_any_type_and_order_are_the_same_numbers() {
        let read = |bytes: Vec<u8>| read_npy(&mut &bytes[..]).unwrap();
        let rows = [1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let columns = [1.0_f64, 5.0, 3.0, 7.0, 2.0, 6.0, 4.0, 8.0]; // of 2 x 2 x 2
        let expected = Array::new(&[2, 2, 2], rows.to_vec());
        let half = columns.map(|v| half::f16::from_f64(v).to_be_bytes()).concat();
        assert_eq!(read(stored(">f2", true, "(2, 2, 2)", &half)), expected);
        let unsigned = columns.map(|v| (v as u32).to_be_bytes()).concat();
        assert_eq!(read(stored(">u4", true, "(2, 2, 2)", &unsigned)), expected);
        let long = rows.map(|v| (v as i64).to_be_bytes()).concat();
        assert_eq!(read(stored(">i8", false, "(2, 2, 2)", &long)), expected);
        let bytes = columns.map(|v| v as u8);
        assert_eq!(read(stored("|u1", true, "(2, 2, 2)", &bytes)), expected);
        let native = rows.map(f64::to_le_bytes).concat();
        assert_eq!(read(stored("=f8", false, "(2,2,2)", &native)), expected);
        let four = read(stored(">f8", true, "(1, 2, 2, 2)", &columns.map(f64::to_be_bytes).concat()));
        assert_eq!(four, Array::new(&[1, 2, 2, 2], rows.to_vec()));
        // Negative numbers, and the smallest that there are, keep their bytes.
        let odd = [-0.0, f64::MIN_POSITIVE, -1.5e-300, 5e-324];
        let all = read(stored(">f8", false, "(4,)", &odd.map(f64::to_be_bytes).concat())).values;
        assert_eq!(all.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), odd.map(f64::to_bits));
        // Version 2.0 has four bytes of length.
        let first = stored(">f8", true, "(2, 2, 2)", &columns.map(f64::to_be_bytes).concat());
        let second = [b"\x93NUMPY\x02\x00", &first[8..10], &[0, 0], &first[10..]].concat();
        assert_eq!(read(second), expected);
    }

    #[test]
    fn refuses_arrays_that_lie() {
        let array = npy(&Array::new(&[2], vec![1.0, 2.0]));
        assert!(read_npy(&mut &array[..]).is_ok());
        assert!(read_npy(&mut &array[..array.len() - 8]).unwrap_err().contains("promised"));
        let longer = [&array[..], &[0; 1 << 20]].concat();
        assert_eq!(read_npy(&mut &longer[..]).unwrap_err(), "2 numbers promised, more there");
        let text = String::from_utf8_lossy(&array).into_owned();
        for (from, to, reason) in [
            ("'<f8'", "'|O8'", "type `|O8` is not a number"),
            ("'<f8'", "'<c8'", "type `<c8` is not a number"),
            ("'<f8'", "[('a'", "records of several types"),
            ("(2,)", "(9,)", "9 numbers promised, 2 there"),
        ] {
            let changed: Vec<u8> = array
                .windows(from.len())
                .position(|w| w == from.as_bytes())
                .map(|at| [&array[..at], to.as_bytes(), &array[at + from.len()..]].concat())
                .unwrap_or_else(|| panic!("{text}"));
            assert_refuses(read_npy(&mut &changed[..]), reason);
        }
    }
}
