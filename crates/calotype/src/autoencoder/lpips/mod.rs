//! LPIPS: how different two pictures look to a network that has learned to see.
//!
//! Zhang et al. 2018, arXiv:1801.03924.

pub mod backbone;
pub mod weights;

use burn::tensor::{Tensor, TensorData};

pub use backbone::{Backbone, BackboneNetwork};

use crate::error::{Error, Result};

/// The distance that published numbers are made with: version 0.1 of the paper's code.
#[derive(Debug)]
pub struct Lpips {
    features: BackboneNetwork,
    /// How much each channel of each layer counts, `[C]`.
    linear: Vec<Tensor<1>>,
}

impl Lpips {
    /// Which network looks.
    pub fn backbone(&self) -> Backbone {
        self.features.backbone()
    }

    /// The same distance as a constant of a graph: of pictures on an autodiff device, which then have gradients.
    pub fn tracked(self) -> Self {
        let linear = self.linear.into_iter().map(Tensor::autodiff).collect();
        Self { features: self.features.tracked(), linear }
    }

    /// Sum over five layers of [`layer_distance`], `[B]`; 0 for equal pictures.
    ///
    /// - `x`, `y`: `[B, 3, H, W]` in [−1, 1].
    ///
    /// # Errors
    /// `Error::Shape` for pictures of different shapes, or smaller than [`Backbone::smallest_side`].
    pub fn distance(&self, x: Tensor<4>, y: Tensor<4>) -> Result<Tensor<1>> {
        let [b, c, h, w] = x.dims();
        let least = self.backbone().smallest_side();
        if c != 3 || h < least || w < least || y.dims() != x.dims() {
            let expected = format!("two batches [{b}, 3, H, W] of equal size, at least {least} x {least}");
            return Err(Error::shape("LPIPS", expected, format!("{:?} and {:?}", x.dims(), y.dims())));
        }
        let of = |picture| self.features.forward(scale_input(picture));
        let mut distance = Tensor::zeros([b], (&x.device(), x.dtype()));
        for ((f, g), weight) in of(x).into_iter().zip(of(y)).zip(&self.linear) {
            distance = distance + layer_distance(unit_length(f, EPS), unit_length(g, EPS), weight.clone());
        }
        Ok(distance)
    }
}

/// Keeps black pixels finite; that of the paper's code.
const EPS: f64 = 1e-10;

/// The channels of each pixel at unit length: f/(‖f‖ + ε), `[B, C, H, W]`.
pub fn unit_length(features: Tensor<4>, eps: f64) -> Tensor<4> {
    let squared = features.clone().square().sum_dim(1); // [B, 1, H, W]
    features / (squared.sqrt() + eps)
}

/// The distance in one layer's features: mean over pixels of Σ_c w_c (f_c − g_c)², `[B]`. Eq. 1.
///
/// - `f`, `g`: features of the two pictures at [`unit_length`], `[B, C, H, W]`; `weight`: learned, `[C]`.
pub fn layer_distance(f: Tensor<4>, g: Tensor<4>, weight: Tensor<1>) -> Tensor<1> {
    let [b, c, h, w] = f.dims();
    let difference = (f - g).square() * weight.reshape([1, c, 1, 1]);
    difference.sum_dim(1).reshape([b, h * w]).mean_dim(1).reshape([b])
}

/// Pictures `[B, 3, H, W]` in [−1, 1] as the network expects them: ImageNet's mean and spread, seen from
/// that range.
pub fn scale_input(x: Tensor<4>) -> Tensor<4> {
    let channel = |values: [f64; 3]| {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 3, 1, 1]), (&x.device(), x.dtype()))
    };
    let (shift, scale) = (channel([-0.030, -0.088, -0.188]), channel([0.458, 0.448, 0.450]));
    (x - shift) / scale
}
