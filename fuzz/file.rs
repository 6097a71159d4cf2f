//! Bytes as the file that a reader opens.

use std::path::PathBuf;

/// Writes `bytes` over this process's temporary file. Nothing read from it before may be alive: it may be
/// mapped.
pub fn with(bytes: &[u8], extension: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("calotype-fuzz-{}.{extension}", std::process::id()));
    // A new file: some file systems write one that was cut and filled again to the disk at once.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).expect("a temporary file");
    path
}
