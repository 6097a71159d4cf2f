//! What the two kinds of metadata share: lines that name a picture and say something about it.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::Entry;
use super::unicode_name::Names;
use super::walk::{LINK_OUTSIDE, Place, place};
use crate::data::collection::{CaptionNeed, Fault, FaultKind, Faults};
use crate::error::{Error, Result};

/// A picture as metadata names it.
#[derive(Debug)]
pub(super) struct Row {
    /// The line's number, from 1.
    pub(super) line: usize,
    /// Relative to the folder, from [`file_name`].
    pub(super) file: PathBuf,
    /// Not empty; or why there is none.
    pub(super) captions: std::result::Result<Vec<String>, String>,
}

/// A metadata file that has been parsed, its pictures not yet looked for.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) path: PathBuf,
    pub(super) format: &'static str,
    pub(super) rows: Vec<Row>,
}

impl Named {
    /// The pictures of `dir`, whose real path is `real`.
    ///
    /// # Errors
    /// `Error::Format` if there is none; unless faults are listed, if one is named twice, missing, or outside of `dir`
    /// by a link, and if one has no caption where captions are not optional.
    pub(super) fn entries(
        mut self,
        dir: &Path,
        real: &Path,
        need: CaptionNeed,
        faults: &mut Faults,
    ) -> Result<Vec<Entry>> {
        let mut names = Names::default();
        self.rows.iter_mut().for_each(|row| row.file = names.stored(dir, &row.file));
        if faults.are_listed() {
            return self.usable(dir, real, need, faults);
        }
        if self.rows.is_empty() {
            return Err(self.refuse("it names no picture"));
        }
        self.refuse_repeated()?;
        self.refuse_missing(dir, real)?;
        if need == CaptionNeed::Required {
            self.refuse_without_caption()?;
        }
        let entry = |row: Row| Entry { path: dir.join(row.file), captions: row.captions.unwrap_or_default() };
        Ok(self.rows.into_iter().map(entry).collect())
    }

    /// The pictures that can be used; all others are listed.
    fn usable(self, dir: &Path, real: &Path, need: CaptionNeed, faults: &mut Faults) -> Result<Vec<Entry>> {
        let Self { path, format, rows } = self;
        let mut take = |line: usize, kind: FaultKind, reason: String| {
            faults.take(Fault { kind, file: path.display().to_string(), line: Some(line), reason }, format)
        };
        let captioned = rows.iter().any(|row| row.captions.is_ok());
        let (mut entries, mut lines) = (Vec::new(), HashMap::new());
        for Row { line, file, captions } in rows {
            let name = file.display();
            if let Some(before) = lines.get(&file) {
                take(line, FaultKind::Repeated, format!("`{name}` is named in line {before} already"))?;
                continue;
            }
            match place(real, &dir.join(&file)) {
                Place::Inside => {}
                Place::Nowhere => {
                    take(line, FaultKind::Missing, format!("there is no file `{name}`"))?;
                    continue;
                }
                Place::Outside => {
                    take(line, FaultKind::Outside, format!("`{name}`: {LINK_OUTSIDE}"))?;
                    continue;
                }
            }
            if let Err(reason) = &captions
                && (captioned || need == CaptionNeed::Required)
            {
                take(line, FaultKind::Caption, reason.clone())?;
                if need == CaptionNeed::Required {
                    continue;
                }
            }
            entries.push(Entry { path: dir.join(&file), captions: captions.unwrap_or_default() });
            lines.insert(file, line);
        }
        Ok(entries)
    }

    fn refuse(&self, reason: impl ToString) -> Error {
        Error::format(&self.path, self.format, reason)
    }

    fn refuse_repeated(&self) -> Result<()> {
        let mut lines = HashMap::new();
        for row in &self.rows {
            if let Some(before) = lines.insert(&row.file, row.line) {
                let file = row.file.display();
                return Err(
                    self.refuse(format!("line {}: `{file}` is named in line {before} already", row.line))
                );
            }
        }
        Ok(())
    }

    fn refuse_missing(&self, dir: &Path, real: &Path) -> Result<()> {
        let mut missing = Vec::new();
        for row in &self.rows {
            match place(real, &dir.join(&row.file)) {
                Place::Inside => {}
                Place::Nowhere => missing.push(row),
                Place::Outside => {
                    let file = row.file.display();
                    return Err(self.refuse(format!("line {}: `{file}`: {LINK_OUTSIDE}", row.line)));
                }
            }
        }
        let Some(first) = missing.first() else { return Ok(()) };
        let (line, file) = (first.line, first.file.display());
        let more = and_more(missing.len(), "files are missing");
        Err(self.refuse(format!("line {line}: there is no file `{file}`{more}")))
    }

    fn refuse_without_caption(&self) -> Result<()> {
        let mut faults = self.rows.iter().filter_map(|row| Some((row.line, row.captions.as_ref().err()?)));
        let Some((line, fault)) = faults.next() else { return Ok(()) };
        let more = and_more(1 + faults.count(), "pictures have no caption");
        Err(self.refuse(format!("line {line}: {fault}{more}")))
    }
}

/// The end of a message about the first of `all`: ` (5 files are missing)`; nothing if it is the only one.
pub(super) fn and_more(all: usize, what: &str) -> String {
    if all > 1 { format!(" ({all} {what})") } else { String::new() }
}

/// `name` without `./`; refused unless it stays in the folder.
pub(super) fn file_name(name: &str) -> std::result::Result<PathBuf, (FaultKind, String)> {
    if name.is_empty() {
        let reason = "`file_name`: expected the name of a file, got nothing";
        return Err((FaultKind::Metadata, reason.into()));
    }
    let inside = |part: &Component| matches!(part, Component::Normal(_) | Component::CurDir);
    if !Path::new(name).components().all(|part| inside(&part)) {
        let reason = format!("`file_name`: expected a file in this folder, got `{name}`");
        return Err((FaultKind::Outside, reason));
    }
    Ok(Path::new(name).components().filter(|part| matches!(part, Component::Normal(_))).collect())
}

/// Captions without surrounding space and without empty ones; `key` is where they stood.
pub(super) fn captions<'a>(
    texts: impl IntoIterator<Item = &'a str>,
    key: &str,
    file: &Path,
) -> std::result::Result<Vec<String>, String> {
    let texts: Vec<String> =
        texts.into_iter().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    if texts.is_empty() {
        return Err(format!("`{key}`, the caption of `{}`: empty", file.display()));
    }
    Ok(texts)
}
