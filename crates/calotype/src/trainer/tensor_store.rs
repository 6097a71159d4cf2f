//! Numbers by key in one file that only grows: what was computed once and is needed every epoch.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"CALSTOR1";
/// Key, number of values, first bytes of a hash of both and of the values that follow.
const HEADER: usize = 32 + 4 + CHECK;
const CHECK: usize = 8;
const FORMAT: &str = "store of tensors";

/// Sixteen million numbers: far more than any latent.
const MOST_VALUES: usize = 1 << 24;

/// What a record is found by.
pub type Key = [u8; 32];

/// Where the values of each key begin, and how many there are.
type Index = HashMap<Key, (u64, usize)>;

/// A file of records, of one process; what follows the first damaged one (a cut last one, from before a crash) is
/// dropped.
#[derive(Debug)]
pub struct TensorStore {
    path: PathBuf,
    file: File,
    index: Index,
    end: u64,
}

impl TensorStore {
    /// Opens or makes the file; every record is checked.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` if the file is something else.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Error::io("open", path))?;
        let taken = |_| std::io::Error::other("another process is using this cache");
        file.try_lock().map_err(taken).map_err(Error::io("lock", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        if length < MAGIC.len() as u64 {
            file.set_len(0).and_then(|()| file.write_all(MAGIC)).map_err(Error::io("write", path))?;
        }
        let (index, end) = read_index(path, &mut file)?;
        file.set_len(end).map_err(Error::io("write", path))?;
        Ok(Self { path: path.to_owned(), file, index, end })
    }

    /// Whether there is a record of `key`.
    pub fn contains(&self, key: &Key) -> bool {
        self.index.contains_key(key)
    }

    /// Adds a record; one that is there already stays.
    ///
    /// # Errors
    /// `Error::Io`; the file then ends where it did.
    pub fn put(&mut self, key: &Key, values: &[f32]) -> Result<()> {
        if self.contains(key) {
            return Ok(());
        }
        let record = encode(key, values);
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&record));
        if let Err(error) = written {
            // What could be written of the record is no use; a reader would drop it too.
            let _ = self.file.set_len(self.end);
            return Err(Error::io("write", &self.path)(error));
        }
        self.index.insert(*key, (self.end + HEADER as u64, values.len()));
        self.end += record.len() as u64;
        Ok(())
    }

    /// The values of `key`.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` if there is no such record.
    pub fn get(&self, key: &Key) -> Result<Vec<f32>> {
        let missing = || Error::format(&self.path, FORMAT, "it has no such record");
        let &(start, count) = self.index.get(key).ok_or_else(missing)?;
        let mut bytes = vec![0; HEADER + 4 * count];
        read_at(&self.file, &mut bytes, start - HEADER as u64).map_err(Error::io("read", &self.path))?;
        let (header, bytes) = bytes.split_at(HEADER);
        if header[..32] != *key || header[36..] != check_of(&header[..36], bytes) {
            return Err(Error::format(&self.path, FORMAT, "a record has changed since the file was opened"));
        }
        Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(not(unix))]
fn read_at(file: &File, bytes: &mut [u8], start: u64) -> std::io::Result<()> {
    // A handle of its own: the position of a file is shared by all who read it.
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(bytes)
}

fn encode(key: &Key, values: &[f32]) -> Vec<u8> {
    let mut body = Vec::with_capacity(36 + 4 * values.len());
    body.extend_from_slice(key);
    body.extend_from_slice(&(values.len() as u32).to_le_bytes());
    body.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let check = check_of(&body[..36], &body[36..]);
    let mut record = Vec::with_capacity(CHECK + body.len());
    record.extend_from_slice(&body[..36]);
    record.extend_from_slice(&check);
    record.extend_from_slice(&body[36..]);
    record
}

/// First bytes of a hash of key, number and values.
fn check_of(key_and_count: &[u8], values: &[u8]) -> [u8; CHECK] {
    let hash = Sha256::new().chain_update(key_and_count).chain_update(values).finalize();
    std::array::from_fn(|i| hash[i])
}

/// Every whole record up to the first that is not, and where the last one ends.
fn read_index(path: &Path, file: &mut File) -> Result<(Index, u64)> {
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    file.seek(SeekFrom::Start(0)).map_err(Error::io("read", path))?;
    let mut reader = BufReader::with_capacity(1 << 20, &*file);
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).map_err(Error::io("read", path))?;
    if magic != *MAGIC {
        return Err(Error::format(path, FORMAT, "it begins with something else"));
    }
    let (mut index, mut end) = (HashMap::new(), MAGIC.len() as u64);
    let mut header = [0; HEADER];
    while end + HEADER as u64 <= length {
        reader.read_exact(&mut header).map_err(Error::io("read", path))?;
        let count = u32::from_le_bytes([header[32], header[33], header[34], header[35]]) as usize;
        let next = end + (HEADER + 4 * count) as u64;
        if count > MOST_VALUES || next > length {
            break;
        }
        let mut values = vec![0; 4 * count];
        reader.read_exact(&mut values).map_err(Error::io("read", path))?;
        if header[36..] != check_of(&header[..36], &values) {
            break;
        }
        // The first 32 bytes of 44 are the key.
        let key: Key = std::array::from_fn(|i| header[i]);
        index.insert(key, (end + HEADER as u64, count));
        end = next;
    }
    Ok((index, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn keeps_what_was_put_and_drops_a_cut_record() {
        let folder = TempDir::new();
        let path = folder.join("store");
        let values: Vec<f32> = (0..50).map(|i| (i as f32).sqrt()).collect();
        let mut store = TensorStore::open(&path).unwrap();
        store.put(&[1; 32], &values).unwrap();
        let whole = std::fs::metadata(&path).unwrap().len();
        store.put(&[2; 32], &values[..7]).unwrap();
        store.put(&[2; 32], &values[..3]).unwrap();
        assert_eq!(store.get(&[2; 32]).unwrap(), values[..7]);
        drop(store);
        let bytes = std::fs::read(&path).unwrap();
        for length in whole..bytes.len() as u64 {
            std::fs::write(&path, &bytes[..length as usize]).unwrap();
            let mut store = TensorStore::open(&path).unwrap();
            assert_eq!(store.get(&[1; 32]).unwrap(), values, "cut at {length}");
            assert!(!store.contains(&[2; 32]));
            store.put(&[3; 32], &values[..2]).unwrap();
            drop(store);
            assert_eq!(TensorStore::open(&path).unwrap().get(&[3; 32]).unwrap(), values[..2]);
        }
    }

    #[test]
    fn refuses_another_file_and_distrusts_a_changed_record() {
        let folder = TempDir::new();
        let path = folder.write("store", b"something else entirely");
        assert!(matches!(TensorStore::open(&path), Err(Error::Format { .. })));
        std::fs::remove_file(&path).unwrap();
        TensorStore::open(&path).unwrap().put(&[1; 32], &[1.0, 2.0]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(!TensorStore::open(&path).unwrap().contains(&[1; 32]));
    }
}
