//! Symmetric contrastive cross-entropy.

use burn::tensor::{Tensor, activation::log_softmax};

/// InfoNCE over a batch of pairs: the mean of image-to-text and text-to-image cross-entropy, the
/// pair on the diagonal being the right answer. Radford et al. 2021, figure 3; van den Oord et al.
/// 2018, arXiv:1807.03748, Eq. 4. A model that knows nothing has a loss of ln B.
///
/// `logits`: `[B, B]`, row = image, column = text. Returns `[1]`.
pub fn info_nce(logits: Tensor<2>) -> Tensor<1> {
    let b = logits.dims()[0];
    let image_to_text = diagonal_mean(log_softmax(logits.clone(), 1), b);
    let text_to_image = diagonal_mean(log_softmax(logits, 0), b);
    (image_to_text + text_to_image) * -0.5
}

fn diagonal_mean(x: Tensor<2>, b: usize) -> Tensor<1> {
    let identity = Tensor::eye(b, &x.device());
    (x * identity).sum() / b as f64
}
