//! A folder of captioned pictures: image files and `metadata.jsonl`, the layout of Hugging Face's
//! `imagefolder`. Each line is an object with `file_name` (relative) and `text`; other keys are free.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageReader, RgbImage};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The file that holds the captions.
pub const METADATA: &str = "metadata.jsonl";
const PICTURE: &str = "PNG, JPEG or WebP";

/// One picture and its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The picture's file.
    pub path: PathBuf,
    /// The caption, not empty.
    pub caption: String,
}

/// An opened image folder: the captions are read, the pictures are not.
#[derive(Debug, Clone)]
pub struct ImageFolder {
    entries: Vec<Entry>,
}

impl ImageFolder {
    /// Reads `metadata.jsonl` of `dir`.
    ///
    /// # Errors
    /// `Error::Io` if there is no such file; `Error::Format`, with the line's number, if a line is not
    /// JSON, has no caption, or names a file outside of `dir`; also if there is no line at all.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(METADATA);
        let entries = read_lines(dir)?
            .into_iter()
            .map(|(number, line)| {
                let line = line.map_err(|fault| Error::format(&path, "JSON lines", fault.at(number)))?;
                Ok(Entry { path: dir.join(line.file_name), caption: line.text })
            })
            .collect::<Result<Vec<_>>>()?;
        if entries.is_empty() {
            return Err(Error::format(path, "JSON lines", "it names no picture"));
        }
        Ok(Self { entries })
    }

    /// The pictures in the order of the metadata.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Number of pictures, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "an empty folder cannot be opened")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Decodes picture `i`: upright (by its EXIF orientation), 8-bit RGB, transparent parts laid over
    /// white.
    ///
    /// # Errors
    /// `Error::Argument` unless `i` < [`ImageFolder::len`]; `Error::Io` or `Error::Format`, with the
    /// file's name, if the picture cannot be read.
    pub fn load(&self, i: usize) -> Result<(RgbImage, String)> {
        let entry = self.entries.get(i).ok_or_else(|| {
            Error::argument("index of a picture", format!("less than {}", self.entries.len()), i)
        })?;
        Ok((load_picture(&entry.path)?, entry.caption.clone()))
    }
}

/// Decodes a picture file as [`ImageFolder::load`] does.
///
/// # Errors
/// `Error::Io` if it cannot be opened, `Error::Format` if it is not a whole PNG, JPEG or WebP.
pub fn load_picture(path: &Path) -> Result<RgbImage> {
    let reader = ImageReader::open(path).map_err(Error::io("read", path))?;
    let decode = || {
        // By content: a JPEG that is called .png is still a picture.
        let mut decoder = reader.with_guessed_format()?.into_decoder()?;
        let orientation = decoder.orientation()?;
        let mut picture = DynamicImage::from_decoder(decoder)?;
        picture.apply_orientation(orientation);
        Ok(picture)
    };
    let picture = decode().map_err(|e: image::ImageError| Error::format(path, PICTURE, e))?;
    Ok(if picture.color().has_alpha() { over_white(&picture) } else { picture.into_rgb8() })
}

fn over_white(picture: &DynamicImage) -> RgbImage {
    let rgba = picture.to_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0.map(f32::from);
        image::Rgb([r, g, b].map(|c| ((c * a + 255.0 * (255.0 - a)) / 255.0).round_ties_even() as u8))
    })
}

/// A line of metadata that can be used.
struct Line {
    file_name: String,
    text: String,
}

/// Why a line cannot be used.
enum Fault {
    NotJson(String),
    NoFileName,
    /// Absolute, or with `..`.
    OutsideFolder(String),
    MissingCaption(String),
    EmptyCaption(String),
}

impl Fault {
    fn at(&self, number: usize) -> String {
        match self {
            Fault::NotJson(reason) => format!("line {number}: {reason}"),
            Fault::NoFileName => format!("line {number}: `file_name`: expected a string"),
            Fault::OutsideFolder(file) => {
                format!("line {number}: `file_name`: expected a file in this folder, got `{file}`")
            }
            Fault::MissingCaption(file) => format!("line {number}: `text`, the caption of `{file}`: missing"),
            Fault::EmptyCaption(file) => format!("line {number}: `text`, the caption of `{file}`: empty"),
        }
    }
}

/// Every line that is not blank, with its number from 1.
fn read_lines(dir: &Path) -> Result<Vec<(usize, std::result::Result<Line, Fault>)>> {
    let path = dir.join(METADATA);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    Ok((1..)
        .zip(bytes.split(|&byte| byte == b'\n'))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(number, line)| (number, parse_line(line)))
        .collect())
}

fn parse_line(line: &[u8]) -> std::result::Result<Line, Fault> {
    #[derive(Deserialize)]
    struct Raw {
        file_name: Option<String>,
        text: Option<String>,
    }
    let raw: Raw = serde_json::from_slice(line).map_err(|e| Fault::NotJson(e.to_string()))?;
    let file_name = raw.file_name.filter(|name| !name.is_empty()).ok_or(Fault::NoFileName)?;
    if !Path::new(&file_name).components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(Fault::OutsideFolder(file_name));
    }
    match raw.text {
        None => Err(Fault::MissingCaption(file_name)),
        Some(text) if text.trim().is_empty() => Err(Fault::EmptyCaption(file_name)),
        Some(text) => Ok(Line { file_name, text: text.trim().to_owned() }),
    }
}

/// What an image folder holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inspection {
    /// Lines of metadata that are not blank.
    pub lines: usize,
    /// Pictures named by a usable line and readable.
    pub images: usize,
    /// Readable pictures by `WIDTHxHEIGHT`.
    pub sizes: BTreeMap<String, usize>,
    /// Words of the usable captions.
    pub caption_words: CaptionWords,
    /// Files that are missing or cannot be decoded, each with the reason.
    pub unreadable_images: Vec<String>,
    /// Lines without a caption, each with its number and file.
    pub missing_captions: Vec<String>,
    /// Lines whose caption is empty, each with its number and file.
    pub empty_captions: Vec<String>,
    /// Lines that cannot be used for another reason, each with its number.
    pub bad_lines: Vec<String>,
    /// Picture files that no line names, in the folders of the files that lines name.
    pub images_without_line: Vec<String>,
}

/// Length of the captions in words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct CaptionWords {
    /// The shortest.
    pub min: usize,
    /// The average, 0 where there is no caption.
    pub mean: f64,
    /// The longest.
    pub max: usize,
}

impl CaptionWords {
    fn of(captions: &[String]) -> Self {
        let lengths: Vec<usize> = captions.iter().map(|text| text.split_whitespace().count()).collect();
        Self {
            min: lengths.iter().copied().min().unwrap_or(0),
            mean: lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64,
            max: lengths.iter().copied().max().unwrap_or(0),
        }
    }
}

impl Inspection {
    /// Number of things that are wrong.
    pub fn problems(&self) -> usize {
        self.unreadable_images.len()
            + self.missing_captions.len()
            + self.empty_captions.len()
            + self.bad_lines.len()
            + self.images_without_line.len()
    }
}

/// Reads everything in the image folder `dir` and says what is wrong with it.
///
/// # Errors
/// `Error::Io` if `metadata.jsonl` or a folder cannot be read; everything else is reported.
pub fn inspect(dir: &Path) -> Result<Inspection> {
    let mut report = Inspection::default();
    let mut named = HashSet::new();
    let mut captions = Vec::new();
    for (number, line) in read_lines(dir)? {
        report.lines += 1;
        match line {
            Ok(line) => {
                let path = dir.join(&line.file_name);
                captions.push(line.text);
                if named.insert(path.clone()) {
                    report.inspect_picture(&path);
                }
            }
            Err(fault) => {
                let list = match &fault {
                    Fault::MissingCaption(_) => &mut report.missing_captions,
                    Fault::EmptyCaption(_) => &mut report.empty_captions,
                    _ => &mut report.bad_lines,
                };
                list.push(fault.at(number));
                if let Fault::MissingCaption(file) | Fault::EmptyCaption(file) = fault {
                    named.insert(dir.join(file));
                }
            }
        }
    }
    report.caption_words = CaptionWords::of(&captions);
    report.images_without_line = unnamed_pictures(dir, &named)?;
    Ok(report)
}

impl Inspection {
    fn inspect_picture(&mut self, path: &Path) {
        match load_picture(path) {
            Ok(picture) => {
                self.images += 1;
                *self.sizes.entry(format!("{}x{}", picture.width(), picture.height())).or_insert(0) += 1;
            }
            Err(error) => self.unreadable_images.push(error.to_string()),
        }
    }
}

/// Picture files in `dir` and in the folders of the `named` files that are not named themselves.
/// Other folders, such as `masks`, are left alone.
fn unnamed_pictures(dir: &Path, named: &HashSet<PathBuf>) -> Result<Vec<String>> {
    let mut folders: Vec<&Path> = named.iter().filter_map(|path| path.parent()).chain([dir]).collect();
    folders.sort_unstable();
    folders.dedup();
    let mut unnamed = Vec::new();
    for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
            let path = entry.map_err(Error::io("read", folder))?.path();
            let is_picture = path.extension().is_some_and(|extension| {
                ["png", "jpg", "jpeg", "webp"].iter().any(|known| extension.eq_ignore_ascii_case(known))
            });
            if is_picture && !named.contains(&path) {
                unnamed.push(path.display().to_string());
            }
        }
    }
    unnamed.sort_unstable();
    Ok(unnamed)
}

#[cfg(test)]
mod tests;
