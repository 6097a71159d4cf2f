//! Names that look the same and are stored differently: archives of macOS have `é` as `e` and an accent.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use unicode_normalization_alignments::UnicodeNormalization;

/// The path with composed accents (NFC), for comparisons.
pub(super) fn composed(path: &Path) -> PathBuf {
    match path.to_str() {
        Some(text) if !text.is_ascii() => text.nfc().map(|(c, _)| c).collect::<String>().into(),
        _ => path.to_owned(),
    }
}

/// The names in folders, each folder listed once.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By folder, the names as they are stored by their composed form.
    listed: HashMap<PathBuf, HashMap<PathBuf, PathBuf>>,
}

impl Names {
    /// `file`, a path in `dir`, as its names are stored; unchanged if there is no such file in any form.
    pub(super) fn stored(&mut self, dir: &Path, file: &Path) -> PathBuf {
        let is_there = |path: &Path| fs::symlink_metadata(dir.join(path)).is_ok();
        if is_there(file) {
            return file.to_owned();
        }
        let mut stored = PathBuf::new();
        for part in file.iter().map(Path::new) {
            if is_there(&stored.join(part)) {
                stored.push(part);
                continue;
            }
            let names = self.listed.entry(stored.clone()).or_insert_with(|| list(&dir.join(&stored)));
            match names.get(&composed(part)) {
                Some(name) => stored.push(name),
                None => return file.to_owned(),
            }
        }
        stored
    }
}

/// What is in a folder; nothing if it cannot be read.
fn list(folder: &Path) -> HashMap<PathBuf, PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| PathBuf::from(entry.file_name()));
    names.map(|name| (composed(&name), name)).collect()
}
