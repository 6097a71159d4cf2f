//! Contrastive losses of pairs of pictures and texts.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Tensor};

use crate::error::{Error, Result};
use crate::nn::softplus;

/// Cross-entropy in both directions, each `[1]`.
#[derive(Debug, Clone)]
pub struct InfoNce {
    /// Which text belongs to the picture.
    pub image_to_text: Tensor<1>,
    /// Which picture belongs to the text.
    pub text_to_image: Tensor<1>,
}

impl InfoNce {
    /// The mean of both: CLIP's loss, `[1]`.
    pub fn total(self) -> Tensor<1> {
        (self.image_to_text + self.text_to_image) * 0.5
    }
}

/// InfoNCE over a batch of pairs, the pair on the diagonal being the right answer. Radford et al. 2021,
/// figure 3; van den Oord et al. 2018, arXiv:1807.03748, Eq. 4. A model that knows nothing has a loss of
/// ln B.
///
/// `logits`: `[B, B]`, row = image, column = text. `wrong`: `[B, E]`, the same for texts that belong to no image: each
/// image has them to choose from too. Yuksekgonul et al. 2023, arXiv:2210.01936, section 4.
///
/// # Errors
/// `Error::Shape` unless `logits` is square.
pub fn info_nce(logits: Tensor<2>, wrong: Option<Tensor<2>>) -> Result<InfoNce> {
    let b = require_square(&logits)?;
    let texts = wrong.map_or(logits.clone(), |wrong| Tensor::cat(vec![logits.clone(), wrong], 1));
    // A product: burn's gradient of a quotient rounds 1/b to f32.
    let cross_entropy =
        |logits: Tensor<2>, dim: usize| diagonal_sum(log_softmax(logits, dim)) * (-1.0 / b as f64);
    Ok(InfoNce { image_to_text: cross_entropy(texts, 1), text_to_image: cross_entropy(logits, 0) })
}

/// SigLIP's loss: every pair on its own is right or wrong. Σᵢⱼ ln(1 + e^(−zᵢⱼ ℓᵢⱼ))/B with z = 1 on the
/// diagonal and −1 elsewhere: `[1]`. Zhai et al. 2023, arXiv:2303.15343, Eq. 1.
///
/// `logits`: `[B, B]`, scale · cosine + bias; row = image, column = text. `wrong`: `[B, E]`, the same for texts that
/// belong to no image.
///
/// # Errors
/// `Error::Shape` unless `logits` is square.
pub fn siglip(logits: Tensor<2>, wrong: Option<Tensor<2>>) -> Result<Tensor<1>> {
    let b = require_square(&logits)?;
    let matching = diagonal(&logits);
    let signed = logits.clone().mask_where(matching, -logits); // −z·ℓ
    let signed = wrong.map_or(signed.clone(), |wrong| Tensor::cat(vec![signed, wrong], 1));
    Ok(softplus(signed).sum() * (1.0 / b as f64))
}

fn diagonal_sum(x: Tensor<2>) -> Tensor<1> {
    let off = diagonal(&x).bool_not();
    x.mask_fill(off, 0.0).sum()
}

/// True where row = column.
fn diagonal(like: &Tensor<2>) -> Tensor<2, Bool> {
    let [rows, columns] = like.dims();
    let places = |n: usize| Tensor::<1, burn::tensor::Int>::arange(0..n as i64, &like.device());
    let row = places(rows).reshape([rows, 1]).expand([rows, columns]);
    row.equal(places(columns).reshape([1, columns]).expand([rows, columns]))
}

fn require_square(logits: &Tensor<2>) -> Result<usize> {
    let [rows, columns] = logits.dims();
    if rows == columns {
        Ok(rows)
    } else {
        Err(Error::shape("contrastive logits", format!("{rows} x {rows}"), format!("{rows} x {columns}")))
    }
}
