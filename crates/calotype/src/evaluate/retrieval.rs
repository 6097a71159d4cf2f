//! Retrieval at 1: does an image find its caption among all captions, and a caption its image?
//!
//! The zero-shot retrieval of CLIP, Radford et al. 2021, arXiv:2103.00020, Section 3.1 and Table 13
//! (recall at 1).

use serde::Serialize;

use crate::error::{Error, Result};

/// Accuracies of a batch of n pairs, each in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Retrieval {
    /// Share of images whose most similar caption is right.
    pub image_to_text: f64,
    /// Share of captions whose most similar image is right.
    pub text_to_image: f64,
    /// What a blind guess scores: 1/n, or more where captions repeat.
    pub chance: f64,
    /// Pairs.
    pub n: usize,
}

/// Retrieval at 1 by cosine similarity; pair i is image i and caption i.
///
/// A tie among m candidates counts the share of right ones among the m, what guessing among them
/// scores on average: features that have collapsed to one point score chance, not 1.
///
/// - `image`, `text`: features `[n, dimension]`, row by row; they are L2-normalised here.
/// - `same(i, j)`: whether captions i and j say the same, so that j is as right as i; symmetric. i is
///   always right for itself, `|_, _| false` where all captions differ.
///
/// # Errors
/// `Error::Shape` unless both sides hold the same number of rows of `dimension`; `Error::Data` for
/// no rows, a value that is not finite, or a row of zeros.
pub fn retrieval_at_1<T: Copy + Into<f64>>(
    image: &[T],
    text: &[T],
    dimension: usize,
    same: impl Fn(usize, usize) -> bool,
) -> Result<Retrieval> {
    retrieval_at(1, image, text, dimension, same)
}

/// Retrieval at k, as [`retrieval_at_1`]: whether a right candidate is among the `k` most similar ones. Of
/// candidates that tie for the last places, as many are taken as there are places, and any choice is equally
/// likely. `chance` is what a blind guess scores where every query has one right candidate: k/n.
///
/// # Errors
/// As [`retrieval_at_1`]; `Error::Argument` for k = 0.
pub fn retrieval_at<T: Copy + Into<f64>>(
    k: usize,
    image: &[T],
    text: &[T],
    dimension: usize,
    same: impl Fn(usize, usize) -> bool,
) -> Result<Retrieval> {
    if k == 0 {
        return Err(Error::argument("k", "at least 1", k));
    }
    if image.len() != text.len() {
        return Err(Error::shape("text features", image.len(), text.len()));
    }
    let image = normalised(image, dimension, "image features")?;
    let text = normalised(text, dimension, "text features")?;
    let n = image.len();
    let right = |i: usize, j: usize| i == j || same(i, j);
    let pairs = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).filter(|&(i, j)| right(i, j)).count();
    let at_1 = pairs as f64 / (n * n) as f64;
    Ok(Retrieval {
        image_to_text: hits(k, &image, &text, right),
        text_to_image: hits(k, &text, &image, right),
        chance: if k == 1 { at_1 } else { (k as f64 / n as f64).min(1.0) },
        n,
    })
}

/// Mean over the queries of the probability that a right candidate is among the `k` most similar ones.
fn hits(
    k: usize,
    queries: &[Vec<f64>],
    candidates: &[Vec<f64>],
    right: impl Fn(usize, usize) -> bool,
) -> f64 {
    let hit = |(i, query): (usize, &Vec<f64>)| {
        let dot = |candidate: &Vec<f64>| query.iter().zip(candidate).map(|(q, c)| q * c).sum::<f64>();
        let similarities: Vec<f64> = candidates.iter().map(dot).collect();
        let of_right = (0..candidates.len()).filter(|&j| right(i, j)).map(|j| similarities[j]);
        let best = of_right.fold(f64::NEG_INFINITY, f64::max);
        let nearer = similarities.iter().filter(|&&s| s > best).count();
        let tied: Vec<usize> = (0..candidates.len()).filter(|&j| similarities[j] == best).collect();
        let wrong = tied.iter().filter(|&&j| !right(i, j)).count();
        let places = k.saturating_sub(nearer).min(tied.len());
        // 1 − the probability that all places go to wrong ones.
        let missed = |place: usize| wrong.saturating_sub(place) as f64 / (tied.len() - place) as f64;
        1.0 - (0..places).map(missed).product::<f64>()
    };
    queries.iter().enumerate().map(hit).sum::<f64>() / queries.len() as f64
}

fn normalised<T: Copy + Into<f64>>(rows: &[T], dimension: usize, what: &str) -> Result<Vec<Vec<f64>>> {
    if dimension == 0 || rows.is_empty() || !rows.len().is_multiple_of(dimension) {
        let expected = format!("rows of {dimension} numbers, at least one");
        return Err(Error::shape(what, expected, format!("{} numbers", rows.len())));
    }
    let unit = |row: &[T]| {
        let row: Vec<f64> = row.iter().map(|&v| v.into()).collect();
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if !(norm.is_finite() && norm > 0.0) {
            return Err(Error::data(what, "rows of finite length above 0", format!("length {norm}")));
        }
        Ok(row.iter().map(|v| v / norm).collect())
    };
    rows.chunks_exact(dimension).map(unit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    const AXES: [f32; 9] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];

    #[test]
    fn matching_features_are_all_right_whatever_their_length() {
        let long: Vec<f32> = AXES.iter().map(|v| v * 9.0).collect();
        let found = retrieval_at_1(&AXES, &long, 3, |_, _| false).unwrap();
        assert_eq!((found.image_to_text, found.text_to_image, found.n), (1.0, 1.0, 3));
        assert!((found.chance - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn the_two_directions_are_told_apart() {
        // Both images are nearest to text 0; text 0 is nearest to image 0, text 1 to image 1.
        let image = [1.0_f32, 0.0, 0.8, 0.6];
        let text = [1.0_f32, 0.1, 0.1, 1.0];
        let found = retrieval_at_1(&image, &text, 2, |_, _| false).unwrap();
        assert_eq!((found.image_to_text, found.text_to_image), (0.5, 1.0));
    }

    #[test]
    fn collapsed_features_score_chance() {
        let found = retrieval_at_1(&[1.0_f32; 8], &[2.0_f32; 8], 2, |_, _| false).unwrap();
        assert_eq!((found.image_to_text, found.text_to_image, found.chance), (0.25, 0.25, 0.25));
    }

    #[test]
    fn an_identical_caption_is_right_and_raises_chance() {
        // Images 0 and 1 are swapped, but their captions say the same.
        let swapped = [0.0_f32, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let strict = retrieval_at_1(&swapped, &AXES, 3, |_, _| false).unwrap();
        assert!((strict.image_to_text - 1.0 / 3.0).abs() < 1e-15, "{strict:?}");
        let found = retrieval_at_1(&swapped, &AXES, 3, |i, j| i < 2 && j < 2).unwrap();
        assert_eq!((found.image_to_text, found.text_to_image, found.chance), (1.0, 1.0, 5.0 / 9.0));
    }

    #[test]
    fn bad_features_are_refused() {
        let none = |_: usize, _: usize| false;
        let finite = "image features: expected rows of finite length above 0";
        assert_refuses(
            retrieval_at_1::<f32>(&[], &[], 3, none),
            "image features: expected rows of 3 numbers",
        );
        assert_refuses(retrieval_at_1(&AXES, &AXES[..6], 3, none), "text features: expected 9, got 6");
        assert_refuses(retrieval_at_1(&[0.0_f32; 3], &[1.0; 3], 3, none), finite);
        assert_refuses(retrieval_at_1(&[f32::NAN, 1.0, 1.0], &[1.0; 3], 3, none), finite);
    }

    #[test]
    fn five_places_are_five_chances() {
        // Unit vectors at growing angles: query 0 finds candidate j at rank j.
        let at = |degrees: f64| [degrees.to_radians().cos(), degrees.to_radians().sin()];
        let image: Vec<f64> = (0..8).flat_map(|_| at(0.0)).collect();
        let text: Vec<f64> = (0..8).flat_map(|j| at(10.0 * f64::from(j))).collect();
        let five = retrieval_at(5, &image, &text, 2, |_, _| false).unwrap();
        assert_eq!(five.image_to_text, 5.0 / 8.0);
        // All images are equal: a blind guess.
        assert!((five.text_to_image - 5.0 / 8.0).abs() < 1e-12);
        assert_eq!(five.chance, 5.0 / 8.0);
        let one = retrieval_at(1, &image, &text, 2, |_, _| false).unwrap();
        assert_eq!(one, retrieval_at_1(&image, &text, 2, |_, _| false).unwrap());
        assert_refuses(retrieval_at(0, &image, &text, 2, |_, _| false), "k: expected at least 1");
    }
}
