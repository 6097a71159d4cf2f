//! Grounding: a loss that teaches the words of a caption where the things are that they name.
//!
//! A squared error hardly asks for a layout: at timesteps at which nothing can be seen, knowing where an object belongs
//! changes the best guess of it by little. So the attention is told: Wang et al. 2023 ("TokenCompose"),
//! arXiv:2312.03626, section 3.2, there for fine-tuning; here for half of the heads, and heavier at noisy timesteps.

use std::cell::RefCell;
use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use calotype_kernels::{add, region_cross_entropy};

use crate::nn::AttentionHook;

/// Attention nearer to 0 or 1 than this is right enough: ln stays finite.
const CERTAIN: f32 = 1e-4;

/// A thing that a caption names, and where it is seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Rows of the context that name it, at least one.
    pub rows: Vec<usize>,
    /// `[height, width]`: the share of each cell of the latent that it covers, 0 to 1.
    pub coverage: Vec<f32>,
}

/// The regions of a batch.
#[derive(Debug, Clone)]
pub struct Regions<'a> {
    /// Those of each sample; none where the caption names nothing, or is dropped.
    pub samples: &'a [Vec<Region>],
    /// Height and width of the latent.
    pub grid: [usize; 2],
    /// How much each sample counts.
    pub weights: &'a [f64],
}

/// Keeps the attention of the heads that are to be taught.
#[derive(Debug)]
pub struct GroundedAttention {
    share: f64,
    among_text: bool,
    layers: RefCell<Vec<Layer>>,
}

#[derive(Debug)]
struct Layer {
    size: [usize; 2],
    /// `[B, heads, height·width, L]`.
    probabilities: Tensor<4>,
}

impl GroundedAttention {
    /// For this share of the heads of each layer, at least one; the others stay free to read colours and relations.
    ///
    /// - `among_text`: teach which of the text's tokens a cell reads, and not how much it reads of them: where text and picture
    ///   are read together.
    pub fn new(share: f64, among_text: bool) -> Self {
        Self { share, among_text, layers: RefCell::default() }
    }

    /// (1/B) Σ_b w_b · mean over its regions o, the layers and their cells n of BCE(a_bo(n), m_bo(n)), `[1]`.
    ///
    /// a_bo(n): the probability with which cell n attends to the words of o, a mean over the heads. m_bo(n): the share of
    /// the cell that o covers. BCE(a, m) = −m·ln a − (1 − m)·ln(1 − a). `None` without a layer or a region.
    pub fn loss(self, regions: &Regions) -> Option<Tensor<1>> {
        let layers = self.layers.into_inner();
        let first = &layers.first()?.probabilities;
        let ([b, _, _, tokens], device) = (first.dims(), first.device());
        let lesson = Lesson::of(regions, tokens, &device)?;
        // Layers of one size have the same cells to cover.
        let mut sizes: BTreeMap<[usize; 2], Tensor<3>> = BTreeMap::new();
        let scale = 1.0 / (b * layers.len()) as f64;
        let terms = layers.into_iter().map(|Layer { size, probabilities }| {
            let covered = sizes.entry(size).or_insert_with(|| regions.covered(size, &device));
            lesson.cross_entropy(probabilities, covered)
        });
        terms.reduce(add).map(|sum| sum * scale)
    }
}

impl AttentionHook for GroundedAttention {
    fn heads(&self, heads: usize) -> usize {
        ((heads as f64 * self.share).round() as usize).clamp(1, heads)
    }

    fn cross_attention(&self, height: usize, width: usize, probabilities: &Tensor<4>) {
        let mut probabilities = probabilities.clone();
        if self.among_text {
            let of_text = probabilities.clone().sum_dim(3); // [B, heads, N, 1]
            probabilities = probabilities / of_text.clamp_min(CERTAIN);
        }
        let layer = Layer { size: [height, width], probabilities };
        self.layers.borrow_mut().push(layer);
    }
}

/// What does not depend on the layer.
struct Lesson {
    /// `[B, L, regions]`: 1 where a token names a region.
    naming: Tensor<3>,
    /// `[B, regions]`: what each counts in its sample, times the sample's weight.
    weights: Tensor<2>,
}

impl Lesson {
    /// Of texts of so many tokens; `None` without a region.
    fn of(regions: &Regions, tokens: usize, device: &Device) -> Option<Self> {
        let (b, most) = (regions.samples.len(), regions.most());
        if most == 0 {
            return None;
        }
        let (mut naming, mut weights) = (vec![0.0; b * tokens * most], vec![0.0; b * most]);
        for (sample, o, region) in regions.all() {
            region.rows.iter().for_each(|row| naming[(sample * tokens + row) * most + o] = 1.0);
            let count = regions.samples[sample].len() as f64;
            weights[sample * most + o] = (regions.weights[sample] / count) as f32;
        }
        let naming = constant(naming, [b, tokens, most], device);
        Some(Self { naming, weights: constant(weights, [b, most], device) })
    }

    /// Σ over samples and regions of w · mean BCE over the cells, of one layer.
    fn cross_entropy(&self, probabilities: Tensor<4>, covered: &Tensor<3>) -> Tensor<1> {
        let cells = probabilities.dims()[2];
        let (naming, weights) = (self.naming.clone(), self.weights.clone());
        region_cross_entropy(probabilities, naming, covered.clone(), weights, CERTAIN) / cells as f64
    }
}

impl Regions<'_> {
    /// Regions of the sample that has most.
    fn most(&self) -> usize {
        self.samples.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Every region, with the numbers of its sample and of itself in that.
    fn all(&self) -> impl Iterator<Item = (usize, usize, &Region)> {
        let samples = self.samples.iter().enumerate();
        samples.flat_map(|(sample, own)| own.iter().enumerate().map(move |(o, region)| (sample, o, region)))
    }

    /// `[B, height·width, regions]` of a feature map: the share of each cell that is covered.
    fn covered(&self, size: [usize; 2], device: &Device) -> Tensor<3> {
        let (b, cells, most) = (self.samples.len(), size[0] * size[1], self.most());
        let mut covered = vec![0.0; b * cells * most];
        for (sample, o, region) in self.all() {
            for (cell, share) in pooled(&region.coverage, self.grid, size).into_iter().enumerate() {
                covered[(sample * cells + cell) * most + o] = share;
            }
        }
        constant(covered, [b, cells, most], device)
    }
}

/// Numbers that a graph of gradients on `device` can take.
fn constant<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Means of `values` `[h, w]` over the cells of a coarser grid; each of them covers all that it touches.
fn pooled(values: &[f32], [h, w]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let span = |i: usize, of: usize, side: usize| (i * side / of)..((i + 1) * side).div_ceil(of);
    let mut means = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        for column in 0..columns {
            let (down, across) = (span(row, rows, h), span(column, columns, w));
            let count = (down.len() * across.len()) as f32;
            let sum: f32 = down.map(|y| values[y * w..][across.clone()].iter().sum::<f32>()).sum();
            means.push(sum / count);
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(share: f64, layers: &[([usize; 2], Tensor<4>)]) -> GroundedAttention {
        let hook = GroundedAttention::new(share, false);
        for ([height, width], probabilities) in layers {
            hook.cross_attention(*height, *width, probabilities);
        }
        hook
    }

    #[test]
    fn pools_what_a_cell_touches() {
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(pooled(&values, [3, 4], [3, 4]), values);
        assert_eq!(pooled(&values, [3, 4], [1, 2]), [4.5, 6.5]);
        // Rows 0 and 1, rows 1 and 2.
        assert_eq!(pooled(&values, [3, 4], [2, 1]), [3.5, 7.5]);
    }

    #[test]
    fn the_loss_is_the_formula() {
        let device = Device::flex();
        // One sample of two cells, two heads, three tokens; the region is named by tokens 1 and 2 and covers a quarter of
        // the first cell.
        let p = [[[0.5, 0.2, 0.3], [0.6, 0.3, 0.1]], [[0.3, 0.3, 0.4], [0.8, 0.1, 0.1]]];
        let p: Vec<f32> = p.as_flattened().as_flattened().to_vec();
        let p = Tensor::<4>::from_data(TensorData::new(p, [1, 2, 2, 3]), &device);
        let region = Region { rows: vec![1, 2], coverage: vec![0.25, 0.0] };
        let samples = [vec![region]];
        let regions = Regions { samples: &samples, grid: [1, 2], weights: &[3.0] };
        let loss: f64 = attention(1.0, &[([1, 2], p)]).loss(&regions).unwrap().into_scalar::<f32>().into();
        let bce = |a: f64, m: f64| -m * a.ln() - (1.0 - m) * (1.0 - a).ln();
        let expected = 3.0 * (bce(0.6, 0.25) + bce(0.3, 0.0)) / 2.0;
        assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
    }

    /// A cell that reads more of the picture than of the text is told the same.
    #[test]
    fn among_the_text_only_shares_count() {
        let device = Device::flex();
        let loss = |p: [f32; 6], among_text: bool| {
            let hook = GroundedAttention::new(1.0, among_text);
            let p = Tensor::<4>::from_data(TensorData::new(p.to_vec(), [1, 1, 2, 3]), &device);
            hook.cross_attention(1, 2, &p);
            let samples = [vec![Region { rows: vec![1], coverage: vec![1.0, 0.0] }]];
            let regions = Regions { samples: &samples, grid: [1, 2], weights: &[1.0] };
            hook.loss(&regions).unwrap().into_scalar::<f32>()
        };
        let whole = loss([0.2, 0.6, 0.2, 0.5, 0.1, 0.4], false);
        let halved = loss([0.1, 0.3, 0.1, 0.05, 0.01, 0.04], true);
        assert!((whole - halved).abs() < 1e-5, "{whole} {halved}");
    }

    #[test]
    fn samples_without_regions_count_nothing() {
        let device = Device::flex();
        let p = Tensor::<4>::full([2, 1, 4, 3], 1.0 / 3.0, &device);
        let region = Region { rows: vec![1], coverage: vec![1.0, 0.0, 0.0, 0.0] };
        let loss = |samples: [Vec<Region>; 2]| {
            let regions = Regions { samples: &samples, grid: [2, 2], weights: &[1.0, 1.0] };
            attention(0.5, &[([2, 2], p.clone())]).loss(&regions).map(|loss| loss.into_scalar::<f32>())
        };
        let (one, both) = (loss([vec![region.clone()], vec![]]), loss([vec![region.clone()], vec![region]]));
        assert!((one.unwrap() * 2.0 - both.unwrap()).abs() < 1e-6);
        assert_eq!(loss([vec![], vec![]]), None);
    }

    #[test]
    fn half_of_the_heads_are_taught() {
        let hook = GroundedAttention::new(0.5, false);
        assert_eq!([1, 2, 3, 4, 8].map(|heads| hook.heads(heads)), [1, 1, 2, 2, 4]);
    }
}
