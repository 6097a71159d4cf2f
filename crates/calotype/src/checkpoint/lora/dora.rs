//! DoRA: the lengths of a weight's rows or columns are learned apart from their directions.
//!
//! Liu et al. 2024, arXiv:2402.09353.

use rayon::prelude::*;

use super::delta::{Numbers, Result};

/// The length of each row or column of W + ΔW.
#[derive(Debug, Clone, PartialEq)]
pub struct Magnitude {
    /// One number for each.
    pub tensor: String,
    /// Whether it is of the rows (the output's channels, as in PEFT and later LyCORIS), not of the columns (the
    /// input's, as in earlier LyCORIS).
    pub of_rows: bool,
}

impl Magnitude {
    /// Moves W so far towards W' as `strength` says: W += strength · (W' − W).
    ///
    /// W' = m · (W + ΔW) / ‖W + ΔW‖, Eq. 5. All agree on strength 1. For others LyCORIS keeps the whole ΔW at strength
    /// 0 and PEFT the lengths; here 0 is nothing, as in ComfyUI.
    ///
    /// - `merged`: W + ΔW.
    /// - `shape`: of W, `[out, in, …]`; `w`: W, row by row.
    pub(super) fn apply(
        &self,
        numbers: Numbers,
        merged: &[f32],
        strength: f32,
        shape: &[usize],
        w: &mut [f32],
    ) -> Result<()> {
        let &[out, inputs, ref kernel @ ..] = shape else {
            return Err(format!("`{}` is of a weight with two or more axes, not {shape:?}", self.tensor));
        };
        let places: usize = kernel.iter().product();
        let columns = inputs * places;
        let channel = |i: usize| if self.of_rows { i / columns } else { i % columns / places };
        let mut squares = vec![0.0_f64; if self.of_rows { out } else { inputs }];
        for (i, value) in merged.iter().enumerate() {
            squares[channel(i)] += f64::from(*value) * f64::from(*value);
        }
        // LyCORIS' own guard against rows of zeros.
        let length = |square: &f64| square.sqrt() + f64::from(f32::EPSILON);
        let lengths = numbers.of(&self.tensor)?;
        let factors: Vec<f32> =
            lengths.iter().zip(&squares).map(|(m, square)| (f64::from(*m) / length(square)) as f32).collect();
        w.par_iter_mut().zip(merged).enumerate().for_each(|(i, (w, merged))| {
            *w += strength * (merged * factors[channel(i)] - *w);
        });
        Ok(())
    }
}
