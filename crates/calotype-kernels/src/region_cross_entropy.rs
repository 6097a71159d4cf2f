//! The cross-entropy between where words are looked at and where their things are, forward and backward.

use rayon::prelude::*;

use crate::memory::Buffer;

/// Sizes of probabilities `[B, heads, cells, tokens]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegionShape {
    /// Heads, whose mean counts.
    pub heads: usize,
    /// Queries: cells of a picture.
    pub cells: usize,
    /// Keys: tokens of a text.
    pub tokens: usize,
    /// Regions of a sample; those of weight 0 are none.
    pub regions: usize,
}

impl RegionShape {
    fn sample(&self) -> usize {
        self.heads * self.cells * self.tokens
    }
}

/// What is known of a batch's regions.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// How much of a token's attention belongs to each region, 0 or 1: `[B, tokens, regions]`.
    pub naming: &'a [f32],
    /// The share of each cell that a region covers: `[B, cells, regions]`.
    pub covered: &'a [f32],
    /// `[B, regions]`.
    pub weights: &'a [f32],
}

/// One region of one sample.
struct Region<'a> {
    number: usize,
    /// Its tokens.
    tokens: Vec<usize>,
    covered: &'a [f32],
    weight: f32,
}

impl<'a> Known<'a> {
    fn of_sample(&self, s: &RegionShape, b: usize) -> impl Iterator<Item = Region<'a>> {
        let naming = &self.naming[b * s.tokens * s.regions..][..s.tokens * s.regions];
        let covered = &self.covered[b * s.cells * s.regions..][..s.cells * s.regions];
        let weights = self.weights[b * s.regions..][..s.regions].iter().copied().enumerate();
        let regions = s.regions;
        weights.filter(|(_, weight)| *weight != 0.0).map(move |(number, weight)| {
            let named = naming.chunks_exact(regions).enumerate().filter(|(_, of)| of[number] != 0.0);
            Region { number, tokens: named.map(|(token, _)| token).collect(), covered, weight }
        })
    }
}

impl Region<'_> {
    /// a(n), before it is kept away from 0 and 1, and m(n) of a cell.
    fn at(&self, s: &RegionShape, p: &[f32], cell: usize) -> (f32, f32) {
        let of_head = |head: usize| {
            let row = &p[(head * s.cells + cell) * s.tokens..][..s.tokens];
            self.tokens.iter().map(|&token| row[token]).sum::<f32>()
        };
        let mean = (0..s.heads).map(of_head).sum::<f32>() / s.heads as f32;
        (mean, self.covered[cell * s.regions + self.number])
    }
}

/// Σ_b Σ_o w_bo Σ_n BCE(a_bo(n), m_bo(n)); see [`crate::region_cross_entropy`](fn@crate::region_cross_entropy).
pub fn forward(s: &RegionShape, p: &[f32], known: Known, certain: f32) -> f32 {
    let sum_of = |(b, p): (usize, &[f32])| -> f64 {
        let entropy = |region: Region| {
            let of_cell = |cell: usize| {
                let (a, m) = region.at(s, p, cell);
                let a = a.clamp(certain, 1.0 - certain);
                f64::from(-m * a.ln() - (1.0 - m) * (1.0 - a).ln())
            };
            f64::from(region.weight) * (0..s.cells).map(of_cell).sum::<f64>()
        };
        known.of_sample(s, b).map(entropy).sum()
    };
    let sums: Vec<f64> = p.par_chunks(s.sample()).enumerate().map(sum_of).collect();
    // In their order, whatever the threads.
    sums.into_iter().sum::<f64>() as f32
}

/// ∂L/∂P from ∂L/∂sum.
pub fn backward(s: &RegionShape, p: &[f32], known: Known, certain: f32, upstream: f32) -> Buffer {
    let mut dp = Buffer::zeros(p.len());
    dp.par_chunks_mut(s.sample()).zip(p.par_chunks(s.sample())).enumerate().for_each(|(b, (dp, p))| {
        for region in known.of_sample(s, b) {
            for cell in 0..s.cells {
                let (a, m) = region.at(s, p, cell);
                if a < certain || a > 1.0 - certain {
                    continue;
                }
                let da = upstream * region.weight * ((1.0 - m) / (1.0 - a) - m / a) / s.heads as f32;
                for head in 0..s.heads {
                    let row = &mut dp[(head * s.cells + cell) * s.tokens..][..s.tokens];
                    region.tokens.iter().for_each(|&token| row[token] += da);
                }
            }
        }
    });
    dp
}
