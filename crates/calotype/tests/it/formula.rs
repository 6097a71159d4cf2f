//! Weights and pictures by formulas that `tools/oracle` has too, so that no large file needs to be kept.

use image::RgbImage;

/// SplitMix64, seeded with the FNV-1a hash of a name, in [0, 1).
pub fn uniform(name: &str, n: usize) -> impl Iterator<Item = f64> {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let mut state = name.bytes().fold(0xCBF2_9CE4_8422_2325, hash);
    (0..n).map(move |_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 * 2.0_f64.powi(-53)
    })
}

/// Waves of colour; `p` makes each picture another one.
pub fn picture(p: f64, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let level = |c: f64| {
            let phase = (0.05 + 0.01 * p) * f64::from(x) * (c + 1.0) + 0.07 * f64::from(y) + p;
            (127.5 + 127.0 * phase.sin()).floor() as u8
        };
        image::Rgb([level(0.0), level(1.0), level(2.0)])
    })
}

/// Weights of FID's Inception.
pub mod inception {
    use std::collections::HashMap;

    use calotype::evaluate::inception_v3::weights;
    use calotype::files::NamedTensor;

    use super::uniform;

    /// A tensor of that name and shape.
    pub fn tensor(name: &str, shape: &[usize]) -> NamedTensor {
        let count: usize = shape.iter().product();
        let fan_in = shape[1..].iter().product::<usize>() as f64;
        let value = |u: f64| match name {
            _ if name.ends_with("conv.weight") => (2.0 * u - 1.0) * (6.0 / fan_in).sqrt(),
            "fc.weight" => (2.0 * u - 1.0) * 2.0 * (3.0_f64 / 2048.0).sqrt(),
            _ if name.ends_with("bn.weight") || name.ends_with("running_var") => 0.8 + 0.4 * u,
            _ => 0.2 * (2.0 * u - 1.0),
        };
        let values = uniform(name, count).map(|u| value(u) as f32).collect();
        NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values }
    }

    /// Every tensor of the network.
    pub fn tensors() -> HashMap<String, NamedTensor> {
        let shapes = weights::shapes();
        shapes.into_iter().map(|(name, shape)| (name.clone(), tensor(&name, &shape))).collect()
    }
}
