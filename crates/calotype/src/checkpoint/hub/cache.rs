//! The cache on disk: one folder per repository, laid out as `huggingface_hub` has it.

use std::path::{Path, PathBuf};

use super::client::Listing;
use super::{HubSettings, Repo, is_commit, is_safe_name};
use crate::error::{Error, Result};
use crate::files::atomic;

impl Repo {
    /// The repository's folder in the cache.
    pub fn folder(&self, settings: &HubSettings) -> PathBuf {
        settings.cache.join(format!("models--{}", self.id.replace('/', "--")))
    }

    /// All file names of a commit, one per line. `huggingface_hub` has no such file and leaves it alone.
    fn listing_path(&self, settings: &HubSettings, commit: &str) -> PathBuf {
        self.folder(settings).join(".files").join(commit)
    }

    /// Writes down all file names of a commit, for [`Repo::cached`].
    pub fn remember_files(&self, settings: &HubSettings, listing: &Listing) {
        // An aid for later; a cache that we may only read does without.
        let _ = write_if_other(&self.listing_path(settings, &listing.commit), &listing.files.join("\n"));
    }

    /// Writes down which commit the revision is.
    pub fn remember_commit(&self, settings: &HubSettings, commit: &str) -> Result<()> {
        if self.revision == commit {
            Ok(())
        } else {
            write_if_other(&self.folder(settings).join("refs").join(&self.revision), commit)
        }
    }

    /// The cache or the repository has `got` where `expected` is needed.
    pub fn lacks(&self, expected: impl ToString, got: impl ToString) -> Error {
        Error::data(format!("{}@{}", self.id, self.revision), expected, got)
    }

    /// The snapshot in the cache, if it holds what is wanted; `why` the network is not asked.
    pub fn cached(
        &self,
        settings: &HubSettings,
        choose: &dyn Fn(&[String]) -> Vec<String>,
        why: &str,
    ) -> Result<PathBuf> {
        let root = self.folder(settings);
        let advice = if settings.offline {
            "unset HF_HUB_OFFLINE once to download, or give a local folder"
        } else {
            "try again with a network, or give a local folder"
        };
        let commit = if is_commit(&self.revision) {
            self.revision.clone()
        } else {
            std::fs::read_to_string(root.join("refs").join(&self.revision)).unwrap_or_default()
        };
        let snapshot = root.join("snapshots").join(commit.trim());
        if !is_commit(commit.trim()) || !snapshot.is_dir() {
            let got = format!("nothing in `{}` ({why}); {advice}", root.display());
            return Err(self.lacks("a downloaded snapshot", got));
        }
        // Without our list (Python filled the cache) what is there must be all there is.
        let files = match std::fs::read_to_string(self.listing_path(settings, commit.trim())) {
            Ok(list) => list.lines().filter(|file| is_safe_name(file)).map(str::to_owned).collect(),
            Err(_) => files_in(&snapshot),
        };
        let chosen = choose(&files);
        let missing: Vec<&str> =
            chosen.iter().filter(|file| !snapshot.join(file).is_file()).map(String::as_str).collect();
        let what = match (chosen.is_empty(), missing.is_empty()) {
            (false, true) => return Ok(snapshot),
            (true, _) => "none of the wanted files".to_owned(),
            (false, false) => format!("without {}", missing.join(", ")),
        };
        let got = format!("{what} in `{}` ({why}); {advice}", snapshot.display());
        Err(self.lacks("a complete snapshot in the cache", got))
    }
}

fn write_if_other(path: &Path, text: &str) -> Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        Ok(())
    } else {
        atomic::write(path, text.as_bytes())
    }
}

/// Names of all files in `folder` and below, with `/` between parts, sorted; broken links are no files.
pub(super) fn files_in(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files.extend(files_in(&entry.path()).into_iter().map(|inner| format!("{name}/{inner}")));
        } else if entry.path().is_file() {
            files.push(name);
        }
    }
    files.sort();
    files
}

/// Holds the lock that `huggingface_hub` uses for a blob, until dropped; waits for other processes.
pub(super) fn lock(settings: &HubSettings, root: &Path, etag: &str) -> Result<std::fs::File> {
    let folder = settings.cache.join(".locks").join(root.file_name().unwrap_or_default());
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let path = folder.join(format!("{etag}.lock"));
    let file = std::fs::File::create(&path).map_err(Error::io("create", &path))?;
    // Some network file systems have no locks: then two processes may download the same, as in Python.
    let _ = file.lock();
    Ok(file)
}

/// Makes `snapshot/file` a relative link to its blob: the cache can be moved. Where the system makes no
/// links (Windows without the right), a hard link or a copy.
pub(super) fn link(root: &Path, blob: &Path, target: &Path, file: &str) -> Result<()> {
    let folder = target.parent().unwrap_or(root);
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    if target.is_symlink() {
        // Its blob was deleted.
        std::fs::remove_file(target).map_err(Error::io("replace", target))?;
    }
    let up = "../".repeat(2 + file.matches('/').count());
    let relative = format!("{up}blobs/{}", blob.file_name().unwrap_or_default().to_string_lossy());
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(&relative, target);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(relative.replace('/', "\\"), target);
    #[cfg(not(any(unix, windows)))]
    let linked: std::io::Result<()> = Err(std::io::Error::other(relative));
    if linked.is_err() && std::fs::hard_link(blob, target).is_err() && !target.is_file() {
        let whole = target.with_extension("incomplete");
        std::fs::copy(blob, &whole).map_err(Error::io("create", &whole))?;
        std::fs::rename(&whole, target).map_err(Error::io("rename", target))?;
    }
    Ok(())
}
