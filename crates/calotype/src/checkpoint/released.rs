//! The model that comes with the program, for whoever has none yet: `models/emoji-scenes-64`.
//!
//! Its files are part of the binary (feature `released-model`). A model is read from a folder, so they are written
//! into the user's cache when they are first asked for.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::atomic;
use crate::progress::Progress;

/// What the model is called where a path or a name on the hub may stand.
pub const NAME: &str = "emoji-scenes-64";

macro_rules! files_of_the_model {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../../models/emoji-scenes-64/", $name)) as &[u8])),*]
    };
}

/// The files, by their paths in the folder.
const FILES: &[(&str, &[u8])] = &files_of_the_model![
    "README.md",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
];

/// The model's folder in the cache: `$XDG_CACHE_HOME/calotype`, else `~/.cache/calotype`.
///
/// # Errors
/// `Error::Argument` where there is no home for a cache; `Error::Io` where it cannot be written.
pub fn unpacked(progress: &dyn Progress) -> Result<PathBuf> {
    unpacked_to(&cache()?, progress)
}

/// The model's folder in `cache`, which has a name of its own for every release. Files that are missing there, or
/// are not the model's, are written.
fn unpacked_to(cache: &Path, progress: &dyn Progress) -> Result<PathBuf> {
    let mut sum = crc32fast::Hasher::new();
    FILES.iter().for_each(|(_, bytes)| sum.update(bytes));
    let folder = cache.join(format!("{NAME}-{:08x}", sum.finalize()));
    for (name, bytes) in FILES {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|there| there == *bytes) {
            continue;
        }
        progress.say(&format!("{NAME}: {name} goes to `{}`", folder.display()));
        let parent = path.parent().unwrap_or(&folder);
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        atomic::write(&path, bytes)?;
    }
    Ok(folder)
}

fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").or_else(std::env::home_dir).map(|home| home.join(".cache")))
        .ok_or_else(|| Error::argument("XDG_CACHE_HOME", "the folder of caches", "nothing, and no home"))?;
    Ok(cache.join("calotype"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::testing::TempDir;

    /// Paths of all files under `folder`, sorted.
    fn listed(folder: &Path) -> Vec<String> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                paths.extend(listed(&entry.path()).into_iter().map(|file| format!("{name}/{file}")));
            } else {
                paths.push(name);
            }
        }
        paths.sort();
        paths
    }

    #[test]
    fn the_files_are_those_of_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(NAME);
        assert_eq!(listed(&folder), FILES.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
        let bytes: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= 16 << 20, "{bytes} bytes");
    }

    #[test]
    fn a_file_that_is_missing_or_damaged_is_written_again() {
        let cache = TempDir::new();
        let folder = unpacked_to(&cache, &Silent).unwrap();
        assert_eq!(listed(&folder).len(), FILES.len());
        fs::remove_file(folder.join("model_index.json")).unwrap();
        fs::write(folder.join("unet/config.json"), "{}").unwrap();
        assert_eq!(unpacked_to(&cache, &Silent).unwrap(), folder);
        for (name, bytes) in FILES {
            assert!(fs::read(folder.join(name)).unwrap() == *bytes, "{name}");
        }
    }
}
