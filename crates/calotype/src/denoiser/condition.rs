//! What a denoiser is told of its samples beside the noisy latents and the timesteps.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The condition c of ε_θ(z_t, t, c), for a batch of samples.
#[derive(Debug, Clone)]
pub struct Condition {
    /// Text features for cross-attention: `[B, L, width]`.
    pub context: Tensor<3>,
    /// One feature for each text, `[B, width]`; of networks that take none it is `None`.
    pub pooled: Option<Tensor<2>>,
    /// Of each sample, in pixels: original height and width, top and left of the crop, target height and width.
    /// Podell et al. 2023 (SDXL), arXiv:2307.01952, section 2.2.
    pub sizes: Option<Vec<Vec<f64>>>,
    /// The guidance scale of each sample, for networks that were distilled with guidance; others do not look.
    /// Luo et al. 2023 (latent consistency models), arXiv:2310.04378, section 4.2.
    pub guidance: Option<Vec<f64>>,
    /// Scaled latents of a picture that every sample is shown as further tokens, `[1, C, h, w]`; networks that read no
    /// tokens do not look. Batifol et al. 2025 (FLUX.1 Kontext), arXiv:2506.15742, section 3.
    pub reference: Option<Tensor<4>>,
}

impl Condition {
    /// Text features and nothing else.
    pub fn of_context(context: Tensor<3>) -> Self {
        Self { context, pooled: None, sizes: None, guidance: None, reference: None }
    }

    /// The text's features on another device than that of the encoders.
    pub fn to_device(self, device: &Device) -> Self {
        let pooled = self.pooled.map(|pooled| pooled.to_device(device));
        Self { context: self.context.to_device(device), pooled, ..self }
    }

    /// The same on a device that keeps track of gradients.
    pub fn autodiff(self) -> Self {
        Self { context: self.context.autodiff(), pooled: self.pooled.map(Tensor::autodiff), ..self }
    }

    /// The samples of these numbers, in this order; one may be taken several times.
    pub fn samples(&self, numbers: &[usize]) -> Self {
        if numbers.iter().copied().eq(0..self.context.dims()[0]) {
            return self.clone();
        }
        let of = |values: &Vec<Vec<f64>>| numbers.iter().map(|&i| values[i].clone()).collect();
        let places = numbers.iter().map(|&i| i as i64).collect();
        let places = TensorData::new::<i64, _>(places, [numbers.len()]);
        let places = Tensor::<1, Int>::from_data(places, &self.context.device());
        Self {
            context: self.context.clone().select(0, places.clone()),
            pooled: self.pooled.as_ref().map(|pooled| pooled.clone().select(0, places)),
            sizes: self.sizes.as_ref().map(of),
            guidance: self.guidance.as_ref().map(|all| numbers.iter().map(|&i| all[i]).collect()),
            reference: self.reference.clone(),
        }
    }

    /// Both batches as one; `None` where their texts have another number of tokens.
    pub fn followed_by(&self, other: &Self) -> Option<Self> {
        let rows = |(a, b): (&Tensor<2>, &Tensor<2>)| Tensor::cat(vec![a.clone(), b.clone()], 0);
        let same = self.context.dims()[1] == other.context.dims()[1];
        same.then(|| Self {
            context: Tensor::cat(vec![self.context.clone(), other.context.clone()], 0),
            pooled: self.pooled.as_ref().zip(other.pooled.as_ref()).map(rows),
            sizes: self.sizes.as_ref().zip(other.sizes.as_ref()).map(|(a, b)| [a.as_slice(), b].concat()),
            guidance: self
                .guidance
                .as_ref()
                .zip(other.guidance.as_ref())
                .map(|(a, b)| [a.as_slice(), b].concat()),
            reference: self.reference.clone(),
        })
    }

    /// Zeros in place of the features of the texts that `zeros` names: SDXL's negative prompt where there is none.
    pub fn with_zeros(self, zeros: &[bool]) -> Self {
        if !zeros.contains(&true) {
            return self;
        }
        let kept: Vec<f32> = zeros.iter().map(|&zero| f32::from(u8::from(!zero))).collect();
        let kept = Tensor::<1>::from_data(TensorData::new(kept, [zeros.len()]), &self.context.device());
        let [b] = kept.dims();
        Self {
            context: self.context * kept.clone().reshape([b, 1, 1]),
            pooled: self.pooled.map(|pooled| pooled * kept.reshape([b, 1])),
            ..self
        }
    }
}
