//! The Inception network of FID: TensorFlow's graph of 2015-12-05, whose features every published FID uses.
//!
//! Szegedy et al. 2016, arXiv:1512.00567, Figures 5, 6, 7 and 10, with three peculiarities of that graph: its
//! average pools do not count padding, the pool of Mixed_7c is a maximum, and its classifier has 1008
//! outputs. torchvision's network is another one.

pub mod weights;

use std::collections::HashMap;

use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};

use crate::error::{Error, Result};
use crate::named::named_enum;
use crate::nn::Products;
use crate::nn::pooling::{self, average_3x3, mean_of_picture};

/// Side of the pictures that the network takes.
pub const SIDE: usize = 299;
/// Outputs of the classifier.
pub const CLASSES: usize = 1008;

named_enum! {
    /// Where features are taken, by torch-fidelity's names.
    pub enum Tap: "features" {
        /// 64 numbers, after the first pool.
        Pool1 = "64",
        /// 192 numbers, after the second pool.
        Pool2 = "192",
        /// 768 numbers, after Mixed_6e.
        Mixed6e = "768",
        /// 2048 numbers, after the last pool: FID's.
        Pool3 = "2048",
        /// 1008 numbers: the classifier without its bias; the Inception Score's.
        LogitsUnbiased = "logits_unbiased",
        /// 1008 numbers: the classifier.
        Logits = "logits",
    }
}

impl Tap {
    /// Whether it needs weights with the classifier.
    pub fn is_logits(self) -> bool {
        matches!(self, Self::LogitsUnbiased | Self::Logits)
    }

    /// Numbers per picture.
    pub fn dimension(self) -> usize {
        match self {
            Self::Pool1 => 64,
            Self::Pool2 => 192,
            Self::Mixed6e => 768,
            Self::Pool3 => 2048,
            Self::LogitsUnbiased | Self::Logits => CLASSES,
        }
    }
}

/// A convolution with its batch norm folded in: ReLU(W ⋆ x + b).
#[derive(Debug)]
struct BasicConv {
    weight: Tensor<4>, // [out, in, k_h, k_w]
    bias: Tensor<1>,   // [out]
    stride: usize,
    padding: [usize; 2],
}

impl BasicConv {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        let padding = self.padding.map(|p| [p, p]);
        relu(calotype_kernels::conv2d(x, weight, bias, self.stride, padding, Products::F32))
    }
}

/// The network. Pictures are channels-last inside; products are in f32, as those of published numbers.
#[derive(Debug)]
pub struct InceptionV3 {
    convolutions: HashMap<String, BasicConv>,
    /// `[1008, 2048]` and `[1008]`; weights that end at the features have none.
    classifier: Option<(Tensor<2>, Tensor<1>)>,
}

impl InceptionV3 {
    /// Whether the weights have a classifier, which the Inception Score needs.
    pub fn has_classifier(&self) -> bool {
        self.classifier.is_some()
    }

    /// Features of pictures at each of `taps`, in their order: `[B, dimension]`.
    ///
    /// - `x`: `[B, 299, 299, 3]`, scaled as a protocol says ([`super::protocol`]).
    ///
    /// # Errors
    /// `Error::Shape` for other pictures; `Error::Data` for logits of weights without a classifier.
    pub fn forward(&self, x: Tensor<4>, taps: &[Tap]) -> Result<Vec<Tensor<2>>> {
        let [b, h, w, c] = x.dims();
        if [h, w, c] != [SIDE, SIDE, 3] {
            let expected = format!("[{b}, {SIDE}, {SIDE}, 3]");
            return Err(Error::shape("pictures for Inception", expected, format!("{:?}", x.dims())));
        }
        let x = self.chain(x, ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"]);
        let pool_1 = pooling::max(x, 3, 2, 0);
        let x = self.chain(pool_1.clone(), ["Conv2d_3b_1x1", "Conv2d_4a_3x3"]);
        let pool_2 = pooling::max(x, 3, 2, 0);
        let mut x = pool_2.clone();
        for block in ["Mixed_5b", "Mixed_5c", "Mixed_5d"] {
            x = self.figure_5(block, x);
        }
        x = self.reduction_a(x);
        for block in ["Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"] {
            x = self.figure_6(block, x);
        }
        let mixed_6e = x.clone();
        x = self.reduction_b(x);
        x = self.figure_7("Mixed_7b", x, average_3x3);
        x = self.figure_7("Mixed_7c", x, |x| pooling::max(x, 3, 1, 1));
        let pool_3 = mean_of_picture(x); // [B, 2048]
        let logits = || match &self.classifier {
            // Our product, in which a picture's numbers do not depend on the rest of its batch.
            Some((weight, bias)) => {
                let (features, weight, none) = (pool_3.clone(), weight.clone(), bias.zeros_like());
                Ok((calotype_kernels::linear(features, weight, none, Products::F32), bias.clone()))
            }
            None => Err(Error::data("weights", "a file with the classifier `fc`", "features only")),
        };
        taps.iter()
            .map(|tap| {
                Ok(match tap {
                    Tap::Pool1 => mean_of_picture(pool_1.clone()),
                    Tap::Pool2 => mean_of_picture(pool_2.clone()),
                    Tap::Mixed6e => mean_of_picture(mixed_6e.clone()),
                    Tap::Pool3 => pool_3.clone(),
                    Tap::LogitsUnbiased => logits()?.0,
                    Tap::Logits => {
                        let (unbiased, bias) = logits()?;
                        unbiased + bias.unsqueeze()
                    }
                })
            })
            .collect()
    }

    /// One convolution after the other.
    fn chain<const N: usize>(&self, x: Tensor<4>, names: [&str; N]) -> Tensor<4> {
        names.iter().fold(x, |x, name| self.convolutions[*name].forward(x))
    }

    /// The same inside of a block.
    fn branch<const N: usize>(&self, block: &str, x: &Tensor<4>, names: [&str; N]) -> Tensor<4> {
        names
            .iter()
            .fold(x.clone(), |x, name| self.convolutions[format!("{block}.{name}").as_str()].forward(x))
    }

    /// 35 × 35: the 5×5 convolution beside two 3×3.
    fn figure_5(&self, block: &str, x: Tensor<4>) -> Tensor<4> {
        concatenated([
            self.branch(block, &x, ["branch1x1"]),
            self.branch(block, &x, ["branch5x5_1", "branch5x5_2"]),
            self.branch(block, &x, ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]),
            self.branch(block, &average_3x3(x), ["branch_pool"]),
        ])
    }

    /// 35 × 35 to 17 × 17 (Figure 10).
    fn reduction_a(&self, x: Tensor<4>) -> Tensor<4> {
        let block = "Mixed_6a";
        concatenated([
            self.branch(block, &x, ["branch3x3"]),
            self.branch(block, &x, ["branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"]),
            pooling::max(x, 3, 2, 0),
        ])
    }

    /// 17 × 17: 7×7 convolutions as a row and a column.
    fn figure_6(&self, block: &str, x: Tensor<4>) -> Tensor<4> {
        let double =
            ["branch7x7dbl_1", "branch7x7dbl_2", "branch7x7dbl_3", "branch7x7dbl_4", "branch7x7dbl_5"];
        concatenated([
            self.branch(block, &x, ["branch1x1"]),
            self.branch(block, &x, ["branch7x7_1", "branch7x7_2", "branch7x7_3"]),
            self.branch(block, &x, double),
            self.branch(block, &average_3x3(x), ["branch_pool"]),
        ])
    }

    /// 17 × 17 to 8 × 8.
    fn reduction_b(&self, x: Tensor<4>) -> Tensor<4> {
        let block = "Mixed_7a";
        concatenated([
            self.branch(block, &x, ["branch3x3_1", "branch3x3_2"]),
            self.branch(block, &x, ["branch7x7x3_1", "branch7x7x3_2", "branch7x7x3_3", "branch7x7x3_4"]),
            pooling::max(x, 3, 2, 0),
        ])
    }

    /// 8 × 8: 3×3 convolutions spread into a row and a column side by side.
    fn figure_7(&self, block: &str, x: Tensor<4>, pool: fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        let single = self.branch(block, &x, ["branch3x3_1"]);
        let double = self.branch(block, &x, ["branch3x3dbl_1", "branch3x3dbl_2"]);
        concatenated([
            self.branch(block, &x, ["branch1x1"]),
            self.branch(block, &single, ["branch3x3_2a"]),
            self.branch(block, &single, ["branch3x3_2b"]),
            self.branch(block, &double, ["branch3x3dbl_3a"]),
            self.branch(block, &double, ["branch3x3dbl_3b"]),
            self.branch(block, &pool(x), ["branch_pool"]),
        ])
    }
}

/// Along the channels, which are last.
fn concatenated<const N: usize>(branches: [Tensor<4>; N]) -> Tensor<4> {
    Tensor::cat(branches.to_vec(), 3)
}

/// A picture's numbers as a batch of one: `[1, 299, 299, 3]`.
pub fn one(picture: Vec<f32>, device: &burn::tensor::Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(picture, [1, SIDE, SIDE, 3]), device)
}
