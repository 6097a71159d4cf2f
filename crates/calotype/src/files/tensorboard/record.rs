//! TFRecord: how messages lie one after another in a file, each with checksums.
//!
//! A record is the length of its data (u64), the checksum of these eight bytes (u32), the data, and the
//! checksum of the data (u32), all little-endian. The checksum is a masked CRC-32C.
//! <https://www.tensorflow.org/tutorials/load_data/tfrecord>

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What the file should be, for messages.
pub(super) const FORMAT: &str = "TensorBoard events";

/// The remainder of each byte under Castagnoli's polynomial, bits reversed.
const REMAINDERS: [u32; 256] = {
    let mut remainders = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            bit += 1;
        }
        remainders[byte] = crc;
        byte += 1;
    }
    remainders
};

/// CRC-32C (RFC 3720, appendix B.4).
pub(super) fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, byte| (crc >> 8) ^ REMAINDERS[usize::from(crc as u8 ^ byte)])
}

/// The checksum as it is stored: rotated, and a constant added, because a CRC of data that holds its own CRC
/// says little.
fn masked_crc32c(data: &[u8]) -> [u8; 4] {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// `data` as a record.
pub(super) fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length, masked_crc32c(&length).as_slice(), data, &masked_crc32c(data)].concat()
}

/// One record of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// The byte it begins at.
    pub(super) offset: u64,
    /// What it holds.
    pub(super) data: Vec<u8>,
}

/// The records of a file, one at a time. Ends before a last record that was cut, as a killed writer leaves
/// it, and after the first error.
///
/// Items are `Error::Io`, and `Error::Format` with the offset of a record of which a checksum is wrong.
#[derive(Debug)]
pub(super) struct Records<R> {
    path: PathBuf,
    reader: R,
    end: u64,
    done: bool,
}

impl Records<BufReader<File>> {
    /// Those of the file `path`.
    ///
    /// # Errors
    /// `Error::Io`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("read", path))?;
        Ok(Self::new(BufReader::new(file), path))
    }
}

impl<R: Read> Records<R> {
    /// Those that `reader` has from its beginning; `path` is for messages.
    pub(super) fn new(reader: R, path: &Path) -> Self {
        Self { path: path.to_owned(), reader, end: 0, done: false }
    }

    /// The byte after the last whole record so far: before the file's end if what follows was cut.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The next record; `None` where the file ends, in the middle of one or not.
    fn record(&mut self) -> Result<Option<Record>> {
        let offset = self.end;
        let wrong = |what| format!("the record at byte {offset} has a wrong checksum of its {what}");
        let (Some(length), Some(checksum)) = (self.array()?, self.array()?) else { return Ok(None) };
        if masked_crc32c(&length) != checksum {
            return Err(Error::format(&self.path, FORMAT, wrong("length")));
        }
        let length = u64::from_le_bytes(length);
        let (Some(data), Some(checksum)) = (self.bytes(length)?, self.array()?) else { return Ok(None) };
        if masked_crc32c(&data) != checksum {
            return Err(Error::format(&self.path, FORMAT, wrong("data")));
        }
        self.end += 16 + length;
        Ok(Some(Record { offset, data }))
    }

    fn array<const N: usize>(&mut self) -> Result<Option<[u8; N]>> {
        Ok(self.bytes(N as u64)?.and_then(|bytes| bytes.try_into().ok()))
    }

    /// The next bytes, if there are so many. Memory grows with what is there, not with what a length claims.
    fn bytes(&mut self, count: u64) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let read = self.reader.by_ref().take(count).read_to_end(&mut bytes);
        let read = read.map_err(Error::io("read", &self.path))?;
        Ok((read as u64 == count).then_some(bytes))
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let record = self.record().transpose();
        self.done = !matches!(record, Some(Ok(_)));
        record
    }
}
