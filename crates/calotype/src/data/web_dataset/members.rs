//! The members of a tar file by their headers: ustar (POSIX.1-1988), pax (POSIX.1-2001), GNU long names.
//!
//! The `tar` crate decodes a header's fields; the walk is ours, because its own one reads names of any
//! length into memory and does not say at which byte a file is damaged.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::error::{Error, Result};
use crate::files::content;

/// The most bytes that are read of a text, a long name or a pax header.
pub(super) const TEXT_LIMIT: u64 = 1 << 20;
const BLOCK: u64 = 512;
/// So far behind the end of the archive it is looked for more: twenty times tar's usual padding.
const TAIL: u64 = 20 * 20 * BLOCK;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    /// A link, a device or something unknown; the text says which.
    Other(&'static str),
}

#[derive(Debug)]
pub(super) struct Member {
    /// Without `./` before it; bytes that are no text are escaped.
    pub name: String,
    pub kind: Kind,
    /// Byte of its header.
    pub header: u64,
    /// First byte of its content.
    pub offset: u64,
    /// Bytes of its content, all of them in the file.
    pub length: u64,
}

/// What headers before a member's own say about it.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

pub(super) struct Members {
    path: PathBuf,
    file: File,
    /// Bytes of the file.
    length: u64,
    /// Byte of the next header.
    next: u64,
}

impl Members {
    pub fn open(path: &Path) -> Result<Self> {
        // Opening a named pipe would wait for ever.
        if !std::fs::metadata(path).map_err(Error::io("read", path))?.is_file() {
            return Err(Error::format(path, "tar", "it is not a file"));
        }
        content::refuse_mistaken(path, "tar")?;
        let file = File::open(path).map_err(Error::io("read", path))?;
        let length = file.metadata().map_err(Error::io("read", path))?.len();
        Ok(Self { path: path.to_owned(), file, length, next: 0 })
    }

    /// Whether the file begins with gzip's two bytes.
    pub fn is_gzip(&mut self) -> Result<bool> {
        Ok(self.length >= 2 && self.read(0, 2)? == [0x1f, 0x8b])
    }

    pub fn into_file(self) -> File {
        self.file
    }

    /// The next member; `None` at the end of the archive.
    pub fn next(&mut self) -> Result<Option<Member>> {
        let mut extension = Extension::default();
        let first = self.next;
        loop {
            let at = self.next;
            let Some(header) = self.header(at)? else {
                return if at == first {
                    self.check_tail(at).map(|()| None)
                } else {
                    Err(self.damaged(first, "it describes a member that does not come"))
                };
            };
            let kind = header.entry_type();
            if kind.is_gnu_sparse() {
                return Err(self.damaged(at, "it is a sparse file: pack the shard without --sparse"));
            }
            let describes = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            let length = match extension.size {
                _ if !has_content(kind) => 0,
                Some(size) if !describes => size,
                _ => self.size(at, &header)?,
            };
            let offset = at + BLOCK;
            let end = offset.checked_add(length).filter(|&end| end <= self.length).ok_or_else(|| {
                let rest = self.length - offset;
                self.damaged(at, format!("it has {length} bytes, {rest} are there; the file is cut short"))
            })?;
            self.next = end.next_multiple_of(BLOCK);
            if describes {
                self.extend(&mut extension, at, kind, length)?;
                continue;
            }
            let name = readable(&extension.path.unwrap_or_else(|| header.path_bytes().into_owned()));
            let kind = if name.ends_with('/') { Kind::Folder } else { kind_of(kind) };
            return Ok(Some(Member { name, kind, header: at, offset, length }));
        }
    }

    /// The content of a text member.
    pub fn text(&mut self, member: &Member) -> Result<Vec<u8>> {
        if member.length > TEXT_LIMIT {
            let reason = format!(
                "`{}`: a text of {} bytes, at most {TEXT_LIMIT} are read",
                member.name, member.length
            );
            return Err(self.damaged(member.header, reason));
        }
        self.read(member.offset, member.length)
    }

    /// Adds what the member at byte `at`, of `length` bytes, says about the next one.
    fn extend(&mut self, to: &mut Extension, at: u64, kind: EntryType, length: u64) -> Result<()> {
        if kind.is_gnu_longlink() {
            return Ok(()); // links are not followed
        }
        if length > TEXT_LIMIT {
            return Err(self.damaged(at, format!("a name or pax header of {length} bytes")));
        }
        let content = self.read(at + BLOCK, length)?;
        if kind.is_gnu_longname() {
            let end = content.iter().position(|&byte| byte == 0).unwrap_or(content.len());
            return self.set(at, &mut to.path, content[..end].to_vec());
        }
        let records = pax_records(&content).ok_or_else(|| self.damaged(at, "a pax header without sense"))?;
        for (key, value) in records {
            let relevant = matches!(key, b"path" | b"size") || key.starts_with(b"GNU.sparse.");
            if relevant && kind.is_pax_global_extensions() {
                return Err(self.damaged(at, "a pax header gives all members one name, size or map"));
            }
            match key {
                b"path" => self.set(at, &mut to.path, value.to_vec())?,
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    let size = size.ok_or_else(|| self.damaged(at, "a size that is no number"))?;
                    self.set(at, &mut to.size, size)?;
                }
                _ if relevant => {
                    return Err(
                        self.damaged(at, "the next one is a sparse file: pack the shard without --sparse")
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Readers that see two names or sizes disagree on which is meant.
    fn set<T>(&self, at: u64, place: &mut Option<T>, value: T) -> Result<()> {
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.damaged(at, "the next one's name or size is given twice")),
        }
    }

    /// The header at byte `at`; `None` if it is the block of zeros that ends the archive.
    fn header(&mut self, at: u64) -> Result<Option<Header>> {
        let rest = self.length.saturating_sub(at);
        if rest < BLOCK {
            let reason = match self.length {
                0 => "the file is empty".to_owned(),
                end => format!(
                    "at byte {end}, the end of the file, the archive is not complete: the file is cut short"
                ),
            };
            return Err(Error::format(&self.path, "tar", reason));
        }
        let mut header = Header::new_old();
        let block = self.read(at, BLOCK)?;
        header.as_mut_bytes().copy_from_slice(&block);
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        // The sum of all bytes, those of the sum itself (148 to 155) taken as spaces.
        let sum: u32 =
            block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]).copied().map(u32::from).sum();
        match header.cksum() {
            Ok(given) if given == sum => Ok(Some(header)),
            _ => Err(self.damaged(at, "it is no tar header (its checksum is wrong)")),
        }
    }

    /// The size field, octal or base 256.
    fn size(&self, at: u64, header: &Header) -> Result<u64> {
        let field = header.as_old().size;
        if field[0] & 0x80 != 0 && field[..4] != [0x80, 0, 0, 0] {
            return Err(self.damaged(at, "its size is negative or beyond 64 bits"));
        }
        header.entry_size().map_err(|_| self.damaged(at, "its size is no number"))
    }

    /// Samples behind the end, as in tars that were joined by `cat`, must not be lost in silence.
    fn check_tail(&mut self, end: u64) -> Result<()> {
        let tail = self.read(end, TAIL.min(self.length - end))?;
        match tail.iter().position(|&byte| byte != 0) {
            None => Ok(()),
            Some(at) => {
                let reason = format!(
                    "the archive ends at byte {end}, but at byte {} there is more: are these joined tar files?",
                    end + at as u64
                );
                Err(Error::format(&self.path, "tar", reason))
            }
        }
    }

    /// `length` is small or not more than the file has.
    fn read(&mut self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        let done = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(&mut bytes));
        done.map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    fn damaged(&self, at: u64, reason: impl std::fmt::Display) -> Error {
        Error::format(&self.path, "tar", format!("the member at byte {at}: {reason}"))
    }
}

/// Links, devices and folders are a header only, whatever its size field says.
fn has_content(kind: EntryType) -> bool {
    !matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Char
            | EntryType::Block
            | EntryType::Directory
            | EntryType::Fifo
    )
}

fn kind_of(kind: EntryType) -> Kind {
    match kind {
        EntryType::Regular | EntryType::Continuous => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Link => Kind::Other("a hard link"),
        EntryType::Symlink => Kind::Other("a symbolic link"),
        EntryType::Char | EntryType::Block | EntryType::Fifo => Kind::Other("a device or pipe"),
        _ => Kind::Other("of an unknown type"),
    }
}

/// Key and value of each `LENGTH KEY=VALUE\n`; `None` if one is not that. The length counts all of it, and
/// the value may hold line ends.
fn pax_records(mut rest: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !rest.is_empty() {
        let space = rest.iter().position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        let record = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&byte| byte == b'=')?;
        records.push((&record[..equals], &record[equals + 1..]));
        rest = &rest[length..];
    }
    Some(records)
}

/// A name as it may stand in a message.
fn readable(name: &[u8]) -> String {
    let name = name.strip_prefix(b"./").unwrap_or(name);
    match std::str::from_utf8(name) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}
