//! TensorBoard's event files: curves, pictures and texts of a training run.
//!
//! They are in the format that TensorBoard and the libraries beside it read. `tensorboard --logdir` takes the
//! folder above those of the parts, and shows each part as a run.
//!
//! From the bottom up: [`protobuf`](super::protobuf) has fields, `event` messages of them, `record` puts messages into
//! a file.

mod event;
mod record;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use self::event::Event;
use self::record::{FORMAT, Record, Records};
use super::atomic;
use super::protobuf::Message;
use crate::error::{Error, Result};

/// The name of the file in its folder. TensorBoard reads every file that has `tfevents` in its name.
pub const FILE_NAME: &str = "events.out.tfevents.calotype";

/// Where a file is written anew before it takes the place of the old one. Without `tfevents`, so that
/// TensorBoard doesn't read both, now or after a crash in between.
const REWRITTEN: &str = "events.rewritten";

/// The event file of one part, open for appending.
///
/// Each call writes one whole record, which other programs see at once and which survives if this one is
/// killed. Tags are grouped by what stands before their first `/`.
pub struct EventFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole records.
    length: u64,
    clock: Box<dyn Fn() -> f64 + Send>,
}

impl EventFile {
    /// Opens [`FILE_NAME`] in `folder` for a run that stands at `step` (the steps before it are done).
    /// Records of this step and later ones (from before a crash) are dropped, and so is a last record that
    /// was cut; at step 0 the file is begun anew. `clock` gives the wall time of each record, in seconds
    /// since 1970.
    ///
    /// If nothing has to be dropped, the file is not replaced, and a TensorBoard that is running follows it
    /// further. If something has, a running one must be started again to show the new file.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` if the file holds something else or a record in it is damaged.
    pub fn open(folder: &Path, step: u64, clock: impl Fn() -> f64 + Send + 'static) -> Result<Self> {
        let path = folder.join(FILE_NAME);
        let old = (step > 0 && path.exists()).then_some(path.as_path());
        if !old.map_or(Ok(false), |old| is_clean(old, step))? {
            let rewritten = folder.join(REWRITTEN);
            atomic::write_with(&rewritten, |to| rewrite(old, step, to, clock()))?;
            std::fs::rename(&rewritten, &path).map_err(Error::io("rename", &path))?;
        }
        let file = File::options().append(true).open(&path).map_err(Error::io("write", &path))?;
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        Ok(Self { path, file, length, clock: Box::new(clock) })
    }

    /// A point of the curve `tag`; NaN and infinities are written as they are.
    ///
    /// # Errors
    /// `Error::Argument` for an empty tag or a step above 2⁶³ − 1; `Error::Io`.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<()> {
        self.write(step, tag, event::scalar(tag, value))
    }

    /// A picture, stored as PNG.
    ///
    /// # Errors
    /// As [`EventFile::scalar`]; `Error::Shape` if the picture has no pixels.
    pub fn image(&mut self, step: u64, tag: &str, picture: &RgbImage) -> Result<()> {
        let (width, height) = picture.dimensions();
        self.write(step, tag, event::image(tag, width, height, &png(tag, picture)?))
    }

    /// A text, which TensorBoard shows as Markdown: a recipe wants a fence of code around it.
    ///
    /// # Errors
    /// As [`EventFile::scalar`].
    pub fn text(&mut self, step: u64, tag: &str, text: &str) -> Result<()> {
        self.write(step, tag, event::text(tag, text))
    }

    /// Waits until everything is on the disk, where it survives a loss of power too.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn flush(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write", &self.path))
    }

    fn write(&mut self, step: u64, tag: &str, value: Message) -> Result<()> {
        if tag.is_empty() {
            return Err(Error::argument("tag", "a name", "an empty text"));
        }
        if i64::try_from(step).is_err() {
            return Err(Error::argument("step", format!("at most {}", i64::MAX), step));
        }
        let record = record::framed(&event::with_value((self.clock)(), step, value));
        if let Err(error) = self.file.write_all(&record) {
            // On a full disk half a record may be there; what is written later must not stand behind it. The
            // first error is the one to report.
            let _ = self.file.set_len(self.length);
            return Err(Error::io("write", &self.path)(error));
        }
        self.length += record.len() as u64;
        Ok(())
    }
}

impl fmt::Debug for EventFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFile")
            .field("path", &self.path)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

fn png(tag: &str, picture: &RgbImage) -> Result<Vec<u8>> {
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        let got = format!("{width} × {height}");
        return Err(Error::shape(format!("picture `{tag}`"), "at least 1 × 1 pixel", got));
    }
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8)
        .map_err(|e| Error::argument(format!("picture `{tag}`"), "a picture PNG can hold", e))?;
    Ok(png)
}

/// Whether the file can be appended to as it is: it begins with its version, all of it is from before `step`,
/// and nothing was cut.
fn is_clean(path: &Path, step: u64) -> Result<bool> {
    let length = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    let mut records = Records::open(path)?;
    for record in records.by_ref() {
        let record = record?;
        let event = event_of(&record, path)?;
        if !is_before(&event, step) || (record.offset == 0 && !event.is_version) {
            return Ok(false);
        }
    }
    Ok(records.end() == length && length > 0)
}

/// Writes the records of `old` that are from before `step` to `to`, byte for byte, and the version before
/// them if they don't begin with it.
fn rewrite(old: Option<&Path>, step: u64, to: &Path, wall_time: f64) -> Result<()> {
    let mut file = BufWriter::new(File::create(to).map_err(Error::io("create", to))?);
    let mut put = |data: &[u8]| file.write_all(&record::framed(data)).map_err(Error::io("write", to));
    let mut is_first = true;
    for record in old.map(Records::open).transpose()?.into_iter().flatten() {
        let record = record?;
        let event = event_of(&record, old.unwrap_or(to))?;
        if is_before(&event, step) {
            if is_first && !event.is_version {
                put(&event::version(wall_time))?;
            }
            put(&record.data)?;
            is_first = false;
        }
    }
    if is_first {
        put(&event::version(wall_time))?;
    }
    file.flush().map_err(Error::io("write", to))
}

fn event_of<'a>(record: &'a Record, path: &Path) -> Result<Event<'a>> {
    Event::read(&record.data).map_err(|reason| damaged(record, path, &reason))
}

fn damaged(record: &Record, path: &Path, reason: &str) -> Error {
    Error::format(path, FORMAT, format!("the event at byte {}: {reason}", record.offset))
}

fn is_before(event: &Event<'_>, step: u64) -> bool {
    // A negative step, which other writers allow, is before all of ours.
    u64::try_from(event.step).map_or(true, |of_event| of_event < step)
}

/// The numbers of an event file as (step, tag, value), in the order of the file: those of
/// [`EventFile::scalar`], and those that other writers store as tensors. A last record that was cut is left
/// out.
///
/// # Errors
/// `Error::Io`; `Error::Format` with the offset of a record that is damaged, has a negative step, or a scalar
/// that is not one 32-bit float.
pub fn scalars(path: &Path) -> Result<Vec<(u64, String, f32)>> {
    let (mut numbers, mut scalar_tags) = (Vec::new(), HashSet::new());
    for record in Records::open(path)? {
        let record = record?;
        let bad = |reason: String| damaged(&record, path, &reason);
        let event = event_of(&record, path)?;
        for value in event.values().map_err(bad)? {
            if value.plugin.as_deref() == Some(event::SCALARS) {
                scalar_tags.insert(value.tag.clone());
            }
            let number = match value.tensor {
                Some(tensor) if scalar_tags.contains(&value.tag) => {
                    Some(event::float(tensor).map_err(|reason| bad(format!("`{}`: {reason}", value.tag)))?)
                }
                _ => value.simple_value,
            };
            if let Some(number) = number {
                let step = u64::try_from(event.step)
                    .map_err(|_| bad(format!("expected a step from 0, got {}", event.step)))?;
                numbers.push((step, value.tag, number));
            }
        }
    }
    Ok(numbers)
}
