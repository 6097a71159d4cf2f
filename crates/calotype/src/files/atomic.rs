//! Files that are either whole or not there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::content;
use crate::error::{Error, Result};

/// Writes to a temporary file beside `path`, syncs it and renames it over `path`: after a crash, a
/// full disk or Ctrl-C the old file is intact or the new one complete.
///
/// # Errors
/// `Error::Io` with the step that failed; the temporary file is removed.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |temporary| std::fs::write(temporary, bytes).map_err(Error::io("write", temporary)))
}

/// [`write()`] by a function that makes the temporary file, and may say more of it.
///
/// # Errors
/// As [`write()`]; those of `make`.
pub fn write_with<T>(path: &Path, make: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let temporary = temporary(path);
    let result = (|| {
        let made = make(&temporary)?;
        let file = File::open(&temporary).map_err(Error::io("write", &temporary))?;
        file.sync_all().map_err(Error::io("write", &temporary))?;
        std::fs::rename(&temporary, path).map_err(Error::io("rename", path))?;
        Ok(made)
    })();
    if result.is_err() {
        // The first error is the one to report; a leftover temporary file carries no model name.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// `NAME.PROCESS.NUMBER.tmp`: several processes, and threads of one, may write the same file at once.
fn temporary(path: &Path) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.{number}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Whether a file of this name is what a crash has left of [`write_with`].
pub fn is_temporary(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut pieces = name.rsplit('.');
    pieces.next() == Some("tmp") && pieces.by_ref().take(2).filter(|piece| is_number(piece)).count() == 2
}

/// Reads a whole file.
///
/// # Errors
/// `Error::Io`.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(Error::io("read", path))
}

/// Keeps other processes away from what `path` stands for, until the file is dropped. `taken`: why not.
///
/// # Errors
/// `Error::Io` if another process has it, or the file cannot be made.
pub fn lock(path: &Path, taken: &'static str) -> Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    let file = File::create(path).map_err(Error::io("create", path))?;
    let taken = |_| std::io::Error::other(taken);
    file.try_lock().map_err(taken).map_err(Error::io("lock", path))?;
    Ok(file)
}

/// Removes the temporary files of this module, those of `folder` whose names begin with `start`.
///
/// # Errors
/// `Error::Io`.
pub fn remove_temporary(folder: &Path, start: &str) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_temporary(&name) && name.starts_with(start) {
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Reads JSON into `T`.
///
/// # Errors
/// `Error::Io`; `Error::Format` with line and column.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = read(path)?;
    serde_json::from_slice(&bytes).map_err(|e| match content::mistaken(&bytes) {
        Some(found) => found.error(path, "JSON"),
        None => Error::format(path, "JSON", e),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn threads_write_the_same_file_and_leave_nothing_else() {
        let folder = TempDir::new();
        let path = folder.join("new/file");
        std::thread::scope(|scope| {
            for byte in 0..8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write(path, &[byte; 10_000]).unwrap()));
            }
        });
        let written = read(&path).unwrap();
        assert!(written.len() == 10_000 && written.iter().all(|byte| *byte == written[0]));
        let failed = write_with(&path, |temporary| {
            std::fs::write(temporary, "half").unwrap();
            Err::<(), Error>(Error::argument("test", "no", "yes"))
        });
        assert!(matches!(failed, Err(Error::Argument { .. })));
        assert_eq!(std::fs::read_dir(folder.join("new")).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_leaves_is_known_by_its_name() {
        let left = temporary(Path::new("a/000000010.safetensors"));
        assert!(is_temporary(left.file_name().unwrap().to_str().unwrap()));
        for name in ["a.tmp", "a.1.tmp", "1.tmp", "tmp", "a.1..tmp", "a.1.2", "a.1.b.tmp"] {
            assert!(!is_temporary(name), "{name}");
        }
    }
}
