//! CLIP's and SigLIP's losses, CLIP score.

use burn::tensor::Tensor;

use crate::error::{Error, Result};
use crate::evaluate::clip_score::{self, ClipScoreRule};
use crate::self_test::case::{Found, Inputs};
use crate::self_test::tensors::{array, scalar, tensor, values};
use crate::text_encoder::clip::normalise;
use crate::text_encoder::contrastive_loss as loss;

pub fn infonce_logits(inputs: Inputs) -> Result<Found> {
    let logits = tensor::<2>(&inputs.array("logits")?)?.autodiff().require_grad();
    let total = loss::info_nce(logits.clone(), None)?.total();
    let gradient = logits.grad(&total.backward());
    let gradient = gradient.ok_or_else(|| Error::argument("gradient", "one of the loss", "none"))?;
    Ok(Found::new().number("loss", scalar(total)).array("grad", &array(gradient)))
}

/// Cosines of every picture and text.
fn cosines(inputs: Inputs) -> Result<Tensor<2>> {
    let side = |key: &str| -> Result<Tensor<2>> { Ok(normalise(tensor(&inputs.array(key)?)?)) };
    Ok(side("image")?.matmul(side("text")?.transpose()))
}

pub fn infonce_features(inputs: Inputs) -> Result<Found> {
    let logits = cosines(inputs)? * inputs.number("logit_scale")?;
    let found = loss::info_nce(logits.clone(), None)?;
    Ok(Found::new()
        .number("image_ce", scalar(found.image_to_text.clone()))
        .number("text_ce", scalar(found.text_to_image.clone()))
        .number("loss", scalar(found.total()))
        .number("logits_00", values(logits)[0]))
}

pub fn siglip(inputs: Inputs) -> Result<Found> {
    let logits = cosines(inputs)? * inputs.number("logit_scale")? + inputs.number("logit_bias")?;
    Ok(Found::new().number("loss", scalar(loss::siglip(logits, None)?)))
}

pub fn clip_score(inputs: Inputs) -> Result<Found> {
    let rule = inputs.choice(
        "rule",
        &[
            ("mean_then_clamp", ClipScoreRule::MeanThenClamp),
            ("clamp_each", ClipScoreRule::ClampEach),
            ("clamp_each_w2p5", ClipScoreRule::ClampEachW2_5),
        ],
    )?;
    Ok(Found::new().number("score", clip_score::clip_score(&inputs.list("cosines")?, rule)?))
}
