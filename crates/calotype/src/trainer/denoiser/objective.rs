//! What a denoiser learns from: clean latents and captions, noise, and the loss.

use std::ops::Range;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use super::DenoiserInTraining;
use super::base_model::BaseModel;
use super::draws::{Draws, NoiseLevels, Seeded};
use super::latent_cache::{Encoding, LatentCache, TextCache};
use super::recompute;
pub use super::samples::Latents;
use super::samples::{Latent, Samples};
use super::text_along::TEXT_ENCODER;
use crate::data::source::{Damaged, TrainingSet};
use crate::denoiser::grounding::{GroundedAttention, Regions};
use crate::denoiser::{Condition, Denoiser};
use crate::diffusion::flow::shift;
use crate::diffusion::forward_process::offset_noise;
use crate::diffusion::{Edm, LossWeight, NoiseSchedule, PredictionType, Times, TrainingSample};
use crate::error::Result;
use crate::nn::AttentionHook;
use crate::runs::folder::TrainedPart;
use crate::text_encoder::ClipText;
use crate::trainer::batch::Batch;
use crate::trainer::data_parallel::{BatchGradients, differentiated};
use crate::trainer::objective::{Damage, Input, InputKind, Number, Objective, ShareLoss};
use crate::trainer::preflight::text_tower_fault;
use crate::trainer::recipe::{
    DiffusionRecipe, EdmRecipe, FlowTimes, GroundingRecipe, LayoutFirst, Recipe, TrainingRecipe,
};
use crate::trainer::session::Session;
use crate::trainer::settings::TrainingSettings;

/// The objective of a denoiser, whatever is trained of it.
pub struct Denoising<'a> {
    recipe: &'a Recipe,
    diffusion: &'a DiffusionRecipe,
    pub(super) base: &'a BaseModel,
    samples: Samples<'a>,
    schedule: NoiseSchedule,
    /// The form of an EDM, which has noise levels in place of the schedule's timesteps.
    edm: Option<Edm>,
    draws: Box<dyn Draws + 'a>,
    noise_offset: f64,
    loss_weight: LossWeight,
    grounding: Option<GroundingRecipe>,
    timestep_shift: f64,
    layout_first: Option<LayoutFirst>,
    texts: Option<TextCache>,
    /// Pictures that the encoding of the latents could not read; the first batch reports them.
    damaged: Vec<Damaged>,
}

impl<'a> Denoising<'a> {
    /// The objective of a recipe, with nothing cached.
    ///
    /// # Errors
    /// `Error::Config` for a scheduler that is not understood.
    pub fn new(
        recipe: &'a Recipe,
        base: &'a BaseModel,
        data: &'a TrainingSet,
        device: &Device,
    ) -> Result<Self> {
        let diffusion = recipe.diffusion()?;
        let edm = Edm::of(&base.model.scheduler)?;
        let samples = Samples {
            caption_dropout: diffusion.caption_dropout,
            with_regions: diffusion.grounding.is_some(),
            ..Samples::new(recipe, base, data, device)?
        };
        Ok(Self {
            recipe,
            diffusion,
            base,
            samples,
            schedule: base.model.scheduler.noise_schedule()?,
            edm,
            draws: Box::new(Seeded {
                seed: recipe.seed,
                flow_times: diffusion.flow_times,
                shift: diffusion.flow_times.shift.map_or_else(|| base.shift(), Ok)?,
                levels: levels(diffusion.edm.unwrap_or_default(), edm),
            }),
            noise_offset: diffusion.noise_offset,
            loss_weight: diffusion.loss_weight(),
            grounding: diffusion.grounding,
            timestep_shift: diffusion.timestep_shift,
            layout_first: diffusion.layout_first,
            damaged: data.left_out().to_vec(),
            texts: None,
        })
    }

    /// What a validation measures: every caption, plain noise and equal weights, whatever the recipe, and random
    /// numbers that do not depend on its seed: so runs compare.
    ///
    /// # Errors
    /// As [`BaseModel::shift`].
    pub fn for_validation(self, seed: u64) -> Result<Self> {
        let (flow_times, levels) = (FlowTimes::default(), levels(EdmRecipe::default(), self.edm));
        let draws = Seeded { seed, flow_times, shift: self.base.shift()?, levels };
        let samples = Samples { caption_dropout: 0.0, with_regions: false, ..self.samples };
        let (draws, noise_offset, loss_weight) = (Box::new(draws), 0.0, LossWeight::Uniform);
        let (grounding, timestep_shift, layout_first) = (None, 1.0, None);
        let plain = Self { samples, draws, noise_offset, loss_weight, ..self };
        Ok(Self { grounding, timestep_shift, layout_first, ..plain })
    }

    /// The same with other random numbers.
    pub fn with_draws(self, draws: impl Draws + 'a) -> Self {
        Self { draws: Box::new(draws), ..self }
    }

    /// The settings of the first steps, where they hold.
    fn layout_first(&self, share: &Latents) -> Option<LayoutFirst> {
        self.layout_first.filter(|_| share.layout_first)
    }

    /// The samples at `positions`.
    ///
    /// # Errors
    /// Those of the data.
    pub fn latents(&self, positions: &[u64]) -> Result<Latents> {
        let mut latents = Latents::default();
        for &position in positions {
            latents.push(
                position,
                self.base.model.vae.latent_channels(),
                self.samples.item(position, self.draws.as_ref())?.image,
            );
        }
        Ok(latents)
    }

    /// The error of each sample: of what the network predicts, whatever that is.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    pub fn errors<N: DenoiserInTraining>(&self, network: &N, share: &Latents) -> Result<Vec<f64>> {
        let sample = self.noised(share)?;
        let condition = self.condition(network.text(self.base).as_ref(), share)?;
        let denoiser = network.denoiser(self.base);
        Ok(sample.errors(denoiser.forward(sample.x_t.clone(), &sample.timesteps, &condition, None)?))
    }

    /// Noise is added to clean latents: what the denoiser is trained on.
    ///
    /// # Errors
    /// As [`TrainingSample::new`] and [`TrainingSample::edm`].
    pub fn noised(&self, share: &Latents) -> Result<TrainingSample> {
        let [b, c, h, w] = share.shape;
        let tensor = |values: Vec<f32>, shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(values, shape), &self.samples.device)
        };
        let by = self.layout_first(share).map_or(self.timestep_shift, |first| first.timestep_shift);
        let (mut t, mut noise) = (Vec::with_capacity(b), Vec::with_capacity(b * c * h * w));
        for &position in &share.positions {
            let timesteps = self.schedule.num_timesteps();
            let (timestep, eps) = self.draws.noise(position, timesteps, c * h * w);
            t.push(shifted_timestep(timestep, timesteps, by));
            noise.extend(eps);
        }
        let mut eps = tensor(noise, share.shape);
        if self.noise_offset > 0.0 {
            let z = share.positions.iter().flat_map(|&position| self.draws.offset(position, c)).collect();
            eps = offset_noise(eps, tensor(z, [b, c, 1, 1]), self.noise_offset)?;
        }
        let z_0 = tensor(share.z_0.clone(), share.shape);
        if let Some(edm) = self.edm {
            let levels = share.positions.iter().map(|&position| edm.at(self.draws.sigma(position)));
            return TrainingSample::edm(z_0, eps, &levels.collect::<Result<Vec<_>>>()?);
        }
        let prediction = self.base.model.scheduler.prediction_type;
        let times = match prediction {
            PredictionType::Flow => {
                let time = |&position: &u64| flow_time(self.draws.flow_time(position), by);
                Times::Flow(share.positions.iter().map(time).collect())
            }
            _ => Times::Steps(&self.schedule, t),
        };
        TrainingSample::new(z_0, eps, &times, prediction, self.loss_weight)
    }

    /// The loss of the attention that `seen` has kept, unweighted, if there is anything to teach.
    fn grounding_loss(
        &self,
        grounding: GroundingRecipe,
        seen: GroundedAttention,
        timesteps: &[f64],
        share: &Latents,
    ) -> Option<Tensor<1>> {
        let noisy = grounding.noisy_from * self.schedule.num_timesteps() as f64;
        let weight = |&t: &f64| if t > noisy { grounding.noisy_factor } else { 1.0 };
        let weights: Vec<f64> = timesteps.iter().map(weight).collect();
        let [_, _, height, width] = share.shape;
        seen.loss(&Regions { samples: &share.regions, grid: [height, width], weights: &weights })
    }

    /// What the network is told of a share, by the text tower as it stands.
    ///
    /// # Errors
    /// As [`Denoising::context`].
    fn condition(&self, text: Option<&ClipText>, share: &Latents) -> Result<Condition> {
        let model = &self.base.model;
        let context = self.context(text, share)?;
        let mut condition = Condition::of_context(context);
        if model.denoiser.config.pooled_width().is_some() {
            let text = text.unwrap_or(self.base.text());
            condition.pooled = Some(match model.text.t5 {
                None => text.at_ends(condition.context.clone(), &share.ids),
                Some(_) => text.forward(&share.ids)?.pooled,
            });
        }
        if model.text.t5.is_some() && model.denoiser.network.takes_guidance() {
            condition.guidance = Some(vec![self.diffusion.guidance; share.ids.len()]);
        }
        Ok(condition)
    }

    /// Text features of a share, T5's or those of the text tower as it stands: on an autodiff device where that is
    /// trained.
    ///
    /// # Errors
    /// As [`ClipText::forward_skipping`] and [`BaseModel::encode_context`].
    pub(super) fn context(&self, text: Option<&ClipText>, share: &Latents) -> Result<Tensor<3>> {
        let has_t5 = self.base.model.text.t5.is_some();
        let ids = if has_t5 { &share.t5_ids } else { &share.ids };
        match (text.filter(|_| !has_t5), &self.texts) {
            (Some(text), _) => BaseModel::encode_text(text, ids),
            (None, Some(texts)) => texts.get(ids, &self.samples.device),
            (None, None) => self.base.encode_context(ids),
        }
    }
}

impl<N: DenoiserInTraining> Objective<N> for Denoising<'_> {
    type Share = Latents;
    type Settings = TrainingSettings<DiffusionRecipe>;

    fn part(&self) -> TrainedPart {
        TrainedPart::Diffusion
    }

    fn training(&self) -> &TrainingRecipe {
        &self.diffusion.training
    }

    fn learning_rate(&self, step: usize) -> f64 {
        self.diffusion.training.rate_with_restart(step, self.diffusion.layout_steps())
    }

    /// Which of equal tokens is read changes nothing, so that queries and keys would have no gradient.
    fn trains(&self, name: &str) -> bool {
        let reads = ["attn2.to_q.", "attn2.to_k."];
        !(self.diffusion.pooled_text && reads.iter().any(|part| name.contains(part)))
    }

    fn rate_factor(&self, name: &str) -> f64 {
        let text = self.diffusion.text_learning_rate.filter(|_| name.starts_with(TEXT_ENCODER));
        text.map_or(1.0, |rate| rate / self.diffusion.training.learning_rate)
    }

    fn settings(&self) -> TrainingSettings<DiffusionRecipe> {
        TrainingSettings::new(self.recipe, self.samples.data, self.diffusion.identity())
    }

    fn damage(&self) -> Damage {
        Damage::of(self.samples.data, &self.recipe.data)
    }

    fn logged(&self) -> Vec<&'static str> {
        if self.grounding.is_some() { vec!["loss", "denoising", "grounding"] } else { vec!["loss"] }
    }

    /// Latents and text features go to the run's files, if the recipe wants that and the data ends.
    fn fill_caches(&mut self, session: &Session) -> Result<()> {
        let Session { device, threads, progress, ranks, .. } = *session;
        let encoding =
            Encoding { device, precision: self.diffusion.training.precision, threads, progress, ranks };
        let folder = session.own_cache();
        if self.diffusion.cache_latents && self.samples.data.count().is_some() {
            let path = folder.join("latents.store");
            let (latents, damaged) = LatentCache::fill(&path, self.base, self.samples.data, encoding)?;
            self.samples.cache = Some(latents);
            self.damaged.extend(damaged);
        }
        if self.diffusion.cache_text && self.samples.data.count().is_some() {
            let mut texts = TextCache::open(&folder.join("captions.store"), self.base, encoding)?;
            let captions = self.samples.data.all().into_iter();
            let mut captions: Vec<String> = captions
                .flat_map(|place| self.samples.data.pictures().captions(place.picture).into_owned())
                .collect();
            captions.push(String::new());
            texts.fill(self.base, &captions, encoding)?;
            self.texts = Some(texts);
        }
        Ok(())
    }

    fn prepare(&self, step: usize, shares: Range<usize>) -> Result<Batch<Latents>> {
        let (training, channels) = (&self.diffusion.training, self.base.model.vae.latent_channels());
        let first = self.diffusion.layout_steps();
        let add = |share: &mut Latents, position, latent: Latent, _: &str| {
            share.push(position, channels, latent);
            share.layout_first = step < first;
        };
        let item = |n| self.samples.item(n, self.draws.as_ref());
        Batch::assemble(training, step, shares, &self.damaged, item, add)
    }

    fn loss(&self, network: &N, _: usize, share: &Latents) -> Result<ShareLoss> {
        let condition = self.condition(network.text(self.base).as_ref(), share)?.autodiff();
        let sample = self.noised(share)?;
        let x_t = sample.x_t.clone().autodiff();
        let denoiser = network.denoiser(self.base);
        let among_text = matches!(denoiser, Denoiser::Flux(_));
        let seen = self.grounding.map(|grounding| GroundedAttention::new(grounding.heads, among_text));
        let hook = seen.as_ref().map(|seen| seen as &dyn AttentionHook);
        let denoising = sample.loss(denoiser.forward(x_t, &sample.timesteps, &condition, hook)?);
        let mut terms = vec![("denoising", denoising.clone())];
        let Some((grounding, seen)) = self.grounding.zip(seen) else {
            return Ok(ShareLoss { logged: vec![Number::of(&denoising)], terms, total: denoising });
        };
        let (mut total, mut taught) = (denoising.clone(), Number::Known(0.0));
        if let Some(loss) = self.grounding_loss(grounding, seen, &sample.timesteps, share) {
            let weight = self.layout_first(share).map_or(grounding.weight, |first| first.grounding);
            taught = Number::of(&loss);
            total = total + loss.clone() * weight;
            terms.push(("grounding", loss));
        }
        let logged = vec![Number::of(&total), Number::of(&denoising), taught];
        Ok(ShareLoss { total, terms, logged })
    }

    fn in_one_pass(&self) -> bool {
        !self.diffusion.gradient_checkpointing
    }

    fn share_gradients(&self, network: &N, step: usize, share: &Latents) -> Result<BatchGradients> {
        let trains = |name: &str| Objective::<N>::trains(self, name);
        if !self.diffusion.gradient_checkpointing {
            return differentiated(network, trains, |network| self.loss(network, step, share));
        }
        let mut found = recompute::gradients(self, network, share)?;
        found.gradients.retain(|gradient| trains(&gradient.name));
        Ok(found)
    }

    fn inputs(&self, share: &Latents) -> Result<Vec<Input>> {
        if self.recipe.vae().is_ok_and(|vae| vae.scaling_factor.is_some()) {
            // A scale that is asked for need not fit.
            return Ok(vec![]);
        }
        Ok(vec![Input { kind: InputKind::Latent, values: share.z_0.clone() }])
    }

    fn doubts(&self) -> Result<Vec<String>> {
        let untrained = self.recipe.clip().is_ok_and(|clip| clip.training.steps == 0);
        let fault = if untrained { None } else { text_tower_fault(self.base.text()) };
        let mut doubts: Vec<String> = fault.into_iter().collect();
        if self.grounding.is_some() && !self.samples.know_objects()? {
            doubts.push(
                "`diffusion.grounding` has nothing to teach: no picture says where its objects are".into(),
            );
        }
        Ok(doubts)
    }

    fn save(&self, network: &N, model: &Path) -> Result<()> {
        network.save(self.base, model)
    }
}

/// u ↦ s·u/(1 + (s − 1)·u) for the middle u = (t + ½)/T of a timestep: with s above 1 there are more noisy timesteps. Esser
/// et al. 2024, arXiv:2403.03206, Eq. 23, there for flows.
fn shifted_timestep(t: usize, timesteps: usize, s: f64) -> usize {
    if s == 1.0 {
        return t;
    }
    let u = (t as f64 + 0.5) / timesteps as f64;
    ((shift(u, s) * timesteps as f64) as usize).min(timesteps - 1)
}

/// The same for the time of a flow.
fn flow_time(t: f64, s: f64) -> f64 {
    if s == 1.0 { t } else { shift(t, s) }
}

/// How the noise levels of a model are spread, if it is an EDM.
fn levels(recipe: EdmRecipe, edm: Option<Edm>) -> NoiseLevels {
    NoiseLevels::new(recipe, edm.map_or(1.0, |edm| edm.sigma_data))
}
