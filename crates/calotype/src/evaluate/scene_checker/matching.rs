//! Zero-mean normalised cross-correlation of a picture with the templates.

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::template::{CANVAS, RIM, Template, blur};

const SIDE: usize = CANVAS as usize;
/// Rows of a plane: the canvas with the templates' rim on both sides.
const ROWS: usize = SIDE + 2 * RIM;
/// Positions in a row that are computed at once; those past the canvas are ignored.
const LANES: usize = SIDE;
/// Columns of a plane: a template of any width may start in any lane.
const STRIDE: usize = LANES + ROWS;

/// A place where a template fits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    /// Number of the template.
    pub template: usize,
    /// Upper left corner of the sprite on the 32-pixel canvas.
    pub x: u32,
    pub y: u32,
    /// Correlation coefficient, at most 1.
    pub score: f32,
}

/// A picture prepared for the search.
pub(super) struct Planes {
    /// Estimated colour of the background.
    background: [f32; 3],
    /// Blurred picture less the background, red, green, blue: [ROWS · STRIDE], zero outside.
    colour: [Vec<f32>; 3],
    /// For red, green, blue and the sum of their squares: sums along the row of all columns before.
    prefix: [Vec<f32>; 4],
}

impl Planes {
    /// `picture` must have pixels.
    pub fn new(picture: &RgbImage) -> Self {
        let small;
        let picture = if picture.dimensions() == (CANVAS, CANVAS) {
            picture
        } else {
            small = imageops::resize(picture, CANVAS, CANVAS, FilterType::Triangle);
            &small
        };
        let background = background(picture);
        let colour: [Vec<f32>; 3] = std::array::from_fn(|c| {
            let mut plane = vec![0.0; ROWS * STRIDE];
            for (x, y, pixel) in picture.enumerate_pixels() {
                plane[(y as usize + RIM) * STRIDE + x as usize + RIM] = f32::from(pixel[c]) - background[c];
            }
            blur(&plane, STRIDE)
        });
        let prefix = std::array::from_fn(|k| {
            let mut sums = vec![0.0; ROWS * STRIDE];
            for start in (0..sums.len()).step_by(STRIDE) {
                for i in start..start + STRIDE - 1 {
                    let value = match k {
                        3 => colour.iter().map(|plane| plane[i] * plane[i]).sum(),
                        _ => colour[k][i],
                    };
                    sums[i + 1] = sums[i] + value;
                }
            }
            sums
        });
        Self { background, colour, prefix }
    }

    /// The estimated colour of the background, sRGB in [0, 255].
    pub fn background(&self) -> [f32; 3] {
        self.background
    }

    /// Every place where a template correlates with the picture by `threshold` or more.
    pub fn matches(&self, templates: &[Template], threshold: f32) -> Vec<Match> {
        let mut found = Vec::new();
        for (number, template) in templates.iter().enumerate() {
            let (centred, template_energy) = template.centred(self.background);
            for y in 0..=ROWS - template.height {
                let products = self.products(template, &centred, y);
                let energies = self.energies(template, y);
                for x in 0..=ROWS - template.width {
                    // The least contrast, as a part of what the template has itself: less is noise.
                    const LEAST_CONTRAST: f32 = 0.35;
                    let (product, energy) = (products[x], energies[x]);
                    let score = product / (energy * template_energy).sqrt();
                    if score >= threshold && product >= LEAST_CONTRAST * template_energy {
                        found.push(Match { template: number, x: x as u32, y: y as u32, score });
                    }
                }
            }
        }
        found
    }

    /// Σ template · picture with the template's upper edge at row `y`, for every column. The picture's
    /// mean needs no subtraction here: the template sums to zero.
    fn products(&self, template: &Template, centred: &[Vec<f32>; 3], y: usize) -> [f32; LANES] {
        let mut sums = [0.0; LANES];
        for (row, &(start, end)) in template.spans.iter().enumerate() {
            for (plane, picture) in centred.iter().zip(&self.colour) {
                let picture = &picture[(y + row) * STRIDE..][..STRIDE];
                for (column, &weight) in (start..end).zip(&plane[row * template.width + start..]) {
                    for (sum, &value) in sums.iter_mut().zip(&picture[column..column + LANES]) {
                        *sum += weight * value;
                    }
                }
            }
        }
        sums
    }

    /// Σ (picture − its mean)² over the compared pixels, per channel, for every column.
    fn energies(&self, template: &Template, y: usize) -> [f32; LANES] {
        let mut sums = [[0.0; LANES]; 4];
        for (row, &(start, end)) in template.spans.iter().enumerate() {
            for (sums, prefix) in sums.iter_mut().zip(&self.prefix) {
                let prefix = &prefix[(y + row) * STRIDE..][..STRIDE];
                let (before, after) = (&prefix[start..start + LANES], &prefix[end..end + LANES]);
                for ((sum, before), after) in sums.iter_mut().zip(before).zip(after) {
                    *sum += after - before;
                }
            }
        }
        let [red, green, blue, squares] = sums;
        let area = template.area();
        std::array::from_fn(|x| {
            let of_means = (red[x] * red[x] + green[x] * green[x] + blue[x] * blue[x]) / area;
            (squares[x] - of_means).max(f32::MIN_POSITIVE)
        })
    }
}

/// The commonest colour along the picture's border: the mean of the largest group of similar pixels.
/// (A median fails where big objects fill half of the border.)
fn background(picture: &RgbImage) -> [f32; 3] {
    const SIMILAR: f32 = 30.0;
    let (right, bottom) = (picture.width() - 1, picture.height() - 1);
    let border: Vec<[f32; 3]> = picture
        .enumerate_pixels()
        .filter(|&(x, y, _)| x == 0 || y == 0 || x == right || y == bottom)
        .map(|(_, _, pixel)| pixel.0.map(f32::from))
        .collect();
    let similar = |a: &[f32; 3], b: &[f32; 3]| {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() < SIMILAR * SIMILAR
    };
    let group = |centre: &[f32; 3]| border.iter().filter(|&p| similar(p, centre)).count();
    let Some(centre) = border.iter().max_by_key(|&centre| group(centre)) else {
        return [0.0; 3];
    };
    let members = group(centre) as f32;
    std::array::from_fn(|c| {
        border.iter().filter(|&p| similar(p, centre)).map(|p| p[c]).sum::<f32>() / members
    })
}
