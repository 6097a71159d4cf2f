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
mod tests {
    use super::*;

    /// A folder that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, metadata: &str) -> Self {
            let path = std::env::temp_dir().join(format!("calotype-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join(METADATA), metadata).unwrap();
            Self(path)
        }

        fn picture(&self, name: &str, width: u32, height: u32) {
            RgbImage::from_pixel(width, height, image::Rgb([9, 8, 7])).save(self.0.join(name)).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn reads_pictures_and_captions() {
        let folder = Folder::new(
            "reads",
            "{\"file_name\": \"a.png\", \"text\": \" a cat \", \"objects\": []}\n\n{\"file_name\":\"b.png\",\"text\":\"két kutya\"}",
        );
        folder.picture("a.png", 3, 2);
        image::RgbaImage::from_pixel(1, 1, image::Rgba([0, 100, 255, 51]))
            .save(folder.0.join("b.png"))
            .unwrap();
        let opened = ImageFolder::open(&folder.0).unwrap();
        assert_eq!(opened.len(), 2);
        let (picture, caption) = opened.load(0).unwrap();
        assert_eq!((picture.dimensions(), caption.as_str()), ((3, 2), "a cat"));
        let (picture, caption) = opened.load(1).unwrap();
        assert_eq!(picture.get_pixel(0, 0).0, [204, 224, 255]); // one fifth over white
        assert_eq!(caption, "két kutya");
        assert!(opened.load(2).is_err());
    }

    #[test]
    fn refuses_with_the_place_of_the_fault() {
        for (name, metadata, expected) in [
            ("not-json", "{\"file_name\": \"a.png\", \"text\": \"x\"}\n{\"file_n", "line 2"),
            ("not-object", "[1, 2, 3]", "line 1"),
            ("no-file", "{\"text\": \"x\"}", "line 1: `file_name`"),
            ("number", "{\"file_name\": 7, \"text\": \"x\"}", "line 1"),
            ("no-caption", "\n{\"file_name\": \"a.png\"}", "line 2: `text`, the caption of `a.png`: missing"),
            (
                "empty",
                "{\"file_name\": \"a.png\", \"text\": \"  \"}",
                "line 1: `text`, the caption of `a.png`: empty",
            ),
            ("outside", "{\"file_name\": \"../a.png\", \"text\": \"x\"}", "got `../a.png`"),
            ("absolute", "{\"file_name\": \"/etc/a.png\", \"text\": \"x\"}", "got `/etc/a.png`"),
            ("nothing", "\n", "it names no picture"),
        ] {
            let folder = Folder::new(name, metadata);
            let error = ImageFolder::open(&folder.0).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(METADATA), "{name}: {error}");
            inspect(&folder.0).unwrap();
        }
        let missing = ImageFolder::open(Path::new("no such folder")).unwrap_err();
        assert!(missing.to_string().contains(METADATA) && missing.hint().is_some());
    }

    #[test]
    fn inspection_finds_every_planted_fault() {
        let lines = [
            "{\"file_name\": \"a.png\", \"text\": \"one two three\"}",
            "{\"file_name\": \"deep/b.png\", \"text\": \"one\"}",
            "{\"file_name\": \"truncated.png\", \"text\": \"one two\"}",
            "{\"file_name\": \"text.png\", \"text\": \"one two\"}",
            "{\"file_name\": \"gone.png\", \"text\": \"one two\"}",
            "{\"file_name\": \"c.png\"}",
            "{\"file_name\": \"d.png\", \"text\": \"\"}",
            "\u{fffd}",
        ];
        let folder = Folder::new("inspect", &lines.join("\n"));
        fs::create_dir_all(folder.0.join("deep")).unwrap();
        fs::create_dir_all(folder.0.join("masks")).unwrap();
        for (name, width) in [("a.png", 4), ("deep/b.png", 5), ("c.png", 6), ("d.png", 6), ("masks/m.png", 6)]
        {
            folder.picture(name, width, 4);
        }
        folder.picture("unnamed.png", 4, 4);
        let whole = fs::read(folder.0.join("a.png")).unwrap();
        fs::write(folder.0.join("truncated.png"), &whole[..whole.len() / 2]).unwrap();
        fs::write(folder.0.join("text.png"), "not a picture").unwrap();

        let report = inspect(&folder.0).unwrap();
        assert_eq!((report.lines, report.images), (8, 2));
        assert_eq!(report.sizes, BTreeMap::from([("4x4".into(), 1), ("5x4".into(), 1)]));
        assert_eq!(report.caption_words, CaptionWords { min: 1, mean: 2.0, max: 3 });
        let unreadable = report.unreadable_images.join("\n");
        assert_eq!(report.unreadable_images.len(), 3, "{unreadable}");
        assert!(["truncated.png", "text.png", "gone.png", PICTURE].iter().all(|s| unreadable.contains(s)));
        assert!(report.missing_captions[0].contains("line 6") && report.missing_captions.len() == 1);
        assert!(report.empty_captions[0].contains("line 7") && report.empty_captions.len() == 1);
        assert!(report.bad_lines[0].contains("line 8") && report.bad_lines.len() == 1);
        assert!(
            report.images_without_line[0].ends_with("unnamed.png") && report.images_without_line.len() == 1
        );
        assert_eq!(report.problems(), 7);
        assert!(serde_json::to_string(&report).unwrap().contains("\"4x4\":1"));
    }
}
