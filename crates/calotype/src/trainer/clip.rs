//! Trains the tokenizer and both CLIP towers.

use burn::tensor::Device;
use image::RgbImage;
use rayon::prelude::*;

use super::autoencoder::scalar;
use super::data_parallel::{PartLoss, batch_gradients};
use super::recipe::Recipe;
use super::training_loop::{self, Part, Session};
use crate::data::source::CaptionedPictures;
use crate::data::tensors::to_tensor;
use crate::error::Result;
use crate::formats::diffusers_folder;
use crate::nn::Init;
use crate::text_encoder::Clip;
use crate::text_encoder::clip::MAX_LOGIT_SCALE;
use crate::text_encoder::contrastive_loss::info_nce;
use crate::text_encoder::tokenizer::ClipTokenizer;

/// Captions that the tokenizer learns from.
const TOKENIZER_CAPTIONS: u64 = 4096;

/// Minimises the symmetric InfoNCE loss and writes `model/tokenizer/`, `model/clip/` and
/// `model/text_encoder/`.
///
/// # Errors
/// As [`training_loop::train`], and those of `data`.
pub fn train(recipe: &Recipe, data: &dyn CaptionedPictures, device: &Device, session: Session) -> Result<()> {
    let clip = &recipe.clip;
    let training = &clip.training;
    let captions =
        (0..TOKENIZER_CAPTIONS).into_par_iter().map(|i| data.caption(i)).collect::<Result<Vec<String>>>()?;
    let tokenizer =
        ClipTokenizer::train(captions.iter().map(String::as_str), clip.vocab_size, clip.max_length)?;
    let config = recipe.clip_config(
        tokenizer.vocab_size(),
        tokenizer.start_id(),
        tokenizer.end_id(),
        tokenizer.pad_id(),
    );
    let network = Clip::new(&config, &mut Init::random(recipe.seed.wrapping_add(1), device))?;

    let part = Part {
        name: "clip",
        settings: &(recipe.seed, &recipe.data, clip),
        training,
        logged: &["loss", "image_to_text", "text_to_image", "chance_loss", "inverse_temperature"],
    };
    let batch_size = training.batch_size;
    let optimizer = training_loop::train(
        session,
        part,
        network.clone(),
        |network, step| {
            let first = (step * batch_size) as u64;
            let pairs = (0..batch_size as u64)
                .into_par_iter()
                .map(|i| data.get(first + i))
                .collect::<Result<Vec<(RgbImage, String)>>>()?;
            let (images, captions): (Vec<RgbImage>, Vec<String>) = pairs.into_iter().unzip();
            let ids: Vec<Vec<u32>> =
                captions.iter().map(|caption| tokenizer.encode_padded(caption).ids).collect();
            batch_gradients(network, vec![(images, ids)], session.threads, step, |network, (images, ids)| {
                let images = network.embed_images(to_tensor(&images, device)?.autodiff())?;
                let logits = network.logits_per_image(images, network.embed_text(&ids)?);
                let total = info_nce(logits.clone())?.total();
                let [image_to_text, text_to_image] = accuracy(&logits);
                let temperature = scalar(&network.temperature_inverse());
                let chance = (batch_size as f64).ln();
                let logged = vec![scalar(&total), image_to_text, text_to_image, chance, temperature];
                Ok(PartLoss { total, logged })
            })
        },
        |optimizer| optimizer.constrain("logit_scale", |x| x.min(MAX_LOGIT_SCALE)),
    )?;

    let network = optimizer.averaged(network);
    let model = session.run.model();
    tokenizer.save(&model.join("tokenizer"))?;
    diffusers_folder::save_clip(&model.join("clip"), &network, &config)?;
    diffusers_folder::save_text_encoder(&model.join("text_encoder"), network.text(), &config.text_config)
}

/// Share of images whose own text has the largest logit of its row, and of texts whose own image has
/// the largest of its column.
fn accuracy(logits: &burn::tensor::Tensor<2>) -> [f64; 2] {
    let n = logits.dims()[0];
    [1, 0].map(|dim| {
        let best: Vec<i64> = logits.clone().argmax(dim).into_data().iter::<i64>().collect();
        best.iter().enumerate().filter(|&(i, &j)| i as i64 == j).count() as f64 / n as f64
    })
}
