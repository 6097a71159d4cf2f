//! Sizes, shapes and kinds of pictures, counted.

use std::collections::HashMap;

use image::ImageFormat;
use serde::Serialize;

use crate::data::picture::PictureInfo;

/// Sizes are listed up to here.
const MOST_SIZES: usize = 20;

/// A value and how often it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The value.
    pub value: String,
    /// How often.
    pub count: usize,
}

/// Values by how often they are there, the most frequent first, equals in the order of the values.
pub(super) fn most_frequent(counts: HashMap<impl ToString, usize>) -> Vec<Counted> {
    let counted = |(value, count): (_, usize)| Counted { value: ToString::to_string(&value), count };
    let mut all: Vec<Counted> = counts.into_iter().map(counted).collect();
    all.sort_unstable_by(|one, other| other.count.cmp(&one.count).then_with(|| one.value.cmp(&other.value)));
    all
}

/// A side of the pictures in pixels; all 0 without pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sides {
    /// The smallest.
    pub min: u32,
    /// Half of the pictures have less, half more.
    pub median: f64,
    /// The largest.
    pub max: u32,
}

impl Sides {
    fn of(sides: impl Iterator<Item = u32>) -> Self {
        let mut sides: Vec<u32> = sides.collect();
        sides.sort_unstable();
        let (Some(&min), Some(&max)) = (sides.first(), sides.last()) else { return Self::default() };
        let middle = |i: usize| f64::from(sides[i]);
        let median = (middle((sides.len() - 1) / 2) + middle(sides.len() / 2)) / 2.0;
        Self { min, median, max }
    }
}

/// Width and height of upright pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sizes {
    /// `WIDTHxHEIGHT`, the 20 most frequent.
    pub most_frequent: Vec<Counted>,
    /// Pictures of all other sizes.
    pub others: usize,
    /// The shorter side of each picture.
    pub shorter_side: Sides,
    /// The longer side of each picture.
    pub longer_side: Sides,
}

impl Sizes {
    pub(super) fn of(infos: &[PictureInfo]) -> Self {
        let mut counts = HashMap::new();
        for info in infos {
            *counts.entry(format!("{}x{}", info.width, info.height)).or_insert(0) += 1;
        }
        let mut all = most_frequent(counts);
        let others = all.iter().skip(MOST_SIZES).map(|size| size.count).sum();
        all.truncate(MOST_SIZES);
        Self {
            most_frequent: all,
            others,
            shorter_side: Sides::of(infos.iter().map(|info| info.width.min(info.height))),
            longer_side: Sides::of(infos.iter().map(|info| info.width.max(info.height))),
        }
    }
}

/// Pictures about as wide as high.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AspectRatio {
    /// `WIDTH:HEIGHT`, as `4:3`; the first and the last are `below 1:3` and `above 3:1`.
    pub ratio: String,
    /// How many.
    pub count: usize,
}

/// The usual ratios, from narrow to wide.
const RATIOS: [(u64, u64); 13] = [
    (1, 3),
    (1, 2),
    (9, 16),
    (2, 3),
    (3, 4),
    (4, 5),
    (1, 1),
    (5, 4),
    (4, 3),
    (3, 2),
    (16, 9),
    (2, 1),
    (3, 1),
];
const BELOW: &str = "below 1:3";
const ABOVE: &str = "above 3:1";

impl AspectRatio {
    pub(super) fn is_extreme(&self) -> bool {
        self.ratio == BELOW || self.ratio == ABOVE
    }
}

/// How many pictures have which ratio.
pub(super) fn aspect_ratios(infos: &[PictureInfo]) -> Vec<AspectRatio> {
    let mut counts = [0; RATIOS.len() + 2];
    for info in infos {
        counts[bucket(info.width.into(), info.height.into())] += 1;
    }
    let named = RATIOS.iter().map(|(w, h)| format!("{w}:{h}"));
    let labels = std::iter::once(BELOW.to_owned()).chain(named).chain([ABOVE.to_owned()]);
    labels.zip(counts).map(|(ratio, count)| AspectRatio { ratio, count }).collect()
}

/// 0 below the first ratio, i + 1 where the i-th is nearest, the last above the last ratio. Nearest is
/// meant as a factor; the border of two ratios is their geometric mean, exactly, in integers.
fn bucket(width: u64, height: u64) -> usize {
    let (first, last) = (RATIOS[0], RATIOS[RATIOS.len() - 1]);
    if width * first.1 < height * first.0 {
        return 0;
    }
    if width * last.1 > height * last.0 {
        return RATIOS.len() + 1;
    }
    let (width, height) = (u128::from(width).pow(2), u128::from(height).pow(2));
    let beyond = |pair: &&[(u64, u64)]| {
        width * u128::from(pair[0].1 * pair[1].1) > height * u128::from(pair[0].0 * pair[1].0)
    };
    1 + RATIOS.windows(2).take_while(beyond).count()
}

/// File formats and colour types.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// JPEG files.
    pub jpeg: usize,
    /// PNG files.
    pub png: usize,
    /// WebP files.
    pub webp: usize,
    /// GIF files, of which the first frame counts.
    pub gif: usize,
    /// BMP files.
    pub bmp: usize,
    /// TIFF files.
    pub tiff: usize,
    /// Pictures with colours.
    pub rgb: usize,
    /// Pictures stored in grey.
    pub grey: usize,
    /// Pictures with an alpha channel, in colours or grey.
    pub alpha: usize,
    /// Pictures with 16 bits per channel, in colours or grey.
    pub sixteen_bit: usize,
    /// Pictures that their EXIF orientation turns or mirrors.
    pub rotated: usize,
}

pub(super) fn kinds(infos: &[PictureInfo]) -> Kinds {
    let count = |is: &dyn Fn(&PictureInfo) -> bool| infos.iter().filter(|info| is(info)).count();
    Kinds {
        jpeg: count(&|info| info.format == ImageFormat::Jpeg),
        png: count(&|info| info.format == ImageFormat::Png),
        webp: count(&|info| info.format == ImageFormat::WebP),
        gif: count(&|info| info.format == ImageFormat::Gif),
        bmp: count(&|info| info.format == ImageFormat::Bmp),
        tiff: count(&|info| info.format == ImageFormat::Tiff),
        rgb: count(&|info| info.color.has_color()),
        grey: count(&|info| !info.color.has_color()),
        alpha: count(&|info| info.color.has_alpha()),
        sixteen_bit: count(&|info| info.color.bytes_per_pixel() == 2 * info.color.channel_count()),
        rotated: count(&|info| info.rotated),
    }
}
