//! Flat copies of the pictures of parquet files, in which any picture is read alone.
//!
//! `<name>-<digest>.pictures` holds the pictures of one parquet file, one after the other, then the length of each
//! (u32, little-endian; 0 where a row has none), the number of rows (u64) and [`MAGIC`].

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::pictures::{Cursor, PictureGroup};
use crate::error::{Error, Result};
use crate::files::atomic;
use crate::files::sha256::hex;

const MAGIC: &[u8; 8] = b"calopic1";
/// Number of rows and magic.
const TAIL: u64 = 16;

/// The copy of one parquet file's pictures.
pub(super) struct Spilled {
    path: PathBuf,
    /// Where each row's picture begins; one more at the end.
    starts: Vec<u64>,
}

impl Spilled {
    /// The picture in a row of the file, empty where there is none.
    pub(super) fn read(&self, row: usize) -> Result<Vec<u8>> {
        let (start, end) = (self.starts[row], self.starts[row + 1]);
        let mut picture = vec![0; (end - start) as usize];
        let mut read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(&mut picture)
        };
        read().map_err(Error::io("read", &self.path))?;
        Ok(picture)
    }
}

/// The copy of `source` in `cache`: the one that is there, or a new one. `copied` hears the rows of each
/// group.
pub(super) fn copy(
    source: &Path,
    column: &str,
    groups: &[PictureGroup],
    cache: &Path,
    copied: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Spilled> {
    let path = cache.join(name(source, column)?);
    let rows = groups.iter().map(|group| group.chunk.rows()).sum();
    let starts = match index(&path, rows).map_err(Error::io("read", &path))? {
        Some(starts) => {
            copied(rows)?;
            starts
        }
        None => atomic::write_with(&path, |temporary| write(temporary, groups, copied))?,
    };
    Ok(Spilled { path, starts })
}

/// Different for different files, and for the same file after a change.
fn name(source: &Path, column: &str) -> Result<String> {
    let known = std::fs::canonicalize(source).and_then(|path| Ok((path.metadata()?, path)));
    let (metadata, path) = known.map_err(Error::io("read", source))?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let identity = format!(
        "{}\n{}\n{}\n{column}",
        path.display(),
        metadata.len(),
        changed.map_or(0, |since| since.as_nanos())
    );
    let digest = hex(&Sha256::digest(identity)[..8]);
    Ok(format!("{}-{digest}.pictures", source.file_stem().unwrap_or_default().display()))
}

/// Where the pictures begin in the copy at `path`; `None` if there is none, or it is not of `rows` rows and
/// whole.
fn index(path: &Path, rows: usize) -> std::io::Result<Option<Vec<u64>>> {
    let mut file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let after_pictures = file.metadata()?.len().checked_sub(4 * rows as u64 + TAIL);
    let Some(after_pictures) = after_pictures else { return Ok(None) };
    file.seek(SeekFrom::Start(after_pictures))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (lengths, tail) = bytes.split_at(4 * rows);
    let lengths = lengths.as_chunks::<4>().0.iter().map(|length| u32::from_le_bytes(*length));
    let starts = starts(lengths);
    let whole = tail == end_of_file(rows) && starts.last() == Some(&after_pictures);
    Ok(whole.then_some(starts))
}

fn starts(lengths: impl Iterator<Item = u32>) -> Vec<u64> {
    let mut end = 0;
    std::iter::once(0)
        .chain(lengths.map(|length| {
            end += u64::from(length);
            end
        }))
        .collect()
}

fn end_of_file(rows: usize) -> Vec<u8> {
    [&(rows as u64).to_le_bytes()[..], MAGIC].concat()
}

/// Where the pictures of the new copy begin.
fn write(
    path: &Path,
    groups: &[PictureGroup],
    copied: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<u64>> {
    let failed = || Error::io("write", path);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(Error::io("create", path))?);
    let mut lengths: Vec<u32> = Vec::new();
    for group in groups {
        let mut cursor = Cursor::new(0, &group.chunk)?;
        for row in 0..group.chunk.rows() {
            let picture = cursor.read(&group.chunk, row)?.unwrap_or_default();
            let length = u32::try_from(picture.len());
            lengths.push(length.map_err(|_| group.chunk.fault(row, "the picture is larger than 4 GiB"))?);
            file.write_all(&picture).map_err(failed())?;
        }
        copied(group.chunk.rows())?;
    }
    for length in &lengths {
        file.write_all(&length.to_le_bytes()).map_err(failed())?;
    }
    file.write_all(&end_of_file(lengths.len())).map_err(failed())?;
    file.flush().map_err(failed())?;
    Ok(starts(lengths.into_iter()))
}
