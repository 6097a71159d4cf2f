//! Parquet files of captioned pictures, in the layout that Hugging Face's `datasets` writes.
//!
//! That is a struct of `bytes` and `path` for the picture, strings or the name of a class for what it shows.
//!
//! Opening reads footers and captions, and pages through the pictures only where a footer does not say that
//! none is missing. A picture is looked for when it is asked for, and that costs its whole page (about 1 MB
//! from today's writers, a row group from some): good enough in the order of the files, slow in a random one.
//! Training visits pictures in random order, many times: [`Parquet::spilled`] copies them once into flat
//! files, from which each is one read.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::collection::{CaptionNeed, Collection, Fault, FaultKind};
use crate::error::{Error, Result};

mod chunk;
mod columns;
mod files;
mod footer;
mod pictures;
mod rows;
mod spill;

pub use columns::Columns;

use pictures::{PictureGroup, PictureGroups};
use rows::Found;
use spill::Spilled;

const FORMAT: &str = "parquet";

/// Opened parquet files. Rows that cannot be used are its [faults](Collection::faults).
pub struct Parquet {
    files: Vec<PathBuf>,
    left_out: Vec<PathBuf>,
    names: ColumnNames,
    rows: Vec<Row>,
    captions: CaptionList,
    unusable: Vec<Unusable>,
    unread_captions: Option<String>,
    pictures: PictureGroups,
    /// One for each file, or none at all.
    spilled: Vec<Spilled>,
}

/// Which columns are read, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnNames {
    /// The column that holds pictures.
    pub image: String,
    /// The column that holds captions, or the class whose name is the caption; `None`: the files have
    /// neither, and the pictures no captions.
    pub text: Option<String>,
}

/// A row that cannot be used. Files may have millions of them: they are made [`Fault`]s when they are asked for.
struct Unusable {
    /// Number of its file.
    file: u32,
    row: usize,
    kind: FaultKind,
    reason: Cow<'static, str>,
}

/// Where a picture lies.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Number of the row group, over all files.
    group: u32,
    /// Its row in the group.
    row: u32,
}

/// The captions of all rows in one list, and where each row's end in it.
#[derive(Default)]
struct CaptionList {
    texts: Vec<String>,
    ends: Vec<usize>,
}

impl CaptionList {
    fn push(&mut self, texts: Vec<String>) {
        self.texts.extend(texts);
        self.ends.push(self.texts.len());
    }

    fn of(&self, i: usize) -> &[String] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.texts[start..self.ends[i]]
    }
}

impl Parquet {
    /// Opens files of one data set: the columns found in the first must be in all. A row without a caption can be used
    /// where captions are not needed; one whose caption is not UTF-8 or whose class has no name, in no case.
    ///
    /// # Errors
    /// `Error::Argument` if there is no path. `Error::Io` if a file cannot be read. `Error::Format` if one is
    /// not a whole parquet file, if it is not clear which columns to read (with all that there are), or if no row can be
    /// used.
    pub fn open(paths: &[PathBuf], columns: &Columns, need: CaptionNeed) -> Result<Self> {
        let Some(first) = paths.first() else {
            return Err(Error::argument("parquet files", "at least one", "none"));
        };
        let mut columns = columns.clone();
        let mut names = None;
        let mut rows = Vec::new();
        let mut captions = CaptionList::default();
        let (mut unusable, mut unread_captions) = (Vec::new(), None);
        let mut pictures = PictureGroups::default();
        for (file, path) in paths.iter().enumerate() {
            let table = footer::open(path, &columns)?;
            // Found once: a second file with other columns is an error, not a second guess.
            columns = Columns { image: Some(table.names.image.clone()), text: table.names.text.clone() };
            let names = names.get_or_insert_with(|| table.names.clone());
            if *names != table.names {
                let reason =
                    format!("it has captions in {}, `{}` has none", said(&table.names), first.display());
                return Err(Error::format(path, FORMAT, reason));
            }
            unread_captions = unread_captions.or(table.unread_captions);
            for group in table.groups {
                let first_row = group.first_row;
                for (row, found) in rows::read(&group, need)?.into_iter().enumerate() {
                    match found {
                        Found::Captions(texts) => {
                            rows.push(Row { group: pictures.next_group()?, row: row as u32 });
                            captions.push(texts);
                        }
                        Found::Fault(kind, reason) => {
                            unusable.push(Unusable { file: file as u32, row: first_row + row, kind, reason });
                        }
                    }
                }
                pictures.push(PictureGroup { file, chunk: group.picture, first_row });
            }
        }
        let Some(names) = names.filter(|_| !rows.is_empty()) else {
            return Err(Error::format(first, FORMAT, nothing_usable(paths, &unusable)));
        };
        Ok(Self {
            files: paths.to_vec(),
            left_out: Vec::new(),
            names,
            rows,
            captions,
            unusable,
            unread_captions,
            pictures,
            spilled: Vec::new(),
        })
    }

    /// Opens the `*.parquet` files in `dir` and one folder deeper, in the order of their names. Files of
    /// held-out splits (`test-00000-of-00001.parquet`, `validation/0000.parquet`) are left out if there are
    /// others: see [`Parquet::left_out`].
    ///
    /// # Errors
    /// `Error::Io` if a folder cannot be read, `Error::Format` if there is no such file; those of
    /// [`Parquet::open`].
    pub fn open_folder(dir: &Path, columns: &Columns, need: CaptionNeed) -> Result<Self> {
        let found = files::find(dir)?;
        Ok(Self { left_out: found.left_out, ..Self::open(&found.taken, columns, need)? })
    }

    /// The files that are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Files of the folder that are not read, because they belong to a held-out split.
    pub fn left_out(&self) -> &[PathBuf] {
        &self.left_out
    }

    /// Copies the pictures into `cache`, one flat file for each parquet file, and reads them from there. A
    /// copy that an earlier run made of the same file (path, length, time of last change and column) is used
    /// as it is. Copies take as much space as the pictures; they may be deleted when nothing runs.
    ///
    /// `copied` is told after each row group how many rows are done, of how many: `copied(done, all)`. Its
    /// error ends the copying; the files that are complete stay.
    ///
    /// # Errors
    /// `Error::Io` if `cache` cannot be written (a full disk leaves no half file), `Error::Format` if a
    /// parquet file is damaged; what `copied` returns.
    pub fn spilled(
        mut self,
        cache: &Path,
        copied: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Self> {
        let all = self.pictures.rows();
        let mut done = 0;
        let mut spilled = Vec::with_capacity(self.files.len());
        for (file, path) in self.files.iter().enumerate() {
            let groups = self.pictures.of_file(file);
            spilled.push(spill::copy(path, &self.names.image, groups, cache, &mut |rows| {
                done += rows;
                copied(done, all)
            })?);
        }
        self.spilled = spilled;
        Ok(self)
    }

    fn spilled_picture(&self, row: Row) -> Result<Option<Vec<u8>>> {
        let group = self.pictures.group(row.group);
        let Some(spilled) = self.spilled.get(group.file) else { return Ok(None) };
        spilled.read(group.first_row + row.row as usize).map(Some)
    }
}

impl Collection for Parquet {
    fn left_out(&self) -> Vec<String> {
        let files = self.left_out.iter().map(|path| format!("`{}` is of a held-out split", path.display()));
        self.unread_captions.iter().cloned().chain(files).collect()
    }

    /// Rows without a picture; where captions are needed, rows without one; and rows whose caption cannot be read.
    fn faults(&self) -> Vec<Fault> {
        self.unusable.iter().map(|unusable| unusable.fault(&self.files)).collect()
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn name(&self, i: usize) -> String {
        let Row { group, row } = self.rows[i];
        let group = self.pictures.group(group);
        row_name(group.chunk.path(), group.first_row + row as usize)
    }

    fn captions(&self, i: usize) -> &[String] {
        self.captions.of(i)
    }

    /// As [`Collection::bytes`]; threads may ask at the same time, and decode at the same time.
    fn bytes(&self, i: usize) -> Result<Cow<'_, [u8]>> {
        let row = self.rows[i];
        let picture = match self.spilled_picture(row)? {
            Some(picture) => picture,
            None => self.pictures.read(row.group, row.row as usize)?,
        };
        if picture.is_empty() {
            let group = self.pictures.group(row.group);
            return Err(group.chunk.fault(row.row as usize, "the picture has no bytes"));
        }
        Ok(Cow::Owned(picture))
    }
}

/// Rows count from 0, as in Hugging Face's viewer and in pandas.
fn row_name(path: &Path, row: usize) -> String {
    format!("{}: row {row}", path.display())
}

fn said(names: &ColumnNames) -> String {
    names.text.as_ref().map_or_else(|| "no column".into(), |text| format!("`{text}`"))
}

impl Unusable {
    fn fault(&self, files: &[PathBuf]) -> Fault {
        let file = row_name(&files[self.file as usize], self.row);
        Fault { kind: self.kind, file, line: None, reason: self.reason.to_string() }
    }
}

fn nothing_usable(files: &[PathBuf], unusable: &[Unusable]) -> String {
    const SHOWN: usize = 20;
    if unusable.is_empty() {
        return "it has no rows".into();
    }
    let shown = unusable.iter().take(SHOWN).map(|one| format!("\n  {}", one.fault(files)));
    format!("no row can be used; {} faults:{}", unusable.len(), shown.collect::<String>())
}

#[cfg(test)]
mod tests;
