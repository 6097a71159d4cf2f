//! PyTorch's normals on an NVIDIA GPU, so that a picture made in Python from a seed can be made here.
//!
//! Source of the rules: PyTorch 2.15, `ATen/native/cuda/DistributionTemplates.h` (which thread writes
//! which element), and the device functions of cuRAND that it calls, `curand_init` and
//! `curand_normal4`. ROCm builds use rocRAND, whose formula for the normals is another.

use std::f32::consts::TAU;

use super::philox4x32;

/// The random normals of `torch.randn(n, device="cuda", generator=g)` in float32, where
/// `g = torch.Generator("cuda").manual_seed(seed)`, on a GPU that has a thread for every element: thread i of the
/// kernel owns subsequence i of Philox4x32-10 and writes element i from the first normal of its block.
///
/// That is so on every GPU up to as many elements as PyTorch starts threads: 40 960 on a T4, 196 608 on an
/// RTX 4090 and 221 184 on an A100. A Stable Diffusion latent of 512² pixels has 16 384 elements, one of SDXL at
/// 1024² has 65 536. Above it PyTorch's threads write several elements each, and its numbers depend on the GPU;
/// AUTOMATIC1111 (noise source NV) and stable-diffusion.cpp (generator `cuda`) keep to this rule whatever the size,
/// as is done here.
///
/// Words and layout are exact. The values agree to a few 1e-6: the GPU's `__sincosf` is approximate, sine and
/// cosine here are not. In float16 and bfloat16 PyTorch rounds these same values.
#[derive(Debug, Clone)]
pub struct TorchCuda {
    key: [u32; 2],
    /// Philox blocks that each subsequence has used up.
    block: u64,
}

impl TorchCuda {
    /// The generator after `manual_seed(seed)`.
    pub fn new(seed: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], block: 0 }
    }

    /// The next `n` standard normals, as one call of `torch.randn` with `n` elements in all. Every call
    /// with `n > 0` uses up one block of each subsequence, of which it takes one normal.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        if n == 0 {
            return Vec::new();
        }
        let block = self.block;
        self.block = block.wrapping_add(1);
        (0..n as u64)
            .map(|thread| {
                let counter = [block as u32, (block >> 32) as u32, thread as u32, (thread >> 32) as u32];
                let words = philox4x32(counter, self.key);
                box_muller(words[0], words[1])
            })
            .collect()
    }
}

/// The first normal of cuRAND's Box–Muller transform of two words: radius times the sine of the angle.
/// Products and sums are fused as on the GPU; the functions are rounded from f64.
fn box_muller(radius_word: u32, angle_word: u32) -> f32 {
    const UNIT: f32 = 1.0 / 4_294_967_296.0;
    let u = (radius_word as f32).mul_add(UNIT, UNIT / 2.0);
    let angle = (angle_word as f32).mul_add(UNIT * TAU, UNIT * TAU / 2.0);
    let radius = (-2.0 * libm::log(f64::from(u)) as f32).sqrt();
    radius * libm::sin(f64::from(angle)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(got: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(got.len(), expected.len());
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!((got - expected).abs() <= tolerance, "value {i}: expected {expected}, got {got}");
        }
    }

    /// The example in the docstring of AUTOMATIC1111's `rng_philox.py`, seed 0.
    #[test]
    fn small_tensor_has_the_well_known_values() {
        let expected = [
            -0.924_662_6,
            -0.425_344_15,
            -2.643_845_7,
            0.145_183_88,
            -0.120_866_47,
            -0.579_725_6,
            -0.622_851_2,
            -0.328_387_1,
            -1.074_542_3,
            -0.363_144_07,
            -1.671_050_7,
            2.265_505,
        ];
        assert_close(&TorchCuda::new(0).normals(12), &expected, 1e-6);
    }

    /// `torch.randn(4, device="cuda")` called six times after `torch.manual_seed(42)`, as printed by
    /// PyTorch on a GPU (four decimals).
    #[test]
    fn each_call_takes_the_next_block() {
        let mut generator = TorchCuda::new(42);
        for expected in [
            [0.1940, 2.1614, -0.1721, 0.8491],
            [0.1391, -0.1082, -0.7174, 0.7566],
            [-0.5187, 1.2268, 0.6255, -0.9117],
            [-0.6974, -1.8688, -0.8832, -1.6627],
            [-1.2682, -0.0383, -0.1029, 1.4400],
            [1.4640, -0.3238, 0.7740, 1.5892],
        ] {
            assert_close(&generator.normals(4), &expected, 6e-5);
        }
    }

    /// Unlike on the CPU, all 64 bits of the seed count.
    #[test]
    fn whole_seed_counts() {
        let draw = |seed| TorchCuda::new(seed).normals(3);
        assert_ne!(draw(5), draw((1 << 32) + 5));
        assert_eq!(TorchCuda::new(5).normals(0), Vec::<f32>::new());
    }
}
