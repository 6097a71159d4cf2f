//! exp, the logistic function, erf and what is made of them, as polynomials that the compiler vectorises.
//!
//! exp and the logistic function return no subnormal numbers.

/// `x`, or zero where it is subnormal (docs/decisions/subnormals.md).
#[inline(always)]
pub fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x }
}

/// eˣ to 2 units in the last place, for x of at most 88; of larger ones e⁸⁸, and 0 below −87.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    if x < -87.0 { 0.0 } else { exp_within(x.clamp(-87.0, 88.0)) }
}

/// eˣ for x in [−87, 88] or NaN; anything for others. Cephes' `expf`: 2ⁿ·e^r with |r| ≤ ln(2)/2.
#[inline(always)]
pub fn exp_within(x: f32) -> f32 {
    // ln 2 in two parts, so that n·ln 2 loses no digits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5·2²³ rounds to an integer, which between the two is in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let e = p * r * r + r + 1.0;
    e * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
}

/// 1 / (1 + e⁻ˣ), for x of at least −87; of smaller ones 1.6e-38.
#[inline(always)]
pub fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp_within(-x.clamp(-87.0, 87.0)))
}

/// The error function to 4e-7: an odd rational approximation on [−4, 4], where it reaches ±1.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let y = x * x;
    let p = -2.726_142_3e-10;
    let p = p * y + 2.770_681_4e-8;
    let p = p * y + -2.101_024e-6;
    let p = p * y + -5.692_506_4e-5;
    let p = p * y + -7.349_906_3e-4;
    let p = p * y + -2.954_6e-3;
    let p = p * y + -1.609_603_3e-2;
    let q = -1.456_607_2e-5;
    let q = q * y + -2.133_740_6e-4;
    let q = q * y + -1.682_827e-3;
    let q = q * y + -7.373_329_2e-3;
    let q = q * y + -1.426_473_9e-2;
    x * p / q
}

/// 1/√(2π), the normal distribution's density at 0.
const DENSITY: f32 = 0.398_942_3;

/// The normal distribution's Φ(x).
#[inline(always)]
pub fn normal_cdf(x: f32) -> f32 {
    0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The slope of GELU, x·Φ(x): Φ(x) + x·φ(x), where φ is the normal distribution's density.
#[inline(always)]
pub fn gelu_slope(x: f32) -> f32 {
    normal_cdf(x) + x * DENSITY * exp(-0.5 * x * x)
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_and_logistic_are_close_to_f64() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let (got, expected) = (f64::from(super::exp(x)), f64::from(x).exp());
            assert!((got / expected - 1.0).abs() < 3e-7, "exp({x}) = {got}, expected {expected}");
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(super::logistic(x)) - expected).abs() < 2e-7, "logistic({x})");
        }
        assert!(super::exp(1e4).is_finite() && super::exp(-87.1) == 0.0 && super::exp(-1e4) == 0.0);
        assert!(super::exp(f32::NEG_INFINITY) == 0.0 && super::exp(f32::NAN).is_nan());
    }

    #[test]
    fn nothing_is_subnormal() {
        for i in -20_000..20_000 {
            let x = i as f32 / 100.0;
            assert!(!super::exp(x).is_subnormal() && !super::logistic(x).is_subnormal(), "{x}");
        }
        let tiny = f32::MIN_POSITIVE;
        let kept = [0.0, tiny, -tiny, 1.0, f32::INFINITY].map(super::flushed);
        assert_eq!(kept, [0.0, tiny, -tiny, 1.0, f32::INFINITY]);
        assert_eq!([tiny / 2.0, -tiny / 2.0, f32::from_bits(1)].map(super::flushed), [0.0; 3]);
        assert!(super::flushed(f32::NAN).is_nan());
    }

    #[test]
    fn erf_is_close_to_f64() {
        for i in -600..600 {
            let x = f64::from(i) / 100.0;
            // erf(x) = 2/√π ∫₀ˣ exp(−t²) dt by Simpson's rule.
            let n = 2000;
            let h = x / f64::from(n);
            let sum: f64 = (0..=n)
                .map(|k| {
                    let weight = if k == 0 || k == n {
                        1.0
                    } else if k % 2 == 1 {
                        4.0
                    } else {
                        2.0
                    };
                    weight * (-(h * f64::from(k)).powi(2)).exp()
                })
                .sum();
            let expected = sum * h / 3.0 * 2.0 / std::f64::consts::PI.sqrt();
            let got = f64::from(super::erf(x as f32));
            assert!((got - expected).abs() < 4e-7, "erf({x}) = {got}, expected {expected}");
        }
    }
}
