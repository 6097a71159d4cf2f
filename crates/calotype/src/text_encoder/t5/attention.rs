//! Self-attention with a bias for the distance of two tokens, and without a scale.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData};

use super::T5Config;
use crate::nn::{Embedding, Init, Linear};

/// softmax(Q Kᵀ + bias) V. Raffel et al. 2020, section 2.1. Without 1/√d: the weights begin smaller for it.
#[derive(Module, Debug)]
pub struct SelfAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    /// A number for each bucket and head, `[buckets, heads]`: only in the first block.
    relative_attention_bias: Option<Embedding>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    max_distance: usize,
}

impl SelfAttention {
    /// As transformers begins. `with_bias`: whether the table of biases is in this block.
    pub fn new(config: &T5Config, with_bias: bool, init: &mut Init) -> Self {
        let (outer, inner) = (config.d_model, config.num_heads * config.d_kv);
        let std = (outer as f64).powf(-0.5);
        let q_std = ((outer * config.d_kv) as f64).powf(-0.5);
        let (buckets, heads) = (config.relative_attention_num_buckets, config.num_heads);
        Self {
            q: Linear::normal(outer, inner, false, q_std, init),
            k: Linear::normal(outer, inner, false, std, init),
            v: Linear::normal(outer, inner, false, std, init),
            o: Linear::normal(inner, outer, false, (inner as f64).powf(-0.5), init),
            relative_attention_bias: with_bias.then(|| Embedding::normal(buckets, heads, std, init)),
            heads,
            max_distance: config.relative_attention_max_distance,
        }
    }

    /// What is added to the scores of L tokens: `[1, heads, L, L]`, queries before keys.
    pub fn position_bias(&self, length: usize) -> Tensor<4> {
        let Some(table) = &self.relative_attention_bias else {
            return Tensor::zeros([1, self.heads, length, length], &self.q.weight.device());
        };
        let buckets = table.weight.dims()[0];
        let bucket = |place: usize| {
            let (query, key) = (place / length, place % length);
            bucket(key as i64 - query as i64, buckets, self.max_distance) as i64
        };
        let ids: Vec<i64> = (0..length * length).map(bucket).collect();
        let ids = TensorData::new(ids, [length, length]);
        let bias = table.rows(Tensor::<2, Int>::from_data(ids, &table.weight.device())); // [L, L, heads]
        bias.permute([2, 0, 1]).unsqueeze::<4>()
    }

    /// `[B, L, d_model]` to the same shape; `bias`: [`SelfAttention::position_bias`] of the first block.
    pub fn forward(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let [b, l, _] = x.dims();
        let split = |x: Tensor<3>| {
            let width = x.dims()[2] / self.heads;
            x.reshape([b, l, self.heads, width]).swap_dims(1, 2) // [B, heads, L, d_kv]
        };
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|linear| split(linear.forward(x.clone())));
        let weights = softmax(q.matmul(k.swap_dims(2, 3)) + bias, 3); // [B, heads, L, L]
        let inner = self.o.weight.dims()[1];
        self.o.forward(weights.matmul(v).swap_dims(1, 2).reshape([b, l, inner]))
    }
}

/// The bucket of a key `delta` tokens after its query. Half of the buckets are for keys after it. Of each half, one half
/// is for single distances, and the other for ranges that grow by a constant factor; `max_distance` and all beyond are
/// in the last. In f32, as transformers counts.
fn bucket(delta: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let (side, single) = (if delta > 0 { half } else { 0 }, half / 2);
    let distance = delta.unsigned_abs() as usize;
    if distance < single {
        return side + distance;
    }
    let growth = (max_distance as f64 / single as f64).ln() as f32;
    let ranges = (half - single) as f32;
    let range = (distance as f32 / single as f32).ln() / growth * ranges;
    side + (single + range as usize).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_transformers() {
        let of = |delta| bucket(delta, 32, 128);
        for (distance, expected) in [
            (0, 0),
            (7, 7),
            (8, 8),
            (11, 8),
            (12, 9),
            (15, 9),
            (16, 10),
            (32, 12),
            (64, 14),
            (90, 14),
            (91, 15),
        ] {
            assert_eq!(of(-distance), expected, "{distance} before");
            assert_eq!(of(distance), if distance == 0 { 0 } else { 16 + expected }, "{distance} after");
        }
        assert_eq!([128, 511, 100_000].map(of), [31; 3]);
        assert_eq!([-128, -511, -100_000].map(of), [15; 3]);
    }
}
