//! DoRA: the lengths of a weight's rows or columns are learned apart from their directions.
//!
//! Liu et al. 2024, arXiv:2402.09353.

use rayon::prelude::*;

use super::delta::{Numbers, Result};

/// Inputs whose lengths a thread sums at a time: of each row it reads what lies side by side.
const INPUTS_AT_ONCE: usize = 64;

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
        let &[_, inputs, ref kernel @ ..] = shape else {
            return Err(format!("`{}` is of a weight with two or more axes, not {shape:?}", self.tensor));
        };
        let places: usize = kernel.iter().product();
        let columns = inputs * places;
        let squares: Vec<f64> = if self.of_rows {
            merged.par_chunks(columns).map(sum_of_squares).collect()
        } else {
            squares_of_inputs(merged, inputs, places)
        };
        // LyCORIS' own guard against rows of zeros.
        let length = |square: &f64| square.sqrt() + f64::from(f32::EPSILON);
        let lengths = numbers.of(&self.tensor)?;
        let factors: Vec<f32> =
            lengths.iter().zip(&squares).map(|(m, square)| (f64::from(*m) / length(square)) as f32).collect();
        let rows = w.par_chunks_mut(columns).zip(merged.par_chunks(columns));
        rows.enumerate().for_each(|(o, (row, merged))| {
            for (i, (kernel, merged)) in row.chunks_mut(places).zip(merged.chunks(places)).enumerate() {
                let factor = factors[if self.of_rows { o } else { i }];
                kernel.iter_mut().zip(merged).for_each(|(w, merged)| *w += strength * (merged * factor - *w));
            }
        });
        Ok(())
    }
}

fn sum_of_squares(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

/// Σ over o and the kernel of W[o, i, :]², for each input i. Each sum goes row by row.
fn squares_of_inputs(w: &[f32], inputs: usize, places: usize) -> Vec<f64> {
    let mut squares = vec![0.0; inputs];
    squares.par_chunks_mut(INPUTS_AT_ONCE).enumerate().for_each(|(block, squares)| {
        for row in w.chunks(inputs * places) {
            let kernels = row[block * INPUTS_AT_ONCE * places..].chunks(places);
            for (square, kernel) in squares.iter_mut().zip(kernels) {
                kernel.iter().for_each(|&value| *square += f64::from(value) * f64::from(value));
            }
        }
    });
    squares
}
