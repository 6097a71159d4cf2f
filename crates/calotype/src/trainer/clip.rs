//! Trains the tokenizer and both CLIP towers.

use std::ops::Range;
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use image::RgbImage;

use super::batch::Batch;
use super::data_parallel::{ShareSums, sums_of_shares};
use super::gradient_cache::{self, Embeddings};
use super::objective::{Damage, Input, InputKind, Number, Objective, ShareLoss, Watch};
use super::preflight::{self, Findings};
use super::recipe::{ClipObjective, ClipRecipe, Recipe, TrainingRecipe};
use super::session::Session;
use super::settings::TrainingSettings;
use super::training_loop;
use crate::checkpoint;
use crate::data::source::TrainingSet;
use crate::data::tensors::to_tensor;
use crate::error::Result;
use crate::nn::Init;
use crate::ranks::Ranks;
use crate::runs::folder::TrainedPart;
use crate::text_encoder::clip::MAX_LOGIT_SCALE;
use crate::text_encoder::contrastive_loss::{info_nce, siglip};
use crate::text_encoder::tokenizer::ClipTokenizer;
use crate::text_encoder::{Clip, ClipConfig};

/// Captions that the tokenizer learns from.
const TOKENIZER_CAPTIONS: u64 = 4096;

/// Pictures that are asked whether they know a caption with two nouns exchanged.
const KNOWN_AMONG: u64 = 64;

/// SigLIP's logits at the start: scale 10, bias −10. Zhai et al. 2023, arXiv:2303.15343, section 3.2.
const SIGLIP_START: [f64; 2] = [10.0, -10.0];

/// Both towers, and what SigLIP adds to their logits.
#[derive(Module, Debug)]
pub struct ClipInTraining {
    /// What is kept in the end.
    pub clip: Clip,
    /// SigLIP's b: `[1]`.
    logit_bias: Option<Param<Tensor<1>>>,
}

impl ClipInTraining {
    /// `[images, texts]`.
    fn logits(&self, images: Tensor<2>, texts: Tensor<2>) -> Tensor<2> {
        let logits = self.clip.logits_per_image(images, texts);
        match &self.logit_bias {
            Some(bias) => logits + bias.val().reshape([1, 1]),
            None => logits,
        }
    }
}

/// Minimises the symmetric InfoNCE loss, or SigLIP's, and writes `model/tokenizer/`, `model/clip/` and
/// `model/text_encoder/`. `tokenizer` is that of the captions: [`tokenizer`].
///
/// # Errors
/// As [`training_loop::train`] and [`Contrasting::new`].
pub fn train(
    recipe: &Recipe,
    tokenizer: ClipTokenizer,
    data: &TrainingSet,
    session: Session,
    watch: &dyn Watch<ClipInTraining>,
) -> Result<()> {
    let (objective, network) = Contrasting::new(recipe, tokenizer, data, session.device)?;
    training_loop::train(session, objective, network, watch).map(|_| ())
}

/// What is wrong with the training that [`train`] would begin, and what it will cost.
///
/// # Errors
/// As [`preflight::check`] and [`Contrasting::new`].
pub fn check(
    recipe: &Recipe,
    tokenizer: ClipTokenizer,
    data: &TrainingSet,
    session: Session,
) -> Result<Findings> {
    let (objective, network) = Contrasting::new(recipe, tokenizer, data, session.device)?;
    preflight::check(&objective, &network, &session)
}

/// A vocabulary of the first captions.
///
/// # Errors
/// As [`ClipTokenizer::train`].
pub fn tokenizer(clip: &ClipRecipe, data: &TrainingSet) -> Result<ClipTokenizer> {
    let count = data.count().map_or(TOKENIZER_CAPTIONS, |count| TOKENIZER_CAPTIONS.min(count as u64));
    let captions: Vec<String> = (0..count).map(|n| data.caption(n, data.place(n))).collect();
    ClipTokenizer::train(captions.iter().map(String::as_str), clip.vocab_size, clip.max_length)
}

/// The objective of a pair of towers.
pub struct Contrasting<'a> {
    recipe: &'a Recipe,
    clip: &'a ClipRecipe,
    config: ClipConfig,
    tokenizer: ClipTokenizer,
    data: &'a TrainingSet,
    device: Device,
}

/// Pictures and the tokens of their captions.
#[derive(Default)]
pub struct Pairs {
    images: Vec<RgbImage>,
    ids: Vec<Vec<u32>>,
    /// Of those captions that exchange two nouns, where the recipe wants them and the data knows them.
    exchanged: Vec<Vec<u32>>,
}

impl<'a> Contrasting<'a> {
    /// The objective of a recipe, and the network at the first step.
    ///
    /// # Errors
    /// As [`Clip::new`] and [`TrainingRecipe::compute`].
    pub fn new(
        recipe: &'a Recipe,
        tokenizer: ClipTokenizer,
        data: &'a TrainingSet,
        device: &Device,
    ) -> Result<(Self, ClipInTraining)> {
        let clip = recipe.clip()?;
        let ids = [tokenizer.start_id(), tokenizer.end_id(), tokenizer.pad_id()];
        let mut config = clip.config(recipe.data.size as usize, tokenizer.vocab_size(), ids);
        let siglip = clip.objective == ClipObjective::Siglip;
        if siglip {
            config.logit_scale_init_value = SIGLIP_START[0].ln();
        }
        let mut init = Init::random(recipe.seed.wrapping_add(1), &clip.training.compute(device)?);
        let network = ClipInTraining {
            clip: Clip::new(&config, &mut init)?,
            logit_bias: siglip.then(|| init.constant([1], SIGLIP_START[1] as f32)),
        };
        Ok((Self { recipe, clip, config, tokenizer, data, device: device.clone() }, network))
    }

    fn embed(&self, network: &ClipInTraining, share: &Pairs) -> Result<Embeddings> {
        let images = to_tensor(&share.images, &self.device)?;
        // Constants of a graph have to be part of it.
        let tracked = network.clip.temperature_inverse().device().is_autodiff();
        let images = if tracked { images.autodiff() } else { images };
        let (pairs, wrong) = (share.ids.len(), share.exchanged.len());
        let texts = network.clip.embed_text(&[share.ids.as_slice(), &share.exchanged].concat())?;
        Ok(Embeddings {
            images: network.clip.embed_images(images)?,
            wrong_texts: (wrong > 0).then(|| texts.clone().narrow(0, pairs, wrong)),
            texts: if wrong > 0 { texts.narrow(0, 0, pairs) } else { texts },
        })
    }

    /// The loss of a whole batch from its embeddings.
    fn compare(
        &self,
        network: &ClipInTraining,
        Embeddings { images, texts, wrong_texts }: Embeddings,
    ) -> Result<ShareLoss> {
        let pairs = images.dims()[0];
        let wrong = wrong_texts.map(|texts| network.logits(images.clone(), texts));
        let logits = network.logits(images, texts);
        let [image_to_text, text_to_image] = accuracy(&logits);
        let total = match self.clip.objective {
            ClipObjective::InfoNce => info_nce(logits, wrong)?.total(),
            ClipObjective::Siglip => siglip(logits, wrong)?,
        };
        let temperature = Number::of(&network.clip.temperature_inverse());
        let chance = Number::Known(self.loss_of_chance(pairs));
        let logged = vec![Number::of(&total), image_to_text, text_to_image, chance, temperature];
        Ok(ShareLoss { terms: vec![("contrastive", total.clone())], total, logged })
    }

    /// The caption at `position` with two of its nouns exchanged, if the recipe wants it and the data knows it.
    fn exchanged(&self, position: u64) -> Option<String> {
        let exchanged = || self.data.pictures().exchanged(self.data.place(position).picture);
        self.clip.exchanged_captions.then(exchanged).flatten()
    }

    /// What a model that knows nothing pays: ln B; for SigLIP at best −ln p of the diagonal's share p = 1/B, and
    /// of the rest.
    fn loss_of_chance(&self, pairs: usize) -> f64 {
        let b = pairs as f64;
        match self.clip.objective {
            ClipObjective::InfoNce => b.ln(),
            ClipObjective::Siglip => b.ln() - (b - 1.0) * (1.0 - 1.0 / b).ln(),
        }
    }
}

impl Objective<ClipInTraining> for Contrasting<'_> {
    type Share = Pairs;
    type Settings = TrainingSettings<ClipRecipe>;

    fn part(&self) -> TrainedPart {
        TrainedPart::Clip
    }

    fn training(&self) -> &TrainingRecipe {
        &self.clip.training
    }

    fn settings(&self) -> TrainingSettings<ClipRecipe> {
        TrainingSettings::new(self.recipe, self.data, self.clip.identity())
    }

    fn damage(&self) -> Damage {
        Damage::of(self.data, &self.recipe.data)
    }

    fn logged(&self) -> Vec<&'static str> {
        vec!["loss", "image_to_text", "text_to_image", "chance_loss", "inverse_temperature"]
    }

    fn prepare(&self, step: usize, shares: Range<usize>) -> Result<Batch<Pairs>> {
        let (training, left_out, item) = (&self.clip.training, self.data.left_out(), |n| self.data.item(n));
        let ids = |caption: &str| self.tokenizer.encode_padded(caption).ids;
        let add = |share: &mut Pairs, position, image, caption: &str| {
            share.images.push(image);
            share.ids.push(ids(caption));
            share.exchanged.extend(self.exchanged(position).as_deref().map(ids));
        };
        Batch::assemble(training, step, shares, left_out, item, add)
    }

    fn loss(&self, network: &ClipInTraining, _: usize, share: &Pairs) -> Result<ShareLoss> {
        let embeddings = self.embed(network, share)?;
        self.compare(network, embeddings)
    }

    /// Every pair of the batch is compared with every other, whatever the shares.
    fn gradients(
        &self,
        network: &ClipInTraining,
        step: usize,
        batch: &Batch<Pairs>,
        threads: usize,
        ranks: &dyn Ranks,
    ) -> Result<ShareSums> {
        if batch.of == 1 {
            let gradients = |network: &_, share: &_| self.share_gradients(network, step, share);
            return sums_of_shares(network, batch, threads, step, gradients);
        }
        let embed = |network: &ClipInTraining, share: &Pairs| self.embed(network, share);
        let compare = |network: &ClipInTraining, embeddings| self.compare(network, embeddings);
        gradient_cache::gradients(network, batch, (threads, ranks), step, embed, compare)
    }

    /// A batch in shares is embedded twice.
    fn in_one_pass(&self) -> bool {
        self.clip.training.parts == 1
    }

    fn bounds(&self) -> Vec<(&'static str, f32)> {
        vec![("clip.logit_scale", MAX_LOGIT_SCALE)]
    }

    fn warning(&self, mean_loss: f64) -> Option<String> {
        let pairs = self.clip.training.batch_size;
        let chance = self.loss_of_chance(pairs);
        (mean_loss > 0.97 * chance).then(|| {
            format!(
                "the loss is still {mean_loss:.3}, that of chance is {chance:.3} for {pairs} pairs: nothing is learned; do \
                 the captions belong to their pictures? a lower learning rate may help"
            )
        })
    }

    fn needs_different_captions(&self) -> bool {
        true
    }

    fn doubts(&self) -> Result<Vec<String>> {
        let first = self.data.epoch_length().map_or(KNOWN_AMONG, |length| KNOWN_AMONG.min(length as u64));
        let teaches = !self.clip.exchanged_captions || (0..first).any(|n| self.exchanged(n).is_some());
        let doubt = "`clip.exchanged_captions` has nothing to teach: of no picture a caption with two nouns exchanged is known";
        Ok(if teaches { vec![] } else { vec![doubt.into()] })
    }

    fn inputs(&self, share: &Pairs) -> Result<Vec<Input>> {
        let values = to_tensor(&share.images, &self.device)?.into_data().iter::<f32>().collect();
        Ok(vec![Input { kind: InputKind::Picture, values }])
    }

    fn save(&self, network: &ClipInTraining, model: &Path) -> Result<()> {
        let text = network.clip.text();
        self.tokenizer.save(&model.join("tokenizer"))?;
        checkpoint::write_clip(&model.join("clip"), &network.clip, &self.config)?;
        checkpoint::write_text_encoder(&model.join("text_encoder"), text, &self.config.text_config)
    }
}

/// Share of images whose own text has the largest logit of its row, and of texts whose own image has
/// the largest of its column.
fn accuracy(logits: &Tensor<2>) -> [Number; 2] {
    let (logits, n) = (logits.clone().without_autodiff(), logits.dims()[0]);
    let own = Tensor::<1, Int>::arange(0..n as i64, &logits.device());
    [(1, [n, 1]), (0, [1, n])].map(|(dim, shape)| {
        let found = logits.clone().argmax(dim).equal(own.clone().reshape(shape));
        Number::Share(found.float().sum(), n)
    })
}
