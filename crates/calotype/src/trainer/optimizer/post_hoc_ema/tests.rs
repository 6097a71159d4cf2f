//! Against the paper's formulas, and against averages that were kept directly.

use super::super::ema::gamma;
use super::*;
use crate::rng::{Philox, Purpose};
use crate::testing::assert_refuses;

fn golden() -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/optimizers.json");
    serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap()["post_hoc_ema"].take()
}

fn power(sigma_rel: f64) -> EmaConfig {
    EmaConfig::Power { sigma_rel }
}

#[test]
fn the_coefficients_are_those_of_the_papers_formulas() {
    let golden = golden();
    let stored: Vec<[f64; 2]> = serde_json::from_value(golden["stored"].clone()).unwrap();
    let stored: Vec<PowerProfile> =
        stored.iter().map(|&[step, gamma]| PowerProfile { step, gamma }).collect();
    for wanted in golden["wanted"].as_array().unwrap() {
        let expected: Vec<f64> = serde_json::from_value(wanted["coefficients"].clone()).unwrap();
        let sigma_rel = wanted["sigma_rel"].as_f64().unwrap();
        let step = wanted["step"].as_u64().unwrap() as usize;
        let profile = PowerProfile::new(step, power(sigma_rel)).unwrap();
        let found = coefficients(&stored, profile).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-8, "{wanted}: {found}");
        }
    }
}

/// 2000 steps of weights that walk at random, with averages of σ_rel 0.05 and 0.1 stored in f32 every so many
/// steps: the distance of the reconstruction from an average that was kept directly in f64, relative to what
/// averaging changes (the weights themselves hardly differ from one another).
fn errors(every: usize, wanted: &[f64]) -> Vec<f64> {
    const SIZE: usize = 300;
    const STEPS: usize = 2000;
    let mut rng = Philox::new(0, Purpose::Batch, 0);
    let emas: Vec<EmaConfig> = [0.05, 0.1].iter().chain(wanted).map(|&s| power(s)).collect();
    let mut theta = vec![0.0f64; SIZE];
    let mut averages = vec![vec![0.0f64; SIZE]; emas.len()];
    let (mut stored, mut snapshots) = (Vec::new(), Vec::new());
    for t in 1..=STEPS {
        theta.iter_mut().zip(rng.normals(SIZE)).for_each(|(x, z)| *x += f64::from(z));
        for (ema, average) in emas.iter().zip(&mut averages) {
            let beta = ema.decay(t);
            average.iter_mut().zip(&theta).for_each(|(a, x)| *a = beta * *a + (1.0 - beta) * x);
        }
        if t % every == 0 {
            for (ema, average) in emas.iter().zip(&averages).take(2) {
                let values = average.iter().map(|&x| x as f32).collect();
                stored.push(PowerProfile::new(t, *ema).unwrap());
                snapshots.push(NamedTensor { name: "theta".into(), shape: vec![SIZE], values });
            }
        }
    }
    let distance = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt();
    let error = |(ema, direct): (&EmaConfig, &Vec<f64>)| {
        let profile = PowerProfile::new(STEPS, *ema).unwrap();
        let coefficients = coefficients(&stored, profile).unwrap();
        let found = reconstruct(&coefficients, |i| Ok([snapshots[i].clone()])).unwrap();
        let found: Vec<f64> = found[0].values.iter().map(|&x| f64::from(x)).collect();
        distance(&found, direct) / distance(&theta, direct)
    };
    emas.iter().zip(&averages).skip(2).map(error).collect()
}

#[test]
fn averages_of_a_random_walk_come_back() {
    let wanted = [0.03, 0.05, 0.075, 0.1, 0.15, 0.2];
    for (every, bounds) in
        [(200, [0.08, 1e-6, 4e-3, 1e-6, 7e-3, 0.03]), (50, [2e-3, 1e-6, 6e-5, 1e-6, 1e-4, 1e-3])]
    {
        let found = errors(every, &wanted);
        assert!(found.iter().zip(bounds).all(|(error, bound)| *error < bound), "every {every}: {found:?}");
    }
}

#[test]
fn a_reconstruction_is_the_weighted_sum() {
    let tensor = |name: &str, values: &[f32]| NamedTensor {
        name: name.into(),
        shape: vec![values.len()],
        values: values.to_vec(),
    };
    let snapshots = [
        vec![tensor("b", &[1.0, 2.0]), tensor("a", &[3.0])],
        vec![tensor("a", &[5.0]), tensor("b", &[-1.0, 0.5])],
    ];
    let found = reconstruct(&[1.5, -0.5], |i| Ok(snapshots[i].clone())).unwrap();
    assert_eq!(found, [tensor("a", &[2.0]), tensor("b", &[2.0, 2.75])]);

    let other = [tensor("a", &[5.0]), tensor("c", &[5.0])];
    for wrong in [&other[..], &other[..1], &[tensor("a", &[5.0]), tensor("b", &[1.0])]] {
        let snapshot = |i| Ok(if i == 0 { snapshots[0].clone() } else { wrong.to_vec() });
        assert!(matches!(reconstruct(&[1.5, -0.5], snapshot), Err(Error::Shape { .. })), "{wrong:?}");
    }
    let fails = |i| if i == 0 { Ok(vec![]) } else { Err(Error::argument("x", "y", "z")) };
    assert_refuses(reconstruct(&[0.5, 0.5], fails), "x: expected y, got z");
    assert_refuses(reconstruct(&[], |_| Ok(vec![])), "coefficients: expected at least one");
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let profile = |step: f64, sigma_rel: f64| PowerProfile { step, gamma: gamma(sigma_rel).unwrap() };
    let two = [profile(100.0, 0.05), profile(100.0, 0.1)];
    assert!(coefficients(&two, profile(100.0, 0.07)).is_ok());
    for (stored, wanted) in [
        (&two[..], profile(101.0, 0.07)),
        (&[two[0], two[0]], profile(100.0, 0.07)),
        (&[], profile(100.0, 0.07)),
        (&two, PowerProfile { step: f64::NAN, gamma: 1.0 }),
        (&two, PowerProfile { step: 100.0, gamma: -1.0 }),
    ] {
        let refused = coefficients(stored, wanted);
        assert!(matches!(refused, Err(Error::Argument { .. })), "{stored:?} {wanted:?} {refused:?}");
    }
    assert_refuses(PowerProfile::new(0, power(0.1)), "step and gamma: expected above 0");
    assert_refuses(PowerProfile::new(9, power(0.3)), "sigma_rel: expected above 0");
    assert_refuses(PowerProfile::new(9, EmaConfig::Decay(0.9)), "average: expected a power function");
    // One that was stored is itself.
    let [a, b] = coefficients(&two, two[1]).unwrap()[..] else { panic!("two snapshots") };
    assert!(a.abs() < 1e-12 && (b - 1.0).abs() < 1e-12);
    assert!(unexplained(&two, &[a, b], two[1]) < 1e-7);
}
