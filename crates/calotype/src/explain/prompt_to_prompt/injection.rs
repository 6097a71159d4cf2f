//! Attention of one picture in place of another's.

use std::cell::Cell;

use burn::tensor::{Device, Tensor, TensorData};

use super::token_map::TokenMap;
use crate::nn::{Qkv, Reads, Weigh};

/// Positions of a layer whose self-attention is injected, at most: finer layers decide texture. 32 × 32, as in the
/// authors' code.
const MOST_POSITIONS: usize = 32 * 32;

/// How the attention of the second sample of a batch comes from that of the first. Hertz et al. 2022, arXiv:2208.01626,
/// section 3.2 and Algorithm 1.
///
/// The paper edits probabilities. They are linear in what they weigh, so the same comes out of other queries, keys and
/// values: P̂ V = P (M V) + P* (o ⊙ V), with P = softmax(QKᵀ/√d) of the source, P* of the edited, M and o a [`TokenMap`].
#[derive(Debug)]
pub struct Injection {
    /// M, `[tokens, tokens]`.
    mapped: Tensor<2>,
    /// o, `[1, tokens, 1]`; nothing where no word is new.
    own: Option<Tensor<3>>,
    /// What attention to each token is multiplied by, `[1, tokens, 1]`; nothing where that is 1 everywhere.
    factors: Option<Tensor<3>>,
    /// Steps with injected cross-attention, from the first.
    cross_steps: usize,
    /// The same of self-attention.
    self_steps: usize,
    step: Cell<usize>,
}

impl Injection {
    /// - `factors`: of the edited prompt's tokens.
    /// - `steps`: with injected cross-attention, and with injected self-attention.
    pub fn new(map: &TokenMap, factors: &[f32], steps: [usize; 2], device: &Device) -> Self {
        let tokens = map.tokens;
        let column =
            |values: &[f32]| Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, tokens, 1]), device);
        Self {
            mapped: Tensor::from_data(TensorData::new(map.mapped.clone(), [tokens, tokens]), device),
            own: map.own.iter().any(|&own| own != 0.0).then(|| column(&map.own)),
            factors: factors.iter().any(|&factor| factor != 1.0).then(|| column(factors)),
            cross_steps: steps[0],
            self_steps: steps[1],
            step: Cell::new(0),
        }
    }

    /// What is asked from now on belongs to this step, counted from 0.
    pub fn begin_step(&self, step: usize) {
        self.step.set(step);
    }

    /// What a layer gives for source and edited, `[2, N, heads·d]`; `None` where it is what it would be.
    pub fn rewired(&self, reads: Reads, size: [usize; 2], qkv: &Qkv, weigh: &Weigh) -> Option<Tensor<3>> {
        let step = self.step.get();
        let is_changed = match reads {
            Reads::Picture => step < self.self_steps && size[0] * size[1] <= MOST_POSITIONS,
            Reads::Text => step < self.cross_steps || self.factors.is_some(),
        };
        if !is_changed {
            return None;
        }
        let [source, edited] = [0..1, 1..2].map(|range| qkv.samples(range));
        let changed = match reads {
            Reads::Picture => weigh(Qkv { v: edited.v, ..source.clone() }),
            Reads::Text => self.cross(source.clone(), edited, weigh),
        };
        Some(Tensor::cat(vec![weigh(source), changed], 0))
    }

    /// What cross-attention gives for the edited sample.
    fn cross(&self, source: Qkv, Qkv { q, k, v }: Qkv, weigh: &Weigh) -> Tensor<3> {
        let v = match &self.factors {
            Some(factors) => v * factors.clone(),
            None => v,
        };
        if self.step.get() >= self.cross_steps {
            return weigh(Qkv { q, k, v });
        }
        let mapped = self.mapped.clone().unsqueeze::<3>().matmul(v.clone());
        let taken = weigh(Qkv { v: mapped, ..source });
        match &self.own {
            Some(own) => taken + weigh(Qkv { q, k, v: v * own.clone() }),
            None => taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::activation::softmax;

    use super::*;

    const TOKENS: usize = 4;
    const POSITIONS: usize = 6;
    const WIDTH: usize = 3;

    fn numbers<const D: usize>(seed: f32, shape: [usize; D]) -> Tensor<D> {
        let n = shape.iter().product::<usize>();
        let values = (0..n).map(|i| ((i as f32 + seed) * 1.7).sin()).collect::<Vec<f32>>();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn probabilities(q: &Tensor<3>, k: &Tensor<3>) -> Tensor<3> {
        let scale = (WIDTH as f32).sqrt().recip();
        softmax(q.clone().matmul(k.clone().swap_dims(1, 2)) * scale, 2)
    }

    /// One head.
    fn weigh(qkv: Qkv) -> Tensor<3> {
        probabilities(&qkv.q, &qkv.k).matmul(qkv.v)
    }

    fn qkv(keys: usize) -> Qkv {
        let [q, k, v] =
            [(1.0, POSITIONS), (2.0, keys), (3.0, keys)].map(|(seed, n)| numbers(seed, [2, n, WIDTH]));
        Qkv { q, k, v }
    }

    /// start, a word that stays, a new word, end; of the source the last is left out.
    fn map() -> TokenMap {
        let mut mapped = vec![0.0; TOKENS * TOKENS];
        for (i, j, share) in [(0, 0, 1.0), (1, 1, 0.5), (2, 3, 1.0)] {
            mapped[i * TOKENS + j] = share;
        }
        TokenMap { tokens: TOKENS, mapped, own: vec![0.0, 0.0, 1.0, 0.0] }
    }

    fn injection(map: &TokenMap, factors: [f32; TOKENS], steps: [usize; 2]) -> Injection {
        Injection::new(map, &factors, steps, &Device::flex())
    }

    fn values(x: Tensor<3>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn cross_attention_is_that_of_the_edited_probabilities() {
        let (map, factors, qkv) = (map(), [1.0, -2.0, 0.5, 3.0], qkv(TOKENS));
        let injection = injection(&map, factors, [1, 0]);
        let p = probabilities(&qkv.q, &qkv.k);
        let [p, own] = [0, 1].map(|i| values(p.clone().narrow(0, i, 1)));
        let mut edited = Vec::new(); // as the paper has it
        for (p, own) in p.chunks(TOKENS).zip(own.chunks(TOKENS)) {
            for j in 0..TOKENS {
                let taken: f32 = (0..TOKENS).map(|i| p[i] * map.mapped[i * TOKENS + j]).sum();
                edited.push(factors[j] * (taken + map.own[j] * own[j]));
            }
        }
        let edited = Tensor::<3>::from_data(TensorData::new(edited, [1, POSITIONS, TOKENS]), &Device::flex());
        let expected = values(edited.matmul(qkv.v.clone().narrow(0, 1, 1)));
        let found = injection.rewired(Reads::Text, [2, 3], &qkv, &weigh).unwrap();
        assert_eq!(values(found.clone().narrow(0, 0, 1)), values(weigh(qkv.samples(0..1))));
        for (found, expected) in values(found.narrow(0, 1, 1)).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        // Behind its steps the factors are left.
        injection.begin_step(1);
        let found = injection.rewired(Reads::Text, [2, 3], &qkv, &weigh).unwrap();
        let Qkv { q, k, v } = qkv.samples(1..2);
        let factors =
            Tensor::<3>::from_data(TensorData::new(factors.to_vec(), [1, TOKENS, 1]), &Device::flex());
        assert_eq!(values(found.narrow(0, 1, 1)), values(weigh(Qkv { q, k, v: v * factors })));
    }

    #[test]
    fn self_attention_is_the_sources_in_its_steps_and_coarse_layers() {
        let (injection, qkv) = (injection(&map(), [1.0; TOKENS], [0, 2]), qkv(POSITIONS));
        let found = injection.rewired(Reads::Picture, [32, 32], &qkv, &weigh).unwrap();
        let p = probabilities(&qkv.q, &qkv.k).narrow(0, 0, 1);
        assert_eq!(values(found.narrow(0, 1, 1)), values(p.matmul(qkv.v.clone().narrow(0, 1, 1))));
        assert!(injection.rewired(Reads::Picture, [33, 32], &qkv, &weigh).is_none());
        injection.begin_step(2);
        assert!(injection.rewired(Reads::Picture, [2, 3], &qkv, &weigh).is_none());
        // And without cross-attention's steps and factors that is as it would be.
        assert!(injection.rewired(Reads::Text, [2, 3], &self::qkv(TOKENS), &weigh).is_none());
    }

    #[test]
    fn a_word_of_weight_0_says_nothing() {
        for steps in [[1, 0], [0, 0]] {
            let injection = injection(&map(), [1.0, 1.0, 0.0, 1.0], steps);
            let qkv = qkv(TOKENS);
            let mut other = self::qkv(TOKENS);
            let shout = numbers(9.0, [1, 1, WIDTH]) * 100.0;
            other.v = other.v.slice_assign([1..2, 2..3, 0..WIDTH], shout);
            let [quiet, shouted] = [&qkv, &other]
                .map(|qkv| values(injection.rewired(Reads::Text, [2, 3], qkv, &weigh).unwrap()));
            assert_eq!(quiet, shouted);
            let heard = self::injection(&map(), [1.0, 1.0, 0.5, 1.0], steps);
            let heard =
                [&qkv, &other].map(|qkv| values(heard.rewired(Reads::Text, [2, 3], qkv, &weigh).unwrap()));
            assert_ne!(heard[0], heard[1]);
        }
    }
}
