//! Pictures of the benchmark's prompts that some program has written, read by the checker.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Deserialize;

use super::{Pairs, PromptSet};
use crate::data::picture;
use crate::error::{Error, Result};
use crate::evaluate::scene_checker::{Reading, SceneChecker};
use crate::files::atomic;

/// A folder with the pictures `unseen/00000.png` …, `seen/00000.png` …
#[derive(Debug, Clone)]
pub struct PictureFolder {
    path: PathBuf,
    size: u32,
}

/// What a line of `prompts.jsonl` must say.
#[derive(Deserialize)]
struct Line {
    file: String,
    prompt: String,
}

impl PictureFolder {
    /// The folder with a picture for each of `prompts`. If it has `prompts.jsonl`, that must say the same prompts.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Data` where a picture is missing (the first is named), the first is no square of a multiple
    /// of 32 pixels, or was made for another prompt.
    pub fn open(path: &Path, prompts: &PromptSet) -> Result<Self> {
        std::fs::metadata(path).map_err(Error::io("read", path))?;
        let files = Pairs::ALL.into_iter().flat_map(|pairs| (0..prompts.count).map(move |i| pairs.file(i)));
        let missing: Vec<String> = files.filter(|file| !path.join(file).is_file()).collect();
        if let Some(first) = missing.first() {
            let expected =
                format!("a numbered picture for each of {0} unseen and {0} seen pairs", prompts.count);
            let got = format!("{} are missing, the first is `{first}`", missing.len());
            return Err(Error::data(format!("`{}`", path.display()), expected, got));
        }
        require_same_prompts(path, prompts)?;
        let first = path.join(Pairs::Unseen.file(0));
        let info = picture::describe(&atomic::read(&first)?, &first.display().to_string())?;
        let (width, height) = (info.width, info.height);
        if width != height || SceneChecker::new(width).is_err() {
            let got = format!("{width} x {height}");
            return Err(Error::data(format!("`{}`", first.display()), SIZE, got));
        }
        Ok(Self { path: path.to_owned(), size: width })
    }

    /// Side of the pictures.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// What the checker sees in the pictures of one kind of prompts.
    ///
    /// # Errors
    /// Those of [`picture::load`]; `Error::Data` for a picture of another size than the first.
    pub fn read(&self, pairs: Pairs, count: usize) -> Result<Vec<Reading>> {
        let checker = SceneChecker::new(self.size)?;
        let read = |i: usize| {
            let path = self.path.join(pairs.file(i));
            let picture = picture::load(&path)?;
            checker.read(&picture).map_err(|_| {
                let got = format!("{} x {}", picture.width(), picture.height());
                Error::data(
                    format!("`{}`", path.display()),
                    format!("{0} x {0}, as the first", self.size),
                    got,
                )
            })
        };
        (0..count).into_par_iter().map(read).collect()
    }
}

/// Refuses pictures that were made for other prompts, as far as their folder says.
fn require_same_prompts(folder: &Path, prompts: &PromptSet) -> Result<()> {
    let path = PromptSet::file_in(folder);
    if !path.is_file() {
        return Ok(());
    }
    let parse = |text: &str| -> Result<BTreeMap<String, String>> {
        let line = |line: &str| serde_json::from_str(line).map(|Line { file, prompt }| (file, prompt));
        text.lines()
            .map(line)
            .collect::<serde_json::Result<_>>()
            .map_err(|e| Error::format(&path, "prompts", e))
    };
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let (said, asked) = (parse(&text)?, parse(&prompts.lines()?)?);
    for (file, prompt) in &asked {
        if let Some(other) = said.get(file).filter(|other| *other != prompt) {
            let what = format!("prompt of `{file}` in `{}`", path.display());
            let expected = format!("`{prompt}` (the nouns, objects and scene seed that it was written with)");
            return Err(Error::data(what, expected, format!("`{other}`")));
        }
    }
    Ok(())
}

/// What the checker can look at.
pub(crate) const SIZE: &str = "a square picture whose side is a multiple of 32 pixels, at most 4096";
