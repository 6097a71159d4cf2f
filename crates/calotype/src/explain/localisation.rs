//! Does a word's heat lie on the object it names? Heat maps scored against known boxes.

use serde::Serialize;

use super::heat_map::WordHeatMap;
use crate::error::{Error, Result};

/// A box in pixels; what of it lies outside the picture counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Region {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Region {
    fn contains(&self, x: usize, y: usize) -> bool {
        let within = |value: usize, start: u32, length: u32| {
            value.checked_sub(start as usize).is_some_and(|offset| offset < length as usize)
        };
        within(x, self.x, self.width) && within(y, self.y, self.height)
    }
}

/// Share of the heat inside the region, in [0, 1].
pub fn mass_inside(map: &WordHeatMap, region: Region) -> f64 {
    pixels(map).filter(|&(x, y, _)| region.contains(x, y)).map(|(.., value)| value).sum()
}

/// Share of the picture that the region covers, in [0, 1]: the [`mass_inside`] of a uniform map, and
/// the chance level of the [`pointing_game`].
pub fn area_share(map: &WordHeatMap, region: Region) -> f64 {
    let inside = pixels(map).filter(|&(x, y, _)| region.contains(x, y)).count();
    inside as f64 / map.values.len().max(1) as f64
}

/// Does the hottest pixel lie in the region? Of equally hot pixels, all must: a uniform map points
/// nowhere.
///
/// Zhang et al. 2016, "Top-down Neural Attention by Excitation Backprop", arXiv:1608.00507, section 4.
pub fn pointing_game(map: &WordHeatMap, region: Region) -> bool {
    let hottest = map.values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut peaks = pixels(map).filter(|&(.., value)| value == f64::from(hottest)).peekable();
    peaks.peek().is_some() && peaks.all(|(x, y, _)| region.contains(x, y))
}

fn pixels(map: &WordHeatMap) -> impl Iterator<Item = (usize, usize, f64)> {
    let width = map.width.max(1);
    map.values.iter().enumerate().map(move |(i, &value)| (i % width, i / width, f64::from(value)))
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
        let (mass_inside, area_share) = (mass_inside(map, region), area_share(map, region));
        if area_share == 0.0 {
            let expected = format!("pixels of the picture of {} × {}", map.width, map.height);
            return Err(Error::argument(
                format!("region of `{}`", map.word),
                expected,
                format!("{region:?}"),
            ));
        }
        let pointing_game = pointing_game(map, region);
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
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
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
        let far = Region { x: u32::MAX, y: 0, width: u32::MAX, height: 1 };
        assert_eq!(mass_inside(&one_hot(0), far), 0.0);
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
