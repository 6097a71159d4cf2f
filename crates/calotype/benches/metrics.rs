//! Seconds of the two slow parts of an evaluation: Inception features, and the Fréchet distance at d = 2048.
//!
//!     cargo bench -p calotype --bench metrics
//!
//! `benches/peers/metrics.py` runs it beside torch-fidelity and scipy.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use burn::tensor::Device;
use calotype::evaluate::extractor::{Extractor, InceptionExtractor};
use calotype::evaluate::frechet::frechet_distance;
use calotype::evaluate::gaussian::Gaussian;
use calotype::evaluate::inception_v3::{Tap, weights};
use calotype::evaluate::protocol::Protocol;
use calotype::files::NamedTensor;
use image::RgbImage;

/// Pictures of one timing.
const PICTURES: u32 = 64;
/// Width of FID's features.
const D: usize = 2048;

fn main() {
    println!("{{\"features_per_second\": {:.3}, \"frechet_seconds\": {:.3}}}", features(), frechet());
}

/// Pictures of 64 × 64 a second, preparation included.
fn features() -> f64 {
    let tensors: HashMap<String, NamedTensor> = weights::shapes()
        .into_iter()
        .map(|(name, shape)| {
            let fan_in: usize = shape[1..].iter().product();
            let small = (1.0 / fan_in as f32).sqrt();
            let count = shape.iter().product();
            let value = |i: usize| {
                if name.ends_with("weight") && shape.len() > 1 {
                    small * ((i * 7919) as f32 * 0.37).sin()
                } else {
                    1.0
                }
            };
            (name.clone(), NamedTensor { values: (0..count).map(value).collect(), shape, name })
        })
        .collect();
    let device = Device::flex();
    let network =
        weights::from_tensors(Path::new("formula"), tensors, &device).expect("shapes of the network");
    let extractor = InceptionExtractor {
        network,
        sha256: String::new(),
        protocol: Protocol::TfFid,
        tap: Tap::Pool3,
        device,
    };
    let picture =
        |p: u32| RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * 3 + p) as u8, (y * 5) as u8, p as u8]));
    let pictures: Vec<RgbImage> = (0..PICTURES).map(picture).collect();
    extractor.extract(&pictures[..16]).expect("a warm-up");
    let started = Instant::now();
    for batch in pictures.chunks(16) {
        extractor.extract(batch).expect("pictures");
    }
    f64::from(PICTURES) / started.elapsed().as_secs_f64()
}

/// The distance of two Gaussians given by mean and covariance.
fn frechet() -> f64 {
    let side = |seed: f64| {
        // A covariance of full rank: a decaying diagonal and a smooth low-rank part.
        let wave = |i: usize, k: usize| ((i as f64 + seed) * (k as f64 + 1.0) * 0.013).sin();
        let mut covariance = vec![0.0; D * D];
        for i in 0..D {
            for j in 0..D {
                covariance[i * D + j] = (0..8).map(|k| 0.01 * wave(i, k) * wave(j, k)).sum();
            }
            covariance[i * D + i] += 0.5 / (1.0 + 0.01 * i as f64);
        }
        ((0..D).map(|i| wave(i, 0)).collect::<Vec<_>>(), covariance)
    };
    let (generated, reference) = (side(0.0), side(3.0));
    let started = Instant::now();
    let gaussian = |(mean, covariance): &(Vec<f64>, Vec<f64>)| Gaussian::from_moments(mean, covariance);
    let (x, y) = (gaussian(&generated).expect("moments"), gaussian(&reference).expect("moments"));
    assert!(frechet_distance(&x, &y).expect("a distance").frechet > 0.0);
    started.elapsed().as_secs_f64()
}
