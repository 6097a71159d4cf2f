//! Philox4x32-10: the only source of randomness.
//!
//! Counter-based: number n of a stream is a pure function of (seed, purpose, index, n), so results
//! do not depend on threads, batch size or order. Salmon et al. 2011, "Parallel Random Numbers: As
//! Easy as 1, 2, 3".

pub mod mt19937;
pub mod torch_cpu;
pub mod torch_cuda;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_INCREMENTS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// What a stream is for. Two purposes never share numbers, whatever their seeds and indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Purpose {
    /// Initial weights; index = number of the parameter.
    Weights = 1,
    /// A scene of the embedded data; index = item.
    Scene = 2,
    /// Nothing in a training any more (the order follows from `Epoch`); tests draw from it. Index = step.
    Batch = 3,
    /// Diffusion noise ε and timesteps in training; index = position in the run.
    TrainingNoise = 4,
    /// Caption dropout; index = position in the run.
    CaptionDropout = 5,
    /// The VAE's posterior sample; index = position in the run.
    Posterior = 6,
    /// Initial latent noise of image i; index = i.
    InitialLatent = 7,
    /// Noise that a stochastic sampler adds to image i; index = i.
    SamplerNoise = 8,
    /// Splits and subsets in evaluation.
    Evaluation = 9,
    /// Which pairs of nouns are held out.
    Split = 10,
    /// The order of a collection of pictures; index = epoch.
    Epoch = 11,
    /// Crop and flip of a training picture; index = position in the run.
    Transform = 12,
    /// Which of its captions a training picture has; index = position in the run.
    CaptionChoice = 13,
    /// Noise that moves whole channels in training; index = position in the run.
    OffsetNoise = 14,
    /// Times of a flow in training; index = position in the run.
    FlowTime = 15,
    /// Noise levels of an EDM in training; index = position in the run.
    EdmSigma = 16,
}

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Philox {
    /// The stream of `purpose` and `index` under `seed`. `index` must be below 2⁴⁸ (it is masked).
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let stream = ((purpose as u64) << 48) | (index & 0xFFFF_FFFF_FFFF);
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, 0, stream as u32, (stream >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }

    /// 32 uniform bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.counter, self.key);
            let (low, carry) = self.counter[0].overflowing_add(1);
            self.counter[0] = low;
            self.counter[1] = self.counter[1].wrapping_add(u32::from(carry));
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        (((high << 32) | low) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform integer in 0..n.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "below(0) has no value");
        // 64 bits against n: the bias is under n / 2⁶⁴.
        let high = u128::from(self.next_u32());
        let low = u128::from(self.next_u32());
        ((((high << 32) | low) * n as u128) >> 64) as usize
    }

    /// Two independent standard normals (Box–Muller in f64, through `libm`, so that every machine
    /// gives the same bits).
    fn normal_pair(&mut self) -> [f32; 2] {
        let radius = libm::sqrt(-2.0 * libm::log1p(-self.uniform()));
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * self.uniform());
        [(radius * cos) as f32, (radius * sin) as f32]
    }

    /// `n` standard normals.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        let mut out = Vec::with_capacity(n + 1);
        while out.len() < n {
            out.extend(self.normal_pair());
        }
        out.truncate(n);
        out
    }

    /// A permutation of 0..n (Fisher–Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(KEY_INCREMENTS[0]), key[1].wrapping_add(KEY_INCREMENTS[1])];
        }
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known-answer vectors of the Random123 distribution.
    #[test]
    fn philox_known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn normals_have_the_right_moments() {
        let n = 200_000;
        let draws = Philox::new(7, Purpose::InitialLatent, 3).normals(n);
        let mean = draws.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let variance = draws.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
        let kurtosis = draws.iter().map(|&x| (f64::from(x) - mean).powi(4)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01, "mean {mean}"); // four standard errors
        assert!((variance - 1.0).abs() < 0.013, "variance {variance}");
        assert!((kurtosis - 3.0).abs() < 0.09, "fourth moment {kurtosis}");
    }

    #[test]
    fn streams_are_separate_and_repeatable() {
        let draw = |seed, purpose, index| Philox::new(seed, purpose, index).next_u32();
        let base = draw(1, Purpose::Scene, 0);
        assert_eq!(base, draw(1, Purpose::Scene, 0));
        assert_ne!(base, draw(2, Purpose::Scene, 0));
        assert_ne!(base, draw(1, Purpose::Batch, 0));
        assert_ne!(base, draw(1, Purpose::Scene, 1));
    }

    #[test]
    fn permutation_holds_every_index_once() {
        let mut order = Philox::new(5, Purpose::Evaluation, 0).permutation(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
