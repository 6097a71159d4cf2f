//! The LoRAs that a prompt's tags name, in their folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::WeightedLora;
use crate::error::{Error, Result};
use crate::files::safetensors;
use crate::text_encoder::extra_network::{LoraTag, tags};

/// Endings of LoRA files; of several files of one name the first of these is taken.
const ENDINGS: [&str; 3] = ["safetensors", "pt", "ckpt"];

/// How many names an error lists.
const LISTED: usize = 5;

/// A file of the folder, or of one inside it.
struct Found {
    /// Without its ending.
    name: String,
    path: PathBuf,
    /// Folders between, and which of [`ENDINGS`].
    order: (usize, usize),
}

impl Found {
    /// What a safetensors file says of it; nothing where it cannot be read.
    fn name_in_training(&self) -> Option<String> {
        let has_header = ENDINGS[self.order.1] == "safetensors";
        if has_header { safetensors::read_metadata(&self.path).ok()?.remove("ss_output_name") } else { None }
    }
}

/// The files of the prompt's tags, in order. Names are compared with those of the files that lie in `folder` and in the
/// folders inside it, so none leads out of it; a name that no file has may be the one that training gave it
/// (`ss_output_name` of kohya's sd-scripts).
///
/// # Errors
/// `Error::Argument` for a tag that cannot be read or names no file, or several; `Error::Io`.
pub(super) fn named_in(prompt: &str, folder: &Path) -> Result<Vec<WeightedLora>> {
    if !folder.is_dir() {
        return Err(Error::argument("lora_dir", "a folder", format!("`{}`", folder.display())));
    }
    let tags: Vec<_> = tags(prompt).into_iter().filter(|tag| tag.is_lora).collect();
    if tags.is_empty() {
        return Ok(vec![]);
    }
    let files = files(folder)?;
    // Headers are read where a name asks for them, and then once.
    let mut in_training: Option<Vec<Option<String>>> = None;
    tags.into_iter()
        .map(|tag| {
            let LoraTag { name, weight } = tag.lora()?;
            let refused = |expected: String| Error::argument("prompt", expected, tag.written);
            let mut named: Vec<&Found> = files.iter().filter(|file| file.name == name).collect();
            if named.is_empty() {
                let trained =
                    in_training.get_or_insert_with(|| files.iter().map(Found::name_in_training).collect());
                let pairs = files.iter().zip(&*trained);
                named = pairs.filter(|(_, own)| own.as_deref() == Some(name)).map(|(file, _)| file).collect();
            }
            named.sort_by(|a, b| (a.order, &a.path).cmp(&(b.order, &b.path)));
            match named[..] {
                [] => Err(refused(known(name, &files, folder))),
                [first, second, ..] if first.order == second.order => Err(refused(format!(
                    "a name of one file, not of `{}` and `{}`",
                    first.path.display(),
                    second.path.display()
                ))),
                [first, ..] => Ok(WeightedLora { file: first.path.clone(), weight }),
            }
        })
        .collect()
}

/// The LoRAs in a folder and the folders inside it; linked files count, linked folders do not.
fn files(folder: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let entry = entry.map_err(Error::io("read", &folder))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(Error::io("read", &folder))?);
            if kind.is_dir() {
                folders.push((path, depth + 1));
                continue;
            }
            let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
            let ending = ending.and_then(|ending| ENDINGS.iter().position(|known| *known == ending));
            if let (Some(ending), Some(stem), true) = (ending, path.file_stem(), path.is_file()) {
                let name = stem.to_string_lossy().into_owned();
                found.push(Found { name, path, order: (depth, ending) });
            }
        }
    }
    Ok(found)
}

/// What names there are, the nearest first.
fn known(name: &str, files: &[Found], folder: &Path) -> String {
    let folder = folder.display();
    let mut names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    if names.is_empty() {
        return format!("a LoRA in `{folder}`, which has no {}", ENDINGS.map(|e| format!(".{e}")).join(", "));
    }
    names.sort_unstable();
    names.dedup();
    names.sort_by_cached_key(|known| distance(&name.to_lowercase(), &known.to_lowercase()));
    let more = names.len().saturating_sub(LISTED);
    names.truncate(LISTED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("a LoRA of `{folder}`: {}{more}", names.join(", "))
}

/// Characters to insert, delete or replace. Levenshtein 1966.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempDir, assert_refuses};

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("film", "film", 0), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), expected);
            assert_eq!(distance(b, a), expected);
        }
    }

    #[test]
    fn names_are_those_of_files_in_the_folder() {
        let dir = TempDir::new();
        let folder = dir.join("loras");
        fs::create_dir_all(folder.join("style/old")).unwrap();
        for file in ["film.safetensors", "film.pt", "a.v2.ckpt", "style/ink.pt", "style/old/film.safetensors"]
        {
            fs::write(folder.join(file), "").unwrap();
        }
        fs::write(dir.join("secret.safetensors"), "").unwrap();
        fs::write(folder.join("notes.txt"), "").unwrap();
        let named = named_in("<lora:film:0.5> a <lora:a.v2> <lyco:ink:2>", &folder).unwrap();
        let found: Vec<_> = named.iter().map(|lora| (lora.file.clone(), lora.weight)).collect();
        let at = |name: &str| folder.join(name);
        assert_eq!(found, [(at("film.safetensors"), 0.5), (at("a.v2.ckpt"), 1.0), (at("style/ink.pt"), 2.0)]);
        let absolute = format!("<lora:{}:1>", dir.join("secret").display());
        for outside in
            ["<lora:../secret:1>", "<lora:../../x:1>", "<lora:style/ink>", "<lora:notes>", &absolute]
        {
            assert_refuses(named_in(outside, &folder), "prompt: expected a LoRA of `");
        }
        let error = named_in("<lora:Fim:1>", &folder).unwrap_err().to_string();
        assert!(error.contains("`: film, ink, a.v2, got <lora:Fim:1>"), "{error}");
        let metadata = [("ss_output_name".to_owned(), "watercolour".to_owned())].into();
        let tensors = [("a", &[1][..], &[0.5][..])].into_iter();
        safetensors::write_borrowed(&folder.join("wc-000010.safetensors"), tensors, metadata).unwrap();
        let named = named_in("<lora:watercolour:0.3>", &folder).unwrap();
        assert_eq!(named[0].file, at("wc-000010.safetensors"));
        assert_refuses(named_in("<lora:>", &folder), "prompt: expected a LoRA's tag with a name");
        assert_refuses(named_in("a cat", &dir.join("none")), "lora_dir: expected a folder");
        assert_eq!(named_in("a cat <hypernet:x:1>", &folder).unwrap(), []);
        fs::create_dir(folder.join("other")).unwrap();
        fs::write(folder.join("other/ink.pt"), "").unwrap();
        assert_refuses(named_in("<lora:ink>", &folder), "prompt: expected a name of one file, not of `");
    }
}
