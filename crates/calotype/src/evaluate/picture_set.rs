//! A folder of pictures as a side of a comparison: what is in it, read as the reference programs read it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::{ColorType, ImageFormat, RgbImage};
use rayon::prelude::*;
use serde::Serialize;

use crate::data::image_folder::walk::{is_picture, is_unread_picture};
use crate::data::picture::{self, PictureInfo};
use crate::error::{Error, Result};
use crate::shard::Shard;

/// What transparent parts are laid over.
const WHITE: [u8; 3] = [255; 3];

/// What a report says about a side.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SetFacts {
    /// Pictures read.
    pub n: usize,
    /// Pictures of each file format.
    pub formats: BTreeMap<String, usize>,
    /// Pictures of each size, `WIDTHxHEIGHT`.
    pub sizes: BTreeMap<String, usize>,
    /// Pictures without colour channels.
    pub grey: usize,
    /// Pictures with transparency.
    pub alpha: usize,
    /// Pictures of more than 8 bits, which are rounded to 8.
    pub deep: usize,
    /// Files and folders that are no pictures, or not of a kind that is read.
    pub leftovers: usize,
    /// Of these the pictures, by name.
    pub unread: Vec<String>,
    /// Pictures that could not be read, by name.
    pub broken: Vec<String>,
}

/// The pictures of a folder, in the order of their names.
#[derive(Debug, Clone)]
pub struct PictureSet {
    paths: Vec<PathBuf>,
    leftovers: usize,
    unread: Vec<String>,
}

impl PictureSet {
    /// A share of it.
    ///
    /// # Errors
    /// `Error::Argument` for a share without pictures.
    pub fn share(self, shard: Shard) -> Result<Self> {
        let own = shard.own(self.paths.len());
        if own.is_empty() {
            let expected = format!("at most as many shares as the {} pictures", self.paths.len());
            return Err(Error::argument("shard", expected, shard));
        }
        Ok(Self { paths: self.paths[own].to_vec(), ..self })
    }
}

/// How a file becomes a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoding {
    /// As Pillow's `convert("RGB")` in the reference programs of set metrics: transparency is dropped, not
    /// blended, and no EXIF rotation is applied.
    AsPillow,
    /// As everywhere else here ([`picture::load`]): upright, transparency over white.
    Upright,
}

/// One decoded picture and how its file was.
pub(super) struct Decoded {
    pub(super) picture: RgbImage,
    format: String,
    color: ColorType,
}

impl PictureSet {
    /// Lists a folder; folders in it are not entered.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` for fewer than 2 pictures.
    pub fn open(folder: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
        let (mut paths, mut leftovers, mut unread) = (Vec::new(), 0, Vec::new());
        for entry in entries {
            let path = entry.map_err(Error::io("read", folder))?.path();
            if is_picture(&path) && path.is_file() {
                paths.push(path);
                continue;
            }
            leftovers += 1;
            if is_unread_picture(&path) {
                unread.push(path.display().to_string());
            }
        }
        paths.sort();
        unread.sort();
        match paths.len() {
            0 | 1 => {
                let count = paths.len();
                let more = match unread.first() {
                    Some(first) => format!(
                        "; of other kinds there are {}, the first `{first}`: they are to be written again as one of these",
                        unread.len()
                    ),
                    None => String::new(),
                };
                let reason = format!("{count} {} files in it, at least 2 needed{more}", picture::FORMATS);
                Err(Error::format(folder, "folder of pictures", reason))
            }
            _ => Ok(Self { paths, leftovers, unread }),
        }
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.paths.len()
    }

    /// The files.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What is known of the folder before a picture is read.
    pub(super) fn facts(&self) -> SetFacts {
        SetFacts { leftovers: self.leftovers, unread: self.unread.clone(), ..SetFacts::default() }
    }

    /// Decodes all pictures as [`Decoding::AsPillow`], `batch` at a time, and gives each batch to `each` in
    /// order.
    ///
    /// # Errors
    /// `Error::Io` or `Error::Format` naming a picture that cannot be read, unless `skip_broken`;
    /// `Error::Data` if fewer than 2 are left; those of `each`.
    pub fn for_each_batch(
        &self,
        batch: usize,
        skip_broken: bool,
        mut each: impl FnMut(Vec<RgbImage>) -> Result<()>,
    ) -> Result<SetFacts> {
        let mut facts = self.facts();
        for paths in self.paths.chunks(batch.max(1)) {
            let decoded: Vec<Result<Decoded>> =
                paths.par_iter().map(|path| decode(path, Decoding::AsPillow)).collect();
            let mut pictures = Vec::with_capacity(paths.len());
            for (path, decoded) in paths.iter().zip(decoded) {
                match decoded {
                    Ok(decoded) => pictures.push(facts.count(decoded)),
                    Err(_) if skip_broken => facts.broken.push(path.display().to_string()),
                    Err(error) => return Err(error),
                }
            }
            if !pictures.is_empty() {
                each(pictures)?;
            }
        }
        match facts.n {
            0 | 1 => Err(Error::data("pictures", "at least 2 that can be read", facts.n)),
            _ => Ok(facts),
        }
    }
}

impl SetFacts {
    /// One more picture, which is given back.
    pub(super) fn count(&mut self, Decoded { picture, format, color }: Decoded) -> RgbImage {
        self.n += 1;
        *self.formats.entry(format).or_default() += 1;
        *self.sizes.entry(format!("{}x{}", picture.width(), picture.height())).or_default() += 1;
        self.grey += usize::from(!color.has_color());
        self.alpha += usize::from(color.has_alpha());
        self.deep += usize::from(color.bits_per_pixel() > 8 * u16::from(color.channel_count()));
        picture
    }
}

/// A picture file.
///
/// # Errors
/// `Error::Io`, `Error::Format`.
pub(super) fn decode(path: &Path, reading: Decoding) -> Result<Decoded> {
    let (bytes, file) = (picture::read(path)?, path.display().to_string());
    let (picture, format, color) = match reading {
        Decoding::AsPillow => picture::decode_as_stored(&bytes, &file)?,
        Decoding::Upright => {
            let PictureInfo { format, color, .. } = picture::describe(&bytes, &file)?;
            (picture::decode(&bytes, &file, WHITE)?, format, color)
        }
    };
    Ok(Decoded { picture, format: name(format).to_owned(), color })
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => "other",
    }
}
