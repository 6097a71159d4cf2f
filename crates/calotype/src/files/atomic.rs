//! Files that are either whole or not there.

use std::fs::File;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes to a temporary file beside `path`, syncs it and renames it over `path`: after a crash, a
/// full disk or Ctrl-C the old file is intact or the new one complete.
///
/// # Errors
/// `Error::Io` with the step that failed; the temporary file is removed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |temporary| std::fs::write(temporary, bytes).map_err(Error::io("write", temporary)))
}

/// [`write()`] by a function that makes the temporary file.
///
/// # Errors
/// As [`write()`]; those of `make`.
pub fn write_with(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let result = (|| {
        make(&temporary)?;
        let file = File::open(&temporary).map_err(Error::io("write", &temporary))?;
        file.sync_all().map_err(Error::io("write", &temporary))?;
        std::fs::rename(&temporary, path).map_err(Error::io("rename", path))
    })();
    if result.is_err() {
        // The first error is the one to report; a leftover temporary file carries no model name.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// Reads a whole file.
///
/// # Errors
/// `Error::Io`.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io("read", path))
}

/// Reads JSON into `T`.
///
/// # Errors
/// `Error::Io`; `Error::Format` with line and column.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|e| Error::format(path, "JSON", e))
}

/// Writes `value` as indented JSON.
///
/// # Errors
/// `Error::Io`.
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::format(path, "JSON", e))?;
    bytes.push(b'\n');
    write(path, &bytes)
}
