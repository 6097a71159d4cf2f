//! PyTorch's normals on an NVIDIA GPU, so that a picture made in Python from a seed can be made here.
//!
//! Source of the rules: PyTorch 2.15, `ATen/native/cuda/DistributionTemplates.h` (which thread writes
//! which element), and the device functions of cuRAND that it calls, `curand_init` and
//! `curand_normal4`. ROCm builds use rocRAND, whose formula for the normals is another.

use std::f32::consts::TAU;

use super::philox4x32;
use crate::error::{Error, Result};

/// Threads of one block of PyTorch's kernel.
const BLOCK_SIZE: usize = 256;

/// Normals that a thread makes from one Philox block.
const LANES: usize = 4;

/// The two numbers of a GPU that decide which thread of PyTorch's kernel writes which element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gpu {
    multiprocessors: u32,
    threads_per_multiprocessor: u32,
}

/// Name, multiprocessors and resident threads of each, as NVIDIA's data sheets give them.
const GPUS: [(&str, u32, u32); 18] = [
    ("t4", 40, 1024),
    ("rtx-2080-ti", 68, 1024),
    ("v100", 80, 2048),
    ("rtx-3060", 28, 1536),
    ("rtx-3080", 68, 1536),
    ("rtx-3090", 82, 1536),
    ("rtx-a6000", 84, 1536),
    ("a10", 72, 1536),
    ("a10g", 80, 1536),
    ("a100", 108, 2048),
    ("l4", 58, 1536),
    ("l40s", 142, 1536),
    ("rtx-4080", 76, 1536),
    ("rtx-4090", 128, 1536),
    ("rtx-5090", 170, 1536),
    ("h100-pcie", 114, 2048),
    ("h100", 132, 2048),
    ("h200", 132, 2048),
];

impl Gpu {
    /// A GPU by `multi_processor_count` and `max_threads_per_multi_processor` of
    /// `torch.cuda.get_device_properties`.
    ///
    /// # Errors
    /// `Error::Argument` if there is no multiprocessor, or one holds fewer than 256 threads.
    pub fn new(multiprocessors: u32, threads_per_multiprocessor: u32) -> Result<Self> {
        if multiprocessors == 0 {
            return Err(Error::argument("multiprocessors", "at least 1", multiprocessors));
        }
        if (threads_per_multiprocessor as usize) < BLOCK_SIZE {
            let expected = format!("at least {BLOCK_SIZE}");
            return Err(Error::argument("threads per multiprocessor", expected, threads_per_multiprocessor));
        }
        Ok(Self { multiprocessors, threads_per_multiprocessor })
    }

    /// A usual GPU by its name: one of [`Gpu::names`], such as `a100` or `rtx-4090`.
    ///
    /// # Errors
    /// `Error::Argument` with all names.
    pub fn named(name: &str) -> Result<Self> {
        match GPUS.into_iter().find(|gpu| gpu.0 == name) {
            Some((_, multiprocessors, threads)) => Self::new(multiprocessors, threads),
            None => {
                let names: Vec<&str> = Self::names().collect();
                Err(Error::argument("GPU", format!("one of {}", names.join(", ")), format!("`{name}`")))
            }
        }
    }

    /// The names that [`Gpu::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        GPUS.into_iter().map(|gpu| gpu.0)
    }

    /// The threads of the largest grid that PyTorch starts, and so the number of elements up to which
    /// this GPU gives the same normals as any other.
    pub fn threads(self) -> usize {
        let blocks = self.threads_per_multiprocessor as usize / BLOCK_SIZE;
        self.multiprocessors as usize * blocks * BLOCK_SIZE
    }
}

/// The random normals of `torch.randn(n, device="cuda", generator=g)` in float32, where
/// `g = torch.Generator("cuda").manual_seed(seed)`.
///
/// Thread t of the kernel owns subsequence t of Philox4x32-10 and writes elements t, t + T, t + 2T and
/// t + 3T from its first block of four normals, the next four from its second block, and so on, T being
/// the number of threads. T grows with the tensor up to [`Gpu::threads`]. Therefore
///
/// - up to that size, element i is the first normal of subsequence i on every GPU. That size is 40 960
///   on a T4, 196 608 on an RTX 4090 and 221 184 on an A100; a Stable Diffusion latent of 512² pixels has
///   16 384 elements, one of SDXL at 1024² has 65 536;
/// - above it, the numbers depend on the GPU, and only [`TorchCuda::on_gpu`] gives them. A Flux latent
///   of 1024² (262 144 elements) or a batch drawn in one call is above it on most cards.
///
/// Words and layout are exact up to 2²⁹ elements in one call (PyTorch splits larger tensors). The values
/// agree to a few 1e-6: the GPU's `__sincosf` is approximate, sine and cosine here are not. In float16
/// and bfloat16 PyTorch rounds these same values.
#[derive(Debug, Clone)]
pub struct TorchCuda {
    key: [u32; 2],
    /// Philox blocks that each subsequence has used up.
    block: u64,
    largest_grid: usize,
}

impl TorchCuda {
    /// The generator after `manual_seed(seed)`, on a GPU that has a thread for every element: element i
    /// is the first normal of subsequence i, whatever the size. AUTOMATIC1111 (noise source NV) and
    /// stable-diffusion.cpp (generator `cuda`) use this rule.
    pub fn new(seed: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], block: 0, largest_grid: usize::MAX }
    }

    /// The generator after `manual_seed(seed)` on `gpu`.
    pub fn on_gpu(seed: u64, gpu: Gpu) -> Self {
        Self { largest_grid: gpu.threads(), ..Self::new(seed) }
    }

    /// The next `n` standard normals, as one call of `torch.randn` with `n` elements in all. Every call
    /// with `n > 0` uses up at least one block of each subsequence, however few normals it takes.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        if n == 0 {
            return Vec::new();
        }
        let threads = self.largest_grid.min(n.next_multiple_of(BLOCK_SIZE));
        let out = (0..n).map(|i| self.normal(i, threads)).collect();
        self.block = self.block.wrapping_add(n.div_ceil(LANES * threads) as u64);
        out
    }

    /// Element `i` of a call whose grid has `threads` threads.
    fn normal(&self, i: usize, threads: usize) -> f32 {
        let (round, rest) = (i / (LANES * threads), i % (LANES * threads));
        let (lane, thread) = (rest / threads, (rest % threads) as u64);
        let block = self.block.wrapping_add(round as u64);
        let counter = [block as u32, (block >> 32) as u32, thread as u32, (thread >> 32) as u32];
        let words = philox4x32(counter, self.key);
        let pair = lane / 2;
        let [sine, cosine] = box_muller(words[2 * pair], words[2 * pair + 1]);
        if lane.is_multiple_of(2) { sine } else { cosine }
    }
}

/// cuRAND's Box–Muller transform of two words: radius times the sine and times the cosine of the angle.
/// Products and sums are fused as on the GPU; the functions are rounded from f64.
fn box_muller(radius_word: u32, angle_word: u32) -> [f32; 2] {
    const UNIT: f32 = 1.0 / 4_294_967_296.0;
    let u = (radius_word as f32).mul_add(UNIT, UNIT / 2.0);
    let angle = (angle_word as f32).mul_add(UNIT * TAU, UNIT * TAU / 2.0);
    let radius = (-2.0 * libm::log(f64::from(u)) as f32).sqrt();
    let (sine, cosine) = libm::sincos(f64::from(angle));
    [radius * sine as f32, radius * cosine as f32]
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

    /// The ends of one large tensor on two GPUs, seed 1: PyTorch 2.5.1, issue 143086 of its repository.
    #[test]
    fn large_tensor_depends_on_the_gpu() -> Result<()> {
        let n = 49 * 12 * 112 * 144;
        for (name, last) in [("h100", [-0.6970, -0.7780, 0.3267]), ("a100", [0.1549, -0.6797, -0.1656])] {
            let gpu = Gpu::named(name)?;
            let generator = TorchCuda::on_gpu(1, gpu);
            let at = |i| generator.normal(i, gpu.threads());
            assert_close(&[at(0), at(1), at(2)], &[-0.2963, 2.6764, -0.1408], 6e-5);
            assert_close(&[at(n - 3), at(n - 2), at(n - 1)], &last, 6e-5);
        }
        Ok(())
    }

    /// A GPU of 256 threads: 3000 elements are three rounds of 1024.
    #[test]
    fn grid_stride_fills_every_lane_and_advances_by_rounds() -> Result<()> {
        let mut small = TorchCuda::on_gpu(7, Gpu::new(1, 300)?);
        let first = small.normals(3000);
        let next = small.normals(256);
        // Calls of at most 256 elements hand out lane 0 of one block after another.
        let mut one_wave = TorchCuda::new(7);
        for round in 0..3 {
            assert_eq!(one_wave.normals(256), first[1024 * round..1024 * round + 256]);
        }
        assert_eq!(one_wave.normals(256), next);
        // Lanes 0 and 1 are the sine and the cosine of one angle with one radius.
        let words = philox4x32([2, 0, 5, 0], [7, 0]);
        assert_eq!([first[2048 + 5], first[2048 + 256 + 5]], box_muller(words[0], words[1]));
        assert_eq!([first[2048 + 512 + 5]], box_muller(words[2], words[3])[..1]);
        Ok(())
    }

    #[test]
    fn all_gpus_agree_up_to_one_wave_and_not_beyond() -> Result<()> {
        let (t4, a100) = (Gpu::named("t4")?, Gpu::named("a100")?);
        assert_eq!((t4.threads(), a100.threads()), (40_960, 221_184));
        let draw = |gpu, n| TorchCuda::on_gpu(3, gpu).normals(n);
        assert_eq!(draw(t4, 40_960), draw(a100, 40_960));
        let (smaller, larger) = (draw(t4, 40_961), draw(a100, 40_961));
        assert_eq!(smaller[..40_960], larger[..40_960]);
        assert_ne!(smaller[40_960], larger[40_960]);
        Ok(())
    }

    /// Unlike on the CPU, all 64 bits of the seed count.
    #[test]
    fn whole_seed_counts() {
        let draw = |seed| TorchCuda::new(seed).normals(3);
        assert_ne!(draw(5), draw((1 << 32) + 5));
        assert_eq!(TorchCuda::new(5).normals(0), Vec::<f32>::new());
    }

    #[test]
    fn impossible_gpus_are_refused() {
        assert!(Gpu::new(0, 2048).is_err());
        assert!(Gpu::new(108, 255).is_err());
        assert!(Gpu::named("voodoo").is_err_and(|error| error.to_string().contains("rtx-4090")));
    }
}
