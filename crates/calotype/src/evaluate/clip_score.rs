//! CLIP score: does the picture say what the prompt says?
//!
//! Hessel et al. 2021, arXiv:2104.08718. Three readings of the same cosines are in use, and differ.

use serde::Serialize;

use crate::error::{Error, Result};

/// How the cosines of picture and prompt become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipScoreRule {
    /// max(100 · mean cos, 0) (torchmetrics).
    MeanThenClamp,
    /// 100 · mean max(cos, 0).
    ClampEach,
    /// 2.5 · mean max(cos, 0) (Hessel et al. 2021, Section 3).
    #[serde(rename = "clamp_each_w2p5")]
    ClampEachW2_5,
}

/// CLIP score of pictures whose cosine with their own prompt is given.
///
/// - `cosines`: in [−1, 1], one for each picture.
///
/// # Errors
/// `Error::Data` for no pictures or a cosine outside [−1, 1] by more than rounding.
pub fn clip_score(cosines: &[f64], rule: ClipScoreRule) -> Result<f64> {
    if cosines.is_empty() {
        return Err(Error::data("cosines", "at least one picture", "none"));
    }
    if let Some(cosine) = cosines.iter().find(|c| c.is_nan() || c.abs() > 1.0 + 1e-5) {
        return Err(Error::data("cosines", "-1 to 1", cosine));
    }
    let mean = |f: fn(f64) -> f64| cosines.iter().map(|&c| f(c)).sum::<f64>() / cosines.len() as f64;
    Ok(match rule {
        ClipScoreRule::MeanThenClamp => (100.0 * mean(|c| c)).max(0.0),
        ClipScoreRule::ClampEach => 100.0 * mean(|c| c.max(0.0)),
        ClipScoreRule::ClampEachW2_5 => 2.5 * mean(|c| c.max(0.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn refuses_what_is_no_cosine() {
        for (bad, expected) in [(&[][..], "at least one"), (&[0.2, f64::NAN], "-1 to 1"), (&[1.5], "-1 to 1")]
        {
            assert_refuses(
                clip_score(bad, ClipScoreRule::ClampEach),
                &format!("cosines: expected {expected}"),
            );
        }
    }
}
