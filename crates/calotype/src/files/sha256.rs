//! SHA-256 of files, and hashes in hexadecimal.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// The SHA-256 of a file of any length, in hexadecimal.
///
/// # Errors
/// `Error::Io`.
pub fn of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece).map_err(Error::io("read", path))? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&piece[..count]),
        }
    }
}

/// Two hexadecimal digits for each byte of a hash.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    /// FIPS 180-2, appendix B.3: a million times the letter a.
    #[test]
    fn of_a_file_longer_than_a_piece() {
        let folder = TempDir::new();
        let path = folder.write("long", "a".repeat(1_000_000));
        let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(of_file(&path).unwrap(), expected);
        assert_eq!(of_file(&folder.write("empty", "")).unwrap(), hex(&Sha256::digest("")));
    }
}
