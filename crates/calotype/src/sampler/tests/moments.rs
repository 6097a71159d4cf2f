//! Mean and variance of stochastic samplers on Gaussian data, exactly.
//!
//! There each sampler is an affine map of its start and its noises. One batch of probes finds the map of the
//! sampler; the paper's formulas, written again for maps in place of tensors, give another.

use super::*;

const MODEL: Gaussian = Gaussian { m: 0.4, s: 0.6 };

/// c + a·start + Σ b_i·z_i, as [c, a, b_0, b_1, …].
#[derive(Clone)]
struct Affine(Vec<f64>);

impl Affine {
    /// Σ weight · map.
    fn sum(terms: &[(f64, &Affine)]) -> Self {
        let at = |i: usize| terms.iter().map(|(weight, map)| weight * map.0[i]).sum();
        Self((0..terms[0].1.0.len()).map(at).collect())
    }

    fn unit(len: usize, i: usize) -> Self {
        Self((0..len).map(|j| if i == j { 1.0 } else { 0.0 }).collect())
    }

    /// Of N(0, 1) for the start and every noise.
    fn moments(&self) -> (f64, f64) {
        (self.0[0], self.0[1..].iter().map(|b| b * b).sum())
    }
}

/// Mean and variance of a sampler's result from unit noise.
fn probed(config: &SchedulerConfig, kind: SamplerKind, steps: usize) -> (f64, f64) {
    let sampler = Sampler::new(config, &SamplerSettings::new(kind, steps)).unwrap();
    // All zero; the start 1; noise 1 in one draw.
    let probe = |i: usize| {
        let mut one = vec![0.0; steps + 2];
        one[i] = 1.0;
        tensor(&one)
    };
    let mut drawn = 1;
    let mut noise = |_: &Tensor<4>| {
        drawn += 1;
        Ok(probe(drawn))
    };
    let mut denoise = network(config, MODEL);
    let end = values(sampler.sample(probe(1), &mut noise, &mut denoise, &mut |_, _| ()).unwrap());
    (end[0], end[1..].iter().map(|x| (x - end[0]).powi(2)).sum())
}

fn assert_equal(name: &str, (mean, var): (f64, f64), expected: (f64, f64)) {
    let near = |x: f64, y: f64| (x - y).abs() < 1e-11 * y.abs().max(1.0);
    assert!(near(mean, expected.0) && near(var, expected.1), "{name}: {mean} {var}, expected {expected:?}");
}

fn trailing() -> SchedulerConfig {
    config(TimestepSpacing::Trailing)
}

/// SDE-DPM-Solver++ of orders 1, 2 and 3 in turn (Lu et al. 2022, arXiv:2211.01095, Section 5 and Appendix B.5):
/// with λ = −ln σ, h = Δλ and φ(H) of H = 2h, from A = (D₀ − D₁)/r₀ and B = (D₁ − D₂)/r₁ for r₀ = h₁/h, r₁ = h₂/h.
#[test]
fn dpmpp_3m_sde() {
    let (config, steps) = (trailing(), 10);
    let schedule = config.noise_schedule().unwrap();
    let levels: Vec<f64> = (0..steps).map(|k| schedule.sigma(999 - 100 * k).unwrap()).collect();
    let len = steps + 2;
    let (one, start) = (Affine::unit(len, 0), Affine::unit(len, 1));
    let mut x = Affine::sum(&[((levels[0] * levels[0] + 1.0).sqrt(), &start)]);
    let (mut d, mut h): (Vec<Affine>, Vec<f64>) = (Vec::new(), Vec::new());
    let s_2 = MODEL.s * MODEL.s;
    for (i, sigma) in levels.iter().enumerate() {
        let v = s_2 + sigma * sigma;
        d.push(Affine::sum(&[(s_2 / v, &x), (sigma * sigma * MODEL.m / v, &one)]));
        let Some(to) = levels.get(i + 1) else { break };
        h.push((sigma / to).ln());
        let step = h[i];
        let big_h = 2.0 * step;
        let phi_1 = 1.0 - (-big_h).exp();
        let slope = |i: usize| Affine::sum(&[(step / h[i - 1], &d[i]), (-step / h[i - 1], &d[i - 1])]);
        let z = Affine::unit(len, i + 2);
        let kept = to / sigma * (-step).exp();
        let noise = to * (1.0 - (-big_h).exp()).sqrt();
        let first_order = Affine::sum(&[(kept, &x), (phi_1, &d[i]), (noise, &z)]);
        x = match i {
            0 => first_order,
            1 => Affine::sum(&[(1.0, &first_order), (phi_1 / 2.0, &slope(1))]),
            _ => {
                let (a, b) = (slope(i), slope(i - 1));
                let (r_0, r_1) = (h[i - 1] / step, h[i - 2] / step);
                let phi_2 = 1.0 - phi_1 / big_h;
                let phi_3 = phi_2 / big_h - 0.5;
                let on_a = phi_2 * (1.0 + r_0 / (r_0 + r_1)) - phi_3 / (r_0 + r_1);
                let on_b = -phi_2 * r_0 / (r_0 + r_1) + phi_3 / (r_0 + r_1);
                Affine::sum(&[(1.0, &first_order), (on_a, &a), (on_b, &b)])
            }
        };
    }
    let expected = d[steps - 1].moments();
    assert_equal("dpm++3m-sde", probed(&config, SamplerKind::DpmPp3MSde, steps), expected);
}

/// Multistep consistency sampling (Luo et al. 2023, arXiv:2310.04378, Algorithm 3): f = c_skip·x + c_out·x̂₀, then
/// √ᾱ·f + √(1−ᾱ)·z at the next of the timesteps that 4 steps of 50 visit.
#[test]
fn lcm() {
    let config = trailing();
    let schedule = config.noise_schedule().unwrap();
    let timesteps = [999, 759, 499, 259];
    let len = timesteps.len() + 2;
    let one = Affine::unit(len, 0);
    let mut x = Affine::unit(len, 1);
    for (i, t) in timesteps.into_iter().enumerate() {
        if i > 0 {
            let alpha_bar = schedule.alpha_bar(t).unwrap();
            let z = Affine::unit(len, i + 1);
            x = Affine::sum(&[(alpha_bar.sqrt(), &x), ((1.0 - alpha_bar).sqrt(), &z)]);
        }
        let alpha_bar = schedule.alpha_bar(t).unwrap();
        let s_2 = MODEL.s * MODEL.s;
        let v = alpha_bar * s_2 + 1.0 - alpha_bar;
        let x_0 = Affine::sum(&[(alpha_bar.sqrt() * s_2 / v, &x), ((1.0 - alpha_bar) * MODEL.m / v, &one)]);
        let (scaled, sigma_data) = (10.0 * t as f64, 0.5_f64);
        let sum = scaled.powi(2) + sigma_data.powi(2);
        x = Affine::sum(&[(sigma_data.powi(2) / sum, &x), (scaled / sum.sqrt(), &x_0)]);
    }
    assert_equal("lcm", probed(&config, SamplerKind::Lcm, 4), x.moments());
}
