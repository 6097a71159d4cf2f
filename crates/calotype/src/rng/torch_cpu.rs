//! PyTorch's normals on the CPU, so that a picture made in Python from a seed can be made here.
//!
//! Source of the rules: PyTorch 2.15, `ATen/core/MT19937RNGEngine.h` (the engine),
//! `ATen/core/DistributionsHelper.h` (fewer than 16 values) and
//! `ATen/native/cpu/DistributionTemplates.h` (16 values or more).

use std::f64::consts::TAU;

use super::mt19937::Mt19937;

/// From this many values on, PyTorch fills the tensor with uniforms and transforms groups of this size.
const GROUP: usize = 16;

/// The random normals of `torch.randn(n, generator=g)` in float32, where
/// `g = torch.Generator("cpu").manual_seed(seed)`.
///
/// For 16 values or more every step is that of PyTorch's AVX2 code, which its x86-64 builds run on
/// any processor with AVX2 or AVX-512: the bits are those of the Linux build. Elsewhere (ARM, old x86)
/// PyTorch calls the C library's `log`, `cos` and `sin`, and its values differ from these by up to 3e-6.
/// Below 16 values PyTorch works in f64, and all builds agree.
#[derive(Debug, Clone)]
pub struct TorchCpu {
    engine: Mt19937,
    /// The second normal of the last pair that the f64 path made, not yet handed out.
    spare: Option<f64>,
}

impl TorchCpu {
    /// The generator after `manual_seed(seed)`. As in PyTorch, only the low 32 bits of `seed` count:
    /// 5 and 2³² + 5 give the same numbers.
    pub fn new(seed: u64) -> Self {
        Self { engine: Mt19937::new(seed as u32), spare: None }
    }

    /// The next `n` standard normals, as one call of `torch.randn` with `n` elements in all.
    ///
    /// How the numbers are drawn depends on `n`. Only calls whose sizes are multiples of 16 can be joined:
    /// 16 and 16 give the numbers of 32, but 8 and 8 do not give those of 16.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        if n < GROUP { (0..n).map(|_| self.normal_f64() as f32).collect() } else { self.fill(n) }
    }

    /// One normal of the short path. A spare outlives calls of the long path, which ignores it.
    fn normal_f64(&mut self) -> f64 {
        if let Some(normal) = self.spare.take() {
            return normal;
        }
        let angle = TAU * uniform_f64(&mut self.engine);
        let radius = libm::sqrt(-2.0 * libm::log1p(-uniform_f64(&mut self.engine)));
        self.spare = Some(radius * libm::sin(angle));
        radius * libm::cos(angle)
    }

    /// The long path, `n >= GROUP`. If `n` is no multiple of 16, the last 16 values are drawn anew.
    fn fill(&mut self, n: usize) -> Vec<f32> {
        let mut out: Vec<f32> = (0..n).map(|_| uniform_f32(&mut self.engine)).collect();
        out.chunks_exact_mut(GROUP).for_each(box_muller);
        if !n.is_multiple_of(GROUP) {
            let last = &mut out[n - GROUP..];
            last.fill_with(|| uniform_f32(&mut self.engine));
            box_muller(last);
        }
        out
    }
}

/// Sixteen uniforms to sixteen normals, in place: 8 radii, then 8 angles; 8 cosines, then 8 sines.
fn box_muller(group: &mut [f32]) {
    let (radii, angles) = group.split_at_mut(GROUP / 2);
    for (first, second) in radii.iter_mut().zip(angles) {
        let radius = (-2.0 * cephes_ln(1.0 - *first)).sqrt();
        let (sin, cos) = cephes_sin_cos(TAU as f32 * *second);
        // PyTorch's "times std plus mean" turns -0 into 0.
        *first = radius * cos + 0.0;
        *second = radius * sin + 0.0;
    }
}

/// The polynomial in `x` with the highest coefficient first, by Horner's rule with fused steps.
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.into_iter().reduce(|sum, c| sum.mul_add(x, c)).unwrap_or(0.0)
}

/// ln(x) for normal x > 0, as Moshier's Cephes library computes it in f32 (error about 1 ulp).
/// Every product and sum is fused where PyTorch's compiler fuses it, to get the same rounding.
fn cephes_ln(x: f32) -> f32 {
    let bits = x.to_bits();
    // x = m · 2^e with m in [1/2, 1), then moved to [√½, √2).
    let mut e = (bits >> 23) as f32 - 126.0;
    let mut m = f32::from_bits((bits & 0x007F_FFFF) | 0x3F00_0000);
    if m < std::f32::consts::FRAC_1_SQRT_2 {
        e -= 1.0;
        m += m;
    }
    let t = m - 1.0;
    let square = t * t;
    let series = polynomial(
        t,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_84e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_8e-1,
            2.000_071_4e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    // ln 2 in two parts, the high one exact in few bits.
    let (ln2_high, ln2_low) = (0.693_359_4, -2.121_944_4e-4);
    let tail = (series * t).mul_add(square, e * ln2_low);
    e.mul_add(ln2_high, t + (-0.5f32).mul_add(square, tail))
}

/// (sin x, cos x) for 0 <= x < 8192, as Cephes computes them in f32.
fn cephes_sin_cos(x: f32) -> (f32, f32) {
    // The nearest even multiple of π/4 at or below x + π/4 is taken off in three parts.
    let octant = ((x * (4.0 / std::f32::consts::PI)) as u32 + 1) & !1;
    let y = octant as f32;
    let parts = [-0.785_156_25, -2.418_756_5e-4, -3.774_895e-8];
    let r = parts.into_iter().fold(x, |rest, part| y.mul_add(part, rest));

    let square = r * r;
    let cosine = polynomial(square, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]) * square;
    let cosine = cosine.mul_add(square, -0.5 * square) + 1.0;
    let sine = polynomial(square, [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]) * square;
    let sine = sine.mul_add(r, r);

    match octant % 8 {
        0 => (sine, cosine),
        2 => (cosine, -sine),
        4 => (-sine, -cosine),
        _ => (-cosine, sine),
    }
}

/// Uniform in [0, 1): the low 24 bits of one word.
fn uniform_f32(engine: &mut Mt19937) -> f32 {
    (engine.next_u32() & 0xFF_FFFF) as f32 * (1.0 / (1u32 << 24) as f32)
}

/// Uniform in [0, 1): the low 53 bits of two words, the high word first.
fn uniform_f64(engine: &mut Mt19937) -> f64 {
    let high = u64::from(engine.next_u32());
    let bits = (high << 32) | u64::from(engine.next_u32());
    (bits & ((1 << 53) - 1)) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Golden values: PyTorch 2.15.0 on x86-64 Linux with AVX2.
#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over the bits.
    fn hash(values: &[f32]) -> u64 {
        values.iter().fold(0xCBF2_9CE4_8422_2325, |hash, value| {
            (hash ^ u64::from(value.to_bits())).wrapping_mul(0x100_0000_01B3)
        })
    }

    /// Seed, then for each size: first value, last value, sum in f64.
    type Golden = (u64, [(usize, f32, f32, f64); 7]);

    const GOLDEN: [Golden; 4] = [
        (
            0,
            [
                (1, 1.5409961, 1.5409961, 1.5409960746765137),
                (3, 1.5409961, -2.1787894, -0.9312222003936768),
                (15, 1.5409961, -1.0711874, -3.968993365764618),
                (16, -1.1258398, -0.24727815, -1.909114308655262),
                (17, -1.1258398, 0.9318266, 2.996606692671776),
                (31, -1.1258398, -1.4688939, -1.9136945717036724),
                (1000, -1.1258398, -0.5861721, 28.9183199830004),
            ],
        ),
        (
            42,
            [
                (1, 0.33669037, 0.33669037, 0.33669036626815796),
                (3, 0.33669037, 0.23446237, 0.6999621391296387),
                (15, 0.33669037, -0.9889599, 1.6961162984371185),
                (16, 1.9269153, 0.7624454, -2.1876682862639427),
                (17, 1.9269153, -0.30972677, 8.21729576587677),
                (31, 1.9269153, -1.2346531, -5.826735518872738),
                (1000, 1.9269153, -0.8534544, 4.23129390826216),
            ],
        ),
        (
            (1 << 32) + 5,
            [
                (1, -0.48678076, -0.48678076, -0.4867807626724243),
                (3, -0.48678076, -0.55809623, -1.6486985683441162),
                (15, -0.48678076, 0.6846422, -1.294185996055603),
                (16, 1.8423299, -0.7823351, -3.379831252619624),
                (17, 1.8423299, 0.74477696, 7.049562469124794),
                (31, 1.8423299, -0.5259512, -1.1000334452837706),
                (1000, 1.8423299, 0.10880356, 34.13375748274848),
            ],
        ),
        (
            (1 << 63) + 1,
            [
                (1, 0.66135216, 0.66135216, 0.6613521575927734),
                (3, 0.66135216, 0.06167726, 0.9899535290896893),
                (15, 0.66135216, 0.42241532, -3.4277822598814964),
                (16, -1.5255959, 0.4676355, -7.113806627690792),
                (17, -1.5255959, -0.7984398, -6.246772415935993),
                (31, -1.5255959, 1.5747981, -0.7128019146621227),
                (1000, -1.5255959, 0.06031698, 8.726469044573605),
            ],
        ),
    ];

    #[test]
    fn one_call_equals_torch() {
        for (seed, calls) in GOLDEN {
            for (n, first, last, sum) in calls {
                let values = TorchCpu::new(seed).normals(n);
                assert_eq!((values.len(), values[0], values[n - 1]), (n, first, last), "seed {seed}, n {n}");
                let total: f64 = values.iter().map(|&x| f64::from(x)).sum();
                assert!((total - sum).abs() < 1e-9, "seed {seed}, n {n}: expected {sum}, got {total}");
            }
        }
    }

    /// One generator, both paths in turn: the spare normal of the first call comes out in the third.
    #[test]
    fn consecutive_calls_carry_the_state() {
        let mut generator = TorchCpu::new(42);
        let mut all = Vec::new();
        for (n, first, last) in [
            (1, 0.33669037, 0.33669037),
            (17, 0.67841846, -0.59200054),
            (3, 0.1288094, 1.6272602),
            (1000, 0.321103, 0.56930834),
            (16, 0.106374815, -0.03343663),
            (15, 0.86354196, -1.1820824),
            (16, 1.3978105, 0.8574034),
            (2, 2.2230124, -0.16900063),
        ] {
            let values = generator.normals(n);
            assert_eq!((values[0], values[n - 1]), (first, last), "call of {n}");
            all.extend(values);
            assert!(generator.normals(0).is_empty());
        }
        assert_eq!(hash(&all), 0x6163_7DE8_A536_34A4);
    }

    #[test]
    fn hundred_thousand_values_have_the_bits_of_torch() {
        assert_eq!(hash(&TorchCpu::new((1 << 63) + 1).normals(100_003)), 0xBDB5_9E8B_51B0_EE65);
    }
}
