//! Numbers and texts of a GGUF file's header, one after another.

use crate::files::fault::{Fault, Result};

/// A place in the header. Nothing is taken on the file's word: what is not there is an error before it is looked for.
pub(super) struct Reader<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self { file, at: 0 }
    }

    /// Bytes that are read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// `what`: for messages.
    pub(super) fn bytes(&mut self, count: u64, what: &str) -> Result<&'a [u8]> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let bytes = end.and_then(|end| self.file.get(self.at..end)).ok_or_else(|| Fault::cut_off(what))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        let bytes = self.bytes(4, what)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        let (low, high) = (self.u32(what)?, self.u32(what)?);
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    /// A length and a text.
    pub(super) fn text(&mut self, what: &str) -> Result<&'a str> {
        let length = self.u64(what)?;
        let bytes = self.bytes(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| Fault::damaged(format!("{what} is no UTF-8")))
    }
}
