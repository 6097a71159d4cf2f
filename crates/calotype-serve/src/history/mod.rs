//! The pictures that were made: what was asked in SQLite, the files beside it; both bounded, both whole after a kill.
//!
//! ```text
//! HISTORY/history.sqlite   a row for each picture, written when its files are whole
//! HISTORY/pictures/ID.png  the picture with its record; ID.strip.png its steps, ID.maps its words' maps
//! HISTORY/lock             one server at a time
//! ```

mod choices;
mod rows;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use calotype::Error;
use calotype::files::{atomic, png_text};
use calotype::pipeline::Request;
use image::RgbImage;
use rusqlite::{Connection, params};

use crate::given::png;
use crate::jobs::maps::Maps;
use crate::jobs::{now, settings};
use crate::problem::{Answer, Problem};
use crate::security::secret;
pub use choices::Tally;
pub use rows::Row;

/// What beside the picture a row may have, by ending.
const BESIDE: [&str; 2] = ["strip.png", "maps"];

/// The pictures that were made.
pub struct History {
    folder: PathBuf,
    database: Mutex<Connection>,
    most_pictures: usize,
    most_bytes: u64,
    /// Held while the server runs.
    _lock: File,
}

/// A picture that was just made.
pub struct NewPicture<'a> {
    /// Of whom it is one.
    pub job: &'a str,
    /// By name.
    pub model: &'a str,
    /// With every value filled in.
    pub request: &'a Request,
    /// What the PNG records, by keyword.
    pub texts: Vec<(&'static str, String)>,
    /// Its number under the seed.
    pub index: u64,
    /// Its pixels.
    pub image: &'a RgbImage,
    /// A PNG of its steps, side by side.
    pub strip: Option<Vec<u8>>,
    /// How many these are.
    pub steps: usize,
    /// Its words' maps.
    pub maps: Option<(Maps, Vec<u8>)>,
    /// The picture that was edited.
    pub parent: Option<&'a str>,
    /// What its job has taken so far.
    pub seconds: f64,
}

impl History {
    /// Opens the history in a folder, or begins one; takes away what a crash has left.
    ///
    /// # Errors
    /// `Error::Io` where the folder cannot be written or another server has it; `Error::Format` for a database that is
    /// none.
    pub fn open(folder: &Path, most_pictures: usize, most_bytes: u64) -> calotype::Result<Self> {
        let lock =
            atomic::lock(&folder.join("lock"), "another server has this history; --history names another")?;
        let pictures = folder.join("pictures");
        fs::create_dir_all(&pictures).map_err(Error::io("create", &pictures))?;
        let path = folder.join("history.sqlite");
        let database = rows::open(&path).map_err(|error| Error::format(&path, "SQLite", error))?;
        let history =
            Self { folder: pictures, database: Mutex::new(database), most_pictures, most_bytes, _lock: lock };
        history.mend().map_err(|problem| Error::format(&path, "history", problem.message))?;
        Ok(history)
    }

    /// Files without a row go, and rows without a picture.
    fn mend(&self) -> Answer<()> {
        let known = rows::ids(&self.lock())?;
        for entry in fs::read_dir(&self.folder).map_err(Problem::internal)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let id = name.split('.').next().unwrap_or_default();
            if !known.contains(id) || atomic::is_temporary(&name) {
                // What cannot be removed is no row's, and tried again next time.
                let _ = fs::remove_file(entry.path());
            }
        }
        for id in known.iter().filter(|id| !self.path(id, "png").is_file()) {
            self.remove(id)?;
        }
        self.within_bounds()
    }

    /// Keeps a picture; its id. The row is written when the files are whole.
    ///
    /// # Errors
    /// 500 where the disk is full or the database is damaged.
    pub fn add(&self, new: NewPicture) -> Answer<String> {
        let id = format!("p-{}", secret::random_hex::<8>().map_err(Problem::internal)?);
        let texts: Vec<(&str, &str)> = new.texts.iter().map(|(key, text)| (*key, text.as_str())).collect();
        let png = png_text::insert(&png(new.image)?, &texts).map_err(Problem::internal)?;
        atomic::write(&self.path(&id, "png"), &png)?;
        let mut bytes = png.len();
        let maps = new.maps.as_ref().map(|(_, bytes)| bytes);
        for (ending, content) in BESIDE.into_iter().zip([new.strip.as_ref(), maps]) {
            if let Some(content) = content {
                atomic::write(&self.path(&id, ending), content)?;
                bytes += content.len();
            }
        }
        let (width, height) = new.image.dimensions();
        let row = Row {
            number: 0,
            id: id.clone(),
            created: now(),
            model: new.model.to_owned(),
            prompt: new.request.prompt.clone(),
            negative: new.request.negative.clone(),
            request: settings(new.request),
            width,
            height,
            seed: new.request.seed.unwrap_or(0),
            index: new.index,
            seconds: new.seconds,
            job: new.job.to_owned(),
            parent: new.parent.map(str::to_owned),
            steps: new.steps,
            maps: new.maps.map(|(maps, _)| maps),
            bytes: bytes as u64,
        };
        rows::insert(&self.lock(), &row)?;
        self.within_bounds()?;
        Ok(id)
    }

    /// The newest first, those before `before` where that is named; `prompt`: a part of it. And whether there are more.
    ///
    /// # Errors
    /// 404 for an unknown `before`.
    pub fn list(&self, limit: usize, before: Option<&str>, prompt: Option<&str>) -> Answer<(Vec<Row>, bool)> {
        let before = match before {
            Some(id) => Some(self.row(id)?.number),
            None => None,
        };
        let mut rows = rows::list(&self.lock(), limit + 1, before, prompt)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok((rows, more))
    }

    /// A picture's row.
    ///
    /// # Errors
    /// 404.
    pub fn row(&self, id: &str) -> Answer<Row> {
        let row = if is_id(id) { rows::get(&self.lock(), id)? } else { None };
        row.ok_or_else(|| Problem::not_found("picture", id))
    }

    /// Bytes of a picture's file: `png`, `strip.png` or `maps`.
    ///
    /// # Errors
    /// 404.
    pub fn file(&self, id: &str, ending: &'static str) -> Answer<Vec<u8>> {
        let row = self.row(id)?;
        fs::read(self.path(&row.id, ending)).map_err(|_| Problem::not_found("file of picture", id))
    }

    /// Takes a picture away; the row first, so that no row is without its picture.
    ///
    /// # Errors
    /// 404.
    pub fn delete(&self, id: &str) -> Answer<()> {
        let id = self.row(id)?.id;
        self.remove(&id)
    }

    /// A person's choice between two pictures.
    ///
    /// # Errors
    /// 404 for pictures that there are not.
    pub fn choose(&self, left: &str, right: &str, chosen: &str) -> Answer<Vec<Tally>> {
        let (left, right) = (self.row(left)?, self.row(right)?);
        choices::add(&self.lock(), &left, &right, chosen)?;
        Ok(choices::tally(&self.lock())?)
    }

    fn remove(&self, id: &str) -> Answer<()> {
        self.lock().execute("DELETE FROM pictures WHERE id = ?1", params![id])?;
        for ending in BESIDE.into_iter().chain(["png"]) {
            // A file without a row is removed at the next start.
            let _ = fs::remove_file(self.path(id, ending));
        }
        Ok(())
    }

    /// Takes the oldest away until all fit.
    fn within_bounds(&self) -> Answer<()> {
        loop {
            let (count, bytes) = rows::size(&self.lock())?;
            if count <= self.most_pictures && bytes <= self.most_bytes {
                return Ok(());
            }
            let Some(oldest) = rows::oldest(&self.lock())? else { return Ok(()) };
            self.remove(&oldest)?;
        }
    }

    /// `id` is one of ours: no text of a request is ever part of a path.
    fn path(&self, id: &str, ending: &str) -> PathBuf {
        self.folder.join(format!("{id}.{ending}"))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `p-` and sixteen hexadecimal digits.
fn is_id(id: &str) -> bool {
    let digits = id.strip_prefix("p-").unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(format!("history: {error}"))
    }
}

#[cfg(test)]
mod tests;
