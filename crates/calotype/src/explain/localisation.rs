//! Does a word's heat lie on the object it names? Heat maps scored against known boxes and masks.

use serde::Serialize;

use super::heat_map::WordHeatMap;
use super::mask::{Mask, Region};
use crate::error::{Error, Result};

/// Share of the heat inside the mask, in [0, 1].
///
/// - `mask`: here and below of the map's size.
pub fn mass_inside(map: &WordHeatMap, mask: &Mask) -> f64 {
    pixels(map, mask).filter(|(_, inside)| *inside).map(|(value, _)| f64::from(value)).sum()
}

/// Share of the picture that the mask covers, in [0, 1]: the [`mass_inside`] of a uniform map, the chance level of the
/// [`pointing_game`], and the [`ious`] of a uniform map.
pub fn area_share(mask: &Mask) -> f64 {
    let (width, height) = mask.size();
    mask.pixels().filter(|inside| *inside).count() as f64 / (width * height).max(1) as f64
}

/// Does the hottest pixel lie in the mask? Of equally hot pixels, all must: a uniform map points
/// nowhere.
///
/// Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", arXiv:1608.00507, section 4.
pub fn pointing_game(map: &WordHeatMap, mask: &Mask) -> bool {
    let hottest = map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut peaks = pixels(map, mask).filter(|(value, _)| *value == hottest).peekable();
    peaks.peek().is_some() && peaks.all(|(_, inside)| inside)
}

/// Number of thresholds of [`ious`].
pub const THRESHOLDS: usize = 19;

/// Threshold `i` of [`ious`], as a share of the hottest pixel: 0.05, 0.1 … 0.95.
pub fn threshold(i: usize) -> f64 {
    (i + 1) as f64 / (THRESHOLDS + 1) as f64
}

/// Intersection over union of the mask with the pixels that have at least [`threshold`] of the hottest one's heat, for
/// each threshold. 0 where both are empty.
///
/// Which threshold counts is decided over many maps (the one with the largest mean), as Choe et al. 2020, "Evaluating
/// Weakly Supervised Object Localization Methods Right", arXiv:2001.07437, section 3.3, do for boxes: the best one of each
/// map would flatter it.
pub fn ious(map: &WordHeatMap, mask: &Mask) -> [f64; THRESHOLDS] {
    let hottest = map.values.iter().copied().fold(0.0, f32::max);
    std::array::from_fn(|i| {
        let least = threshold(i) * f64::from(hottest);
        let (mut both, mut either) = (0_usize, 0_usize);
        for (value, inside) in pixels(map, mask) {
            let hot = f64::from(value) >= least;
            both += usize::from(hot && inside);
            either += usize::from(hot || inside);
        }
        both as f64 / either.max(1) as f64
    })
}

/// The heat of each pixel, and whether it lies in the mask.
fn pixels(map: &WordHeatMap, mask: &Mask) -> impl Iterator<Item = (f32, bool)> {
    map.values.iter().copied().zip(mask.pixels())
}

/// The score of one word in one picture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Hit {
    /// See [`mass_inside`].
    pub mass_inside: f64,
    /// See [`area_share`].
    pub area_share: f64,
    /// Mass inside over area share: how many times hotter the region is than the picture; 1 is chance.
    pub ratio: f64,
    /// See [`pointing_game`].
    pub pointing_game: bool,
}

impl Hit {
    /// Scores `map` against the region of the object that its word names.
    ///
    /// # Errors
    /// `Error::Argument` if the region covers no pixel of the picture.
    pub fn of(map: &WordHeatMap, region: Region) -> Result<Self> {
        Self::scored(map, &Mask::of_region(region, map.width, map.height), || format!("{region:?}"))
    }

    /// [`Hit::of`] with the mask of the object.
    ///
    /// # Errors
    /// `Error::Shape` if the mask is not of the map's size; `Error::Argument` if it covers no pixel.
    pub fn on(map: &WordHeatMap, mask: &Mask) -> Result<Self> {
        let (expected, got) = ((map.width, map.height), mask.size());
        if got != expected {
            let size = |(width, height): (usize, usize)| format!("{width} × {height}");
            return Err(Error::shape(format!("mask of `{}`", map.word), size(expected), size(got)));
        }
        Self::scored(map, mask, || "an empty mask".into())
    }

    fn scored(map: &WordHeatMap, mask: &Mask, got: impl Fn() -> String) -> Result<Self> {
        let (mass_inside, area_share) = (mass_inside(map, mask), area_share(mask));
        if area_share == 0.0 {
            let expected = format!("pixels of the picture of {} × {}", map.width, map.height);
            return Err(Error::argument(format!("region of `{}`", map.word), expected, got()));
        }
        let pointing_game = pointing_game(map, mask);
        Ok(Self { mass_inside, area_share, ratio: mass_inside / area_share, pointing_game })
    }
}

/// A mean and how far it may be off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// s/√n with the unbiased s; unknown from a single value.
    pub standard_error: Option<f64>,
}

impl Estimate {
    /// Of values that are taken as independent; NaN of none.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let n = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / n;
        let squares: f64 = values.map(|value| (value - mean).powi(2)).sum();
        Self { mean, standard_error: (n > 1.0).then(|| (squares / (n - 1.0) / n).sqrt()) }
    }
}

/// [`Hit`]s of many words and pictures together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Localisation {
    /// Share of the heat inside the named object's region.
    pub mass_inside: Estimate,
    /// Share of the picture inside it.
    pub area_share: Estimate,
    /// Mean of the hits' ratios, every hit weighing the same; 1 is chance.
    pub ratio: Estimate,
    /// Share of the hits whose hottest pixel lies inside; chance is `area_share`.
    pub pointing_game: Estimate,
    /// Number of hits.
    pub n: usize,
}

impl Localisation {
    /// Means and standard errors over `hits`, taken as independent.
    ///
    /// # Errors
    /// `Error::Argument` if there are none.
    pub fn of(hits: &[Hit]) -> Result<Self> {
        if hits.is_empty() {
            return Err(Error::argument("localisation", "at least one scored heat map", 0));
        }
        let estimate = |value: fn(&Hit) -> f64| Estimate::of(hits.iter().map(value));
        Ok(Self {
            mass_inside: estimate(|hit| hit.mass_inside),
            area_share: estimate(|hit| hit.area_share),
            ratio: estimate(|hit| hit.ratio),
            pointing_game: estimate(|hit| f64::from(u8::from(hit.pointing_game))),
            n: hits.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    const LEFT_HALF: Region = Region { x: 0, y: 0, width: 2, height: 3 };

    fn map(values: [f32; 12]) -> WordHeatMap {
        WordHeatMap { word: "cat".into(), height: 3, width: 4, values: values.to_vec() }
    }

    fn one_hot(index: usize) -> WordHeatMap {
        map(std::array::from_fn(|i| if i == index { 1.0 } else { 0.0 }))
    }

    #[test]
    fn uniform_map_is_at_chance_in_every_region() {
        let uniform = map([1.0 / 12.0; 12]);
        for region in [
            LEFT_HALF,
            Region { x: 1, y: 2, width: 1, height: 1 },
            Region { x: 3, y: 1, width: 99, height: 99 },
        ] {
            let hit = Hit::of(&uniform, region).unwrap();
            assert!((hit.ratio - 1.0).abs() < 1e-6, "{region:?}: {hit:?}");
            assert!(!hit.pointing_game);
        }
    }

    #[test]
    fn one_hot_map_is_inside_or_outside() {
        let (inside, outside) = (one_hot(4 + 1), one_hot(4 + 2)); // row 1, columns 1 and 2
        let hit = Hit::of(&inside, LEFT_HALF).unwrap();
        assert_eq!(hit, Hit { mass_inside: 1.0, area_share: 0.5, ratio: 2.0, pointing_game: true });
        let miss = Hit::of(&outside, LEFT_HALF).unwrap();
        assert_eq!(miss, Hit { mass_inside: 0.0, area_share: 0.5, ratio: 0.0, pointing_game: false });
    }

    #[test]
    fn region_outside_the_picture_is_refused() {
        for (x, width, height) in [(4, 5, 5), (0, 0, 3)] {
            let hit = Hit::of(&one_hot(0), Region { x, y: 0, width, height });
            assert_refuses(hit, "region of `cat`: expected pixels of the picture of 4 ×");
        }
    }

    #[test]
    fn map_that_is_the_mask_overlaps_it_wholly() {
        let mask = Mask::new(4, 3, |x, y| x > 1 && y > 0);
        let equal = map(std::array::from_fn(|i| if i % 4 > 1 && i / 4 > 0 { 0.25 } else { 0.0 }));
        assert_eq!(ious(&equal, &mask), [1.0; THRESHOLDS]);
        assert_eq!(ious(&equal, &mask.complement()), [0.0; THRESHOLDS]);
        let hit = Hit::on(&equal, &mask).unwrap();
        assert_eq!(hit, Hit { mass_inside: 1.0, area_share: 4.0 / 12.0, ratio: 3.0, pointing_game: true });
    }

    #[test]
    fn a_mask_that_is_empty_or_of_another_size_is_refused() {
        let (map, mask) = (one_hot(0), |width, height, all| Mask::new(width, height, move |_, _| all));
        assert_refuses(Hit::on(&map, &mask(4, 3, false)), "region of `cat`: expected pixels of the picture");
        assert_refuses(Hit::on(&map, &mask(3, 4, true)), "mask of `cat`: expected 4 × 3, got 3 × 4");
    }

    #[test]
    fn uniform_map_overlaps_a_mask_by_its_area() {
        let mask = Mask::new(4, 3, |x, _| x == 0);
        assert_eq!(ious(&map([1.0 / 12.0; 12]), &mask), [0.25; THRESHOLDS]);
    }

    #[test]
    fn each_threshold_has_its_overlap() {
        // 1, ½ and ¼ of the hottest: inside, inside, outside.
        let mut values = [0.0; 12];
        (values[0], values[1], values[2]) = (0.4, 0.2, 0.1);
        let overlaps = ious(&map(values), &Mask::new(4, 3, |x, y| y == 0 && x < 2));
        assert_eq!((threshold(0), threshold(4), threshold(9), threshold(18)), (0.05, 0.25, 0.5, 0.95));
        assert_eq!((overlaps[0], overlaps[4], overlaps[5]), (2.0 / 3.0, 2.0 / 3.0, 1.0));
        assert_eq!((overlaps[9], overlaps[10], overlaps[18]), (1.0, 0.5, 0.5));
    }

    #[test]
    fn equally_hot_pixels_must_all_lie_inside() {
        let mut values = [0.0; 12];
        (values[0], values[4]) = (0.5, 0.5);
        let both = map(values);
        assert!(pointing_game(&both, &Mask::new(4, 3, |x, _| x == 0)));
        assert!(!pointing_game(&both, &Mask::new(4, 3, |x, y| x == 0 && y == 0)));
    }

    #[test]
    fn means_and_standard_errors() {
        let hits: Vec<Hit> = [5, 6, 5, 5].map(|index| Hit::of(&one_hot(index), LEFT_HALF).unwrap()).into();
        let all = Localisation::of(&hits).unwrap();
        assert_eq!(
            (all.n, all.mass_inside.mean, all.ratio.mean, all.pointing_game.mean),
            (4, 0.75, 1.5, 0.75)
        );
        // Ratios 2, 0, 2, 2: s² = (3 · 0.25 + 2.25) / 3 = 1, s/√4 = 0.5.
        assert_eq!(all.ratio.standard_error, Some(0.5));
        assert_eq!(all.area_share.standard_error, Some(0.0));
        assert_eq!(Localisation::of(&hits[..1]).unwrap().ratio.standard_error, None);
        assert_refuses(Localisation::of(&[]), "localisation: expected at least one");
    }
}
