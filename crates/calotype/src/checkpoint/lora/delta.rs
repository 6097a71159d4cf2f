//! What a change adds to a weight: W += scale · ΔW.

use rayon::prelude::*;

use super::change::Change;
use crate::files::weights::Tensors;

/// What is wrong with a tensor, where its file is known elsewhere.
pub(super) type Result<T> = std::result::Result<T, String>;

/// The tensors of a file, whose shapes fit ([`super::fit`]).
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a>(pub &'a Tensors);

impl Numbers<'_> {
    /// All numbers of a tensor.
    pub fn of(self, name: &str) -> Result<Vec<f32>> {
        self.0.get(name).map(|tensor| tensor.to_f32()).ok_or_else(|| format!("`{name}` is not there"))
    }

    /// The one number of a tensor.
    pub fn one(self, name: &str) -> Result<f64> {
        let first = self.of(name)?.first().copied();
        first.map(f64::from).ok_or_else(|| format!("`{name}` has no number"))
    }

    /// The size of an axis, at least 1.
    pub fn size(self, name: &str, axis: usize) -> Result<usize> {
        let size = self.0.get(name).and_then(|tensor| tensor.shape().get(axis).copied());
        size.filter(|&size| size > 0).ok_or_else(|| format!("`{name}` has no numbers along axis {axis}"))
    }
}

/// W += scale · ΔW.
///
/// - `w`: row by row, of shape `[out, in, …]` or `[out]`.
pub(super) fn add(
    change: &Change,
    numbers: Numbers,
    scale: f32,
    shape: &[usize],
    w: &mut [f32],
) -> Result<()> {
    if w.is_empty() {
        return Err("the weight has no numbers".into());
    }
    match change {
        Change::LowRank { down, up, mid } => {
            let (up, down, rank) = (numbers.of(up)?, numbers.of(down)?, numbers.size(down, 0)?);
            match mid {
                None => add_product(&up, &down, rank, scale, w),
                Some(mid) => {
                    let mid = numbers.of(mid)?;
                    add_tucker(&mid, |o, p| up[o * rank + p], &down, (rank, rank), scale, w);
                }
            }
        }
        Change::Hadamard(first, second) => {
            let (first, second) = (first.dense(numbers)?, second.dense(numbers)?);
            let pairs = first.par_iter().zip(&second);
            w.par_iter_mut().zip(pairs).for_each(|(w, (a, b))| *w += scale * a * b);
        }
        Change::Kronecker(first, second) => {
            let rows = (first.rows(numbers)?, second.rows(numbers)?);
            add_kronecker(&first.dense(numbers)?, &second.dense(numbers)?, rows, scale, w);
        }
        Change::Difference(tensor) => {
            let difference = numbers.of(tensor)?;
            w.iter_mut().zip(difference).for_each(|(w, delta)| *w += scale * delta);
        }
        // Not a sum: diffusers and ComfyUI put it there at any strength.
        Change::Replacement(tensor) if scale != 0.0 => {
            w.iter_mut().zip(numbers.of(tensor)?).for_each(|(w, new)| *w = new);
        }
        Change::Replacement(_) => {}
        Change::Channels { weight, on_input } => {
            add_channels(&numbers.of(weight)?, numbers.one(on_input)? != 0.0, scale, shape, w)?;
        }
    }
    Ok(())
}

/// W[o] += scale · Σ_r up[o, r] · down[r].
pub(super) fn add_product(up: &[f32], down: &[f32], rank: usize, scale: f32, w: &mut [f32]) {
    let columns = down.len() / rank;
    w.par_chunks_mut(columns).zip(up.par_chunks(rank)).for_each(|(row, up)| {
        for (up, down) in up.iter().zip(down.chunks(columns)) {
            row.iter_mut().zip(down).for_each(|(w, d)| *w += scale * up * d);
        }
    });
}

/// W[o, i, :] += scale · Σ_pq core[p, q, :] · a(o, p) · b[q, i]: a kernel between two 1×1 convolutions.
///
/// - `ranks`: how many p and q there are.
pub(super) fn add_tucker(
    core: &[f32],
    a: impl Fn(usize, usize) -> f32 + Sync,
    b: &[f32],
    ranks: (usize, usize),
    scale: f32,
    w: &mut [f32],
) {
    let (inputs, places) = (b.len() / ranks.1, core.len() / (ranks.0 * ranks.1));
    w.par_chunks_mut(inputs * places).enumerate().for_each(|(o, row)| {
        // Σ_p core[p, q, :] · a(o, p)
        let mut core_of_row = vec![0.0_f32; ranks.1 * places];
        for (p, core) in core.chunks(core_of_row.len()).enumerate() {
            let a = a(o, p);
            core_of_row.iter_mut().zip(core).for_each(|(sum, core)| *sum += a * core);
        }
        for (core, b) in core_of_row.chunks(places).zip(b.chunks(inputs)) {
            for (to, b) in row.chunks_mut(places).zip(b) {
                to.iter_mut().zip(core).for_each(|(w, core)| *w += scale * b * core);
            }
        }
    });
}

/// W[a·n + c, b·m + d] += scale · first[a, b] · second[c, d], with second `[n, m]`.
///
/// - `rows`: of `first` and of `second`.
fn add_kronecker(first: &[f32], second: &[f32], rows: (usize, usize), scale: f32, w: &mut [f32]) {
    let (outer_columns, columns) = (first.len() / rows.0, second.len() / rows.1);
    w.par_chunks_mut(outer_columns * columns).enumerate().for_each(|(o, row)| {
        let (a, c) = (o / rows.1, o % rows.1);
        let second = &second[c * columns..][..columns];
        for (first, part) in first[a * outer_columns..].iter().zip(row.chunks_mut(columns)) {
            part.iter_mut().zip(second).for_each(|(w, s)| *w += scale * first * s);
        }
    });
}

/// W[o, i, :] += scale · w[o] · W[o, i, :], or w[i] in its place.
fn add_channels(channels: &[f32], on_input: bool, scale: f32, shape: &[usize], w: &mut [f32]) -> Result<()> {
    let &[out, inputs, ref kernel @ ..] = shape else {
        return Err(format!("expected a weight of two or more axes, not {shape:?}"));
    };
    let (side, expected) = if on_input { ("input", inputs) } else { ("output", out) };
    if channels.len() != expected {
        let got = channels.len();
        return Err(format!("expected {expected} numbers for the channels of the {side}, got {got}"));
    }
    let places: usize = kernel.iter().product();
    w.par_chunks_mut(inputs * places).enumerate().for_each(|(o, row)| {
        for (i, kernel) in row.chunks_mut(places).enumerate() {
            let channel = if on_input { channels[i] } else { channels[o] };
            kernel.iter_mut().for_each(|w| *w += scale * channel * *w);
        }
    });
    Ok(())
}
