//! Either autoencoder, as a pipeline uses it: scaled latents in and out, large pictures in tiles.

use burn::tensor::{Device, Tensor, TensorData};

use super::diagonal_gaussian::DiagonalGaussian;
use super::{AutoencoderConfig, AutoencoderKl, AutoencoderTiny, AutoencoderTinyConfig, LatentScaling};
use crate::error::{Error, Result};

/// An autoencoder with its config.
#[allow(clippy::large_enum_variant, reason = "a model has one")]
#[derive(Debug, Clone)]
pub enum Vae {
    /// With a posterior.
    Kl {
        /// The network.
        network: AutoencoderKl,
        /// Its `config.json`.
        config: AutoencoderConfig,
    },
    /// Distilled, without one.
    Tiny {
        /// The network.
        network: AutoencoderTiny,
        /// Its `config.json`.
        config: AutoencoderTinyConfig,
    },
}

/// Latents of a tile along one side.
const TILE: usize = 64;
/// The part of a tile that lies over the next one.
const OVERLAP: f64 = 0.25;

impl Vae {
    /// f: image side over latent side.
    pub fn downsampling(&self) -> usize {
        match self {
            Self::Kl { config, .. } => config.downsampling(),
            Self::Tiny { config, .. } => config.downsampling(),
        }
    }

    /// Channels of the latent.
    pub fn latent_channels(&self) -> usize {
        match self {
            Self::Kl { config, .. } => config.latent_channels,
            Self::Tiny { config, .. } => config.latent_channels,
        }
    }

    /// How latents become those that a denoiser sees.
    fn scaling(&self) -> LatentScaling {
        match self {
            Self::Kl { config, .. } => config.scaling(),
            Self::Tiny { config, .. } => LatentScaling::new(&[config.shift_factor], &[config.scaling_factor]),
        }
    }

    /// The same weights with products in f32.
    ///
    /// # Errors
    /// As [`AutoencoderKl::new`]; `Error::Shape` for a tiny autoencoder, which is not trained with.
    pub fn in_f32(&self, device: &Device) -> Result<Self> {
        match self {
            Self::Kl { network, config } => {
                Ok(Self::Kl { network: network.in_f32(config, device)?, config: config.clone() })
            }
            Self::Tiny { .. } => Err(Error::shape("autoencoder", "AutoencoderKL", "AutoencoderTiny")),
        }
    }

    /// Unscaled latents `[B, Z, h, w]` of images `[B, 3, H, W]` in [−1, 1]: the posterior's mean, or, with unit
    /// `noise` of the latents' shape, a sample of it.
    ///
    /// # Errors
    /// `Error::Shape` unless H and W are multiples of the downsampling.
    pub fn encode(&self, images: Tensor<4>, noise: Option<Tensor<4>>) -> Result<Tensor<4>> {
        match self {
            Self::Kl { network, .. } => {
                let posterior = network.encode(images)?;
                Ok(match noise {
                    Some(noise) => posterior.sample(noise),
                    None => posterior.mean,
                })
            }
            Self::Tiny { network, .. } => network.encode(images),
        }
    }

    /// q(z|x) of images `[B, 3, H, W]` in [−1, 1].
    ///
    /// # Errors
    /// `Error::Shape` for an autoencoder without a posterior, and unless H and W are multiples of the downsampling.
    pub fn posterior(&self, images: Tensor<4>) -> Result<DiagonalGaussian> {
        match self {
            Self::Kl { network, .. } => network.encode(images),
            Self::Tiny { .. } => {
                Err(Error::shape("autoencoder", "AutoencoderKL, with a posterior", "AutoencoderTiny"))
            }
        }
    }

    /// One latent in memory, `[Z, h, w]`, to one as the denoiser sees it, as [`Vae::encode_scaled`].
    pub fn scale(&self, latent: &mut [f32]) {
        self.scaling().scale_in_memory(latent, self.latent_channels());
    }

    /// [`Vae::encode`] to latents as the denoiser sees them.
    ///
    /// # Errors
    /// As there.
    pub fn encode_scaled(&self, images: Tensor<4>, noise: Option<Tensor<4>>) -> Result<Tensor<4>> {
        Ok(self.scaling().scale(self.encode(images, noise)?))
    }

    /// Images `[B, 3, H, W]`, about [−1, 1], of unscaled latents.
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kl { network, .. } => network.decode(latents),
            Self::Tiny { network, .. } => network.decode(latents),
        }
    }

    /// Images of scaled latents, one picture after the other (the memory of one), in tiles if `tiled`.
    pub fn decode_scaled(&self, latents: Tensor<4>, tiled: bool) -> Tensor<4> {
        let latents = self.scaling().unscale(latents);
        let pictures = (0..latents.dims()[0]).map(|i| {
            let one = latents.clone().narrow(0, i, 1);
            if tiled { self.decode_tiled(one) } else { self.decode(one) }
        });
        Tensor::cat(pictures.collect(), 0)
    }

    /// [`Vae::decode`] in tiles of 64 × 64 latents that overlap by a quarter and are blended linearly: memory does
    /// not grow with the picture. The result differs a little, since a tile does not see the whole picture.
    pub fn decode_tiled(&self, latents: Tensor<4>) -> Tensor<4> {
        let [_, _, h, w] = latents.dims();
        if h <= TILE && w <= TILE {
            return self.decode(latents);
        }
        let rows = places(h).into_iter().map(|(top, height)| {
            let band = latents.clone().narrow(2, top, height);
            let tiles = places(w)
                .into_iter()
                .map(|(left, width)| (left, self.decode(band.clone().narrow(3, left, width))));
            (top, joined(tiles.collect(), 3, self.downsampling()))
        });
        joined(rows.collect(), 2, self.downsampling())
    }
}

/// (begin, length) of the tiles along a side.
fn places(side: usize) -> Vec<(usize, usize)> {
    let step = TILE - (TILE as f64 * OVERLAP) as usize;
    let mut places = Vec::new();
    let mut begin = 0;
    loop {
        let length = TILE.min(side - begin);
        places.push((begin, length));
        if begin + length == side {
            return places;
        }
        begin += step;
    }
}

/// Parts that begin at the given latents, along `axis`, each faded into the next where they overlap.
fn joined(parts: Vec<(usize, Tensor<4>)>, axis: usize, downsampling: usize) -> Tensor<4> {
    let mut parts = parts.into_iter();
    let (_, mut whole) = parts.next().expect("a picture has at least one tile");
    for (begin, part) in parts {
        let begin = begin * downsampling;
        let shared = whole.dims()[axis] - begin;
        let length = part.dims()[axis];
        let (ahead, end) = (whole.clone().narrow(axis, 0, begin), whole.narrow(axis, begin, shared));
        let ramp: Vec<f32> = (0..shared).map(|i| i as f32 / shared as f32).collect();
        let mut shape = [1; 4];
        shape[axis] = shared;
        let ramp = Tensor::<4>::from_data(TensorData::new(ramp, shape), &part.device());
        let faded = end.clone() + (part.clone().narrow(axis, 0, shared) - end) * ramp;
        let mut pieces = vec![ahead, faded];
        if length > shared {
            pieces.push(part.narrow(axis, shared, length - shared));
        }
        whole = Tensor::cat(pieces, axis);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Init;

    #[test]
    fn tiles_cover_the_side_and_overlap() {
        for side in [1, 64, 65, 100, 112, 113, 128, 500] {
            let places = places(side);
            assert_eq!((places[0].0, places.last().map(|(begin, length)| begin + length)), (0, Some(side)));
            for pair in places.windows(2) {
                assert!(pair[1].0 < pair[0].0 + pair[0].1, "{side}: {pair:?}");
            }
        }
    }

    #[test]
    fn tiles_of_equal_parts_join_to_the_whole() {
        let device = Device::flex();
        let whole = Tensor::<4>::from_data(
            TensorData::new((0..40).map(|i| i as f32).collect(), [1, 1, 2, 20]),
            &device,
        );
        let parts = vec![
            (0, whole.clone().narrow(3, 0, 8)),
            (3, whole.clone().narrow(3, 6, 8)),
            (6, whole.clone().narrow(3, 12, 8)),
        ];
        let difference: f32 = (joined(parts, 3, 2) - whole).abs().max().into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn latents_are_scaled_alike_in_memory_and_on_the_device() {
        let device = Device::flex();
        for mean in [None, Some(vec![0.1, -0.2, 0.3, 0.4])] {
            let latents_std = mean.as_ref().map(|_| vec![0.9, 1.1, 1.3, 0.7]);
            let config = AutoencoderConfig {
                norm_num_groups: 4,
                shift_factor: Some(0.25),
                latents_mean: mean,
                latents_std,
                ..Default::default()
            };
            let config = config.with_levels(vec![8, 8]);
            let network = AutoencoderKl::new(&config, &mut Init::random(3, &device)).unwrap();
            let vae = Vae::Kl { network, config };
            let images = Tensor::<4>::ones([1, 3, 8, 12], &device);
            let numbers = |x: Tensor<4>| x.into_data().iter::<f32>().collect::<Vec<f32>>();
            let mut latent = numbers(vae.encode(images.clone(), None).unwrap());
            vae.scale(&mut latent);
            assert_eq!(latent, numbers(vae.encode_scaled(images, None).unwrap()));
        }
    }

    #[test]
    fn where_tiles_do_not_overlap_the_picture_is_the_tile_s() {
        let device = Device::flex();
        let config =
            AutoencoderConfig { norm_num_groups: 4, mid_block_add_attention: false, ..Default::default() };
        let config = config.with_levels(vec![8, 8]);
        let network = AutoencoderKl::new(&config, &mut Init::random(3, &device)).unwrap();
        let vae = Vae::Kl { network, config };
        let z: Vec<f32> = (0..4 * 80 * 70).map(|i| (i as f32 * 0.37).sin()).collect();
        let z = Tensor::<4>::from_data(TensorData::new(z, [1, 4, 80, 70]), &device);
        let tiled = vae.decode_tiled(z.clone());
        assert_eq!(tiled.dims(), [1, 3, 160, 140]);
        let part = |x: Tensor<4>, top, left, h, w| x.narrow(2, top, h).narrow(3, left, w);
        // The first tile's own part, and the last one's: it begins at latent 48 and shares 16 with the first.
        for (tile, own) in [([0, 0, 64, 64], [0, 0, 96, 96]), ([48, 48, 32, 22], [128, 128, 32, 12])] {
            let alone = vae.decode(part(z.clone(), tile[0], tile[1], tile[2], tile[3]));
            let [top, left, h, w] = own;
            let got = part(tiled.clone(), top, left, h, w);
            let expected = part(alone, top - 2 * tile[0], left - 2 * tile[1], h, w);
            let difference: f32 = (got - expected).abs().max().into_scalar();
            assert_eq!(difference, 0.0, "{tile:?}");
        }
    }
}
