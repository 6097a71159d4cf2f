//! A tar file that many threads read at once.

use std::fs::File;
use std::io::{ErrorKind, Read, Result as IoResult, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

#[derive(Debug)]
pub(super) struct Shard {
    path: PathBuf,
    /// Open where it may stay so, and the system can read at a position without a cursor to share.
    #[cfg(unix)]
    file: Option<File>,
}

impl Shard {
    /// Of the file at `path`, which may stay open as `file`.
    #[cfg_attr(not(unix), expect(unused_variables, reason = "it is opened anew for each read"))]
    pub fn new(path: PathBuf, file: Option<File>) -> Self {
        Self {
            path,
            #[cfg(unix)]
            file,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `length` bytes from byte `offset` on; the index has made sure that so many were there.
    pub fn read(&self, member: &str, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let reason = format!(
                    "`{member}`, {length} bytes at byte {offset}, is no longer whole: the file was changed"
                );
                Err(Error::format(&self.path, "tar", reason))
            }
            Err(error) => Err(Error::io("read", &self.path)(error)),
        }
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> IoResult<()> {
        #[cfg(unix)]
        if let Some(file) = &self.file {
            return std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset);
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }
}
