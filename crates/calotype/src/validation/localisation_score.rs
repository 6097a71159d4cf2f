//! The localisation score of some words, and its intervals.

use serde::Serialize;

use crate::error::Result;
use crate::evaluate::prompt_accuracy::Proportion;
use crate::explain::heat_map::WordHeatMap;
use crate::explain::localisation::{Estimate, Hit, Localisation, THRESHOLDS, ious, threshold};
use crate::explain::mask::Mask;

/// The map of a word against what it names.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredMap {
    /// Mass, area and pointing.
    pub hit: Hit,
    /// [`ious`].
    pub ious: [f64; THRESHOLDS],
}

impl ScoredMap {
    /// Scores `map` against the mask of what its word names.
    ///
    /// # Errors
    /// As [`Hit::on`].
    pub fn new(map: &WordHeatMap, mask: &Mask) -> Result<Self> {
        Ok(Self { hit: Hit::on(map, mask)?, ious: ious(map, mask) })
    }
}

/// The score of a class of words.
#[derive(Debug, Clone, Serialize)]
pub struct Score {
    /// Intersection over union at the threshold at which its mean is largest.
    pub iou: Estimate,
    /// That threshold, as a share of a map's hottest pixel.
    pub iou_threshold: f64,
    /// Words whose hottest pixel lies on what they name, with Wilson's 95 % interval.
    pub pointing: Proportion,
    /// Share of the heat on what they name.
    pub mass_inside: Estimate,
    /// Share of the picture that it covers: what a uniform map has for mass and IoU.
    pub area_share: Estimate,
    /// Mean of mass over area of each word; 1 is chance.
    pub mass_over_area: Estimate,
    /// Words.
    pub n: usize,
}

impl Score {
    /// Over some maps, taken as independent.
    ///
    /// # Errors
    /// `Error::Argument` if there are none.
    pub fn of(maps: &[ScoredMap]) -> Result<Self> {
        let hits: Vec<Hit> = maps.iter().map(|map| map.hit).collect();
        let all = Localisation::of(&hits)?;
        let mean = |i: usize| maps.iter().map(|map| map.ious[i]).sum::<f64>();
        // Of equal ones the lowest.
        let best = (0..THRESHOLDS).rev().max_by(|&a, &b| mean(a).total_cmp(&mean(b))).unwrap_or(0);
        let pointing = hits.iter().filter(|hit| hit.pointing_game).count();
        Ok(Self {
            iou: Estimate::of(maps.iter().map(|map| map.ious[best])),
            iou_threshold: threshold(best),
            pointing: Proportion::new(pointing, hits.len())?,
            mass_inside: all.mass_inside,
            area_share: all.area_share,
            mass_over_area: all.ratio,
            n: all.n,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn map(values: [f32; 4]) -> WordHeatMap {
        WordHeatMap { word: "cat".into(), height: 1, width: 4, values: values.to_vec() }
    }

    #[test]
    fn maps_that_are_the_masks_score_one() {
        let mask = Mask::new(4, 1, |x, _| x < 2);
        let maps = [ScoredMap::new(&map([0.5, 0.5, 0.0, 0.0]), &mask).unwrap()];
        let score = Score::of(&maps).unwrap();
        assert_eq!((score.iou.mean, score.iou_threshold, score.pointing.rate()), (1.0, 0.05, 1.0));
        assert_eq!((score.mass_inside.mean, score.area_share.mean), (1.0, 0.5));
        assert!(matches!(Score::of(&[]), Err(Error::Argument { .. })));
    }

    #[test]
    fn uniform_maps_have_the_area_and_point_nowhere() {
        let mask = Mask::new(4, 1, |x, _| x < 1);
        let score = Score::of(&[ScoredMap::new(&map([0.25; 4]), &mask).unwrap()]).unwrap();
        assert_eq!((score.iou.mean, score.mass_inside.mean, score.pointing.hits()), (0.25, 0.25, 0));
    }

    #[test]
    fn one_threshold_is_chosen_for_all_maps() {
        // The first map is right up to ½, the second from ½ on: together 0.5 and no other gives 1.
        let mask = Mask::new(4, 1, |x, _| x < 2);
        let maps = [map([0.6, 0.3, 0.0, 0.0]), map([0.4, 0.4, 0.18, 0.0])];
        let maps = maps.map(|map| ScoredMap::new(&map, &mask).unwrap());
        let score = Score::of(&maps).unwrap();
        assert_eq!((score.iou.mean, score.iou_threshold), (1.0, 0.5));
    }
}
