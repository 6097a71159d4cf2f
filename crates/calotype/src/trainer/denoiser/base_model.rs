//! What a denoiser's training stands on: autoencoder, text tower, noise schedule, and a denoiser.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};

use crate::autoencoder::Vae;
use crate::checkpoint::{self, Checkpoint, StoredComponent};
use crate::denoiser::{Denoiser, DenoiserConfig};
use crate::diffusion::{PredictionType, SchedulerClass, SchedulerConfig, TimestepSpacing};
use crate::error::{Error, Result};
use crate::files::{NamedTensor, Storage, StoredTensor};
use crate::model::{Beside, ComponentKind, Model};
use crate::nn::{Component, Compute, Init, parameters};
use crate::runs::folder::RunFolder;
use crate::text_encoder::ClipText;
use crate::text_encoder::stack::TextStack;
use crate::text_encoder::tokenizer::ClipTokenizer;
use crate::trainer::recipe::{DenoiserName, EdmRecipe, Recipe};

/// The networks at the first step, and what of them stays as it is.
#[derive(Clone)]
pub struct BaseModel {
    /// An AutoencoderKL and a text tower, frozen but for a LoRA; the denoiser at the first step; the scheduler as
    /// training and sampling use it.
    pub model: Model,
    /// The model folder or file that this was read from; `None`: the run's own parts, and a random denoiser.
    pub origin: Option<PathBuf>,
    /// What is left out of that folder or file, and taken for what it does not say.
    pub notes: Vec<String>,
}

impl BaseModel {
    /// The recipe's `model`, or the autoencoder and the text tower that the run has trained and a random denoiser.
    ///
    /// # Errors
    /// `Error::Io` if the run has no trained autoencoder or text tower; `Error::Config` for a model that cannot be
    /// fine-tuned; those of reading.
    pub fn load(recipe: &Recipe, run: &RunFolder, device: &Device) -> Result<Self> {
        let compute = &recipe.diffusion()?.training.compute(device)?;
        match &recipe.model {
            Some(model) => Self::of_model(recipe, model, compute),
            None => Self::of_run(recipe, &run.model(), compute),
        }
    }

    fn of_run(recipe: &Recipe, folder: &Path, compute: &Compute) -> Result<Self> {
        let stored = |kind: ComponentKind| StoredComponent::open(&folder.join(kind.folder()), kind);
        let vae = checkpoint::vae(stored(ComponentKind::Vae)?, compute)?;
        if let Vae::Tiny { config, .. } = &vae {
            let (path, got) = (folder.join("vae/config.json"), format!("`{}`", config.class_name));
            return Err(Error::config(path, "_class_name", "AutoencoderKL", got));
        }
        let mut encoder = checkpoint::text_encoder(stored(ComponentKind::TextEncoder)?, compute)?;
        if recipe.diffusion()?.train_text_encoder {
            // An earlier training of this part may have left a text encoder of its own.
            encoder.network = checkpoint::clip(&folder.join("clip"), compute)?.network.text().clone();
        }
        if recipe.diffusion()?.pooled_text {
            encoder.network = encoder.network.with_pooled_context();
            encoder.config.pooled_context = true;
        }
        let tokenizer = ClipTokenizer::load(&folder.join("tokenizer"))?;
        let text = TextStack::of_clip(tokenizer, encoder);
        let side = recipe.data.size as usize / vae.downsampling();
        let config = recipe.diffusion()?.denoiser_config(vae.latent_channels(), side, text.width());
        let network = Denoiser::new(&config, &mut Init::random(recipe.seed.wrapping_add(2), compute))?;
        let scheduler = scheduler(recipe, SchedulerConfig::default())?;
        let model = Model::new(vae, Component { network, config }, text, scheduler, &compute.device)?;
        require_sides(recipe, &model)?;
        Ok(Self { model, origin: None, notes: vec![] })
    }

    fn of_model(recipe: &Recipe, path: &Path, compute: &Compute) -> Result<Self> {
        let refuse = |expected: &str, got: &str| {
            Err(Error::config(recipe.path(), "model", expected, format!("`{}`, {got}", path.display())))
        };
        let mut checkpoint = Checkpoint::open(path)?;
        let notes = checkpoint.notes(None);
        checkpoint.store_as(Storage::F32);
        if checkpoint.components.contains_key(&ComponentKind::TextEncoder2) && !checkpoint.has_t5() {
            return refuse("a Stable Diffusion 1 or 2, or a Flux.1", "which has CLIP's two text encoders");
        }
        if checkpoint.tokenizers.is_empty() {
            return refuse("one with a tokenizer", "which has none");
        }
        let mut model = checkpoint.into_model(compute)?;
        if matches!(model.vae, Vae::Tiny { .. }) {
            return refuse("one with an AutoencoderKL", "whose autoencoder is a tiny one");
        }
        if model.input_beside() != Beside::Nothing {
            return refuse("one that takes latents alone", "which takes a picture beside them");
        }
        if model.text.t5.is_some() && recipe.diffusion()?.grounding.is_some() {
            return refuse(
                "one that reads with CLIP alone, for `diffusion.grounding`",
                "which reads with T5",
            );
        }
        if matches!(model.denoiser.config, DenoiserConfig::Flux(_)) {
            require_flow(recipe)?;
        }
        require_sides(recipe, &model)?;
        model.scheduler = scheduler(recipe, model.scheduler)?;
        Ok(Self { model, origin: Some(path.to_owned()), notes })
    }

    /// The same with an autoencoder whose products are in f32.
    ///
    /// # Errors
    /// As [`AutoencoderKl::new`](crate::autoencoder::AutoencoderKl::new); `Error::Shape` for a tiny autoencoder.
    pub fn with_vae_in_f32(&self) -> Result<Self> {
        let vae = self.model.vae.in_f32(&self.model.device)?;
        Ok(Self { model: Model { vae, ..self.model.clone() }, ..self.clone() })
    }

    /// The text tower at the first step.
    pub fn text(&self) -> &ClipText {
        &self.model.text.first().encoder.network
    }

    /// The tokens of a caption whose features are the context.
    ///
    /// # Errors
    /// As [`T5Tower::read`](crate::text_encoder::T5Tower::read).
    pub fn context_ids(&self, caption: &str) -> Result<Vec<u32>> {
        let of_clip = || Ok(self.model.tokenizer().encode_padded(caption).ids);
        self.model.text.t5.as_ref().map_or_else(of_clip, |t5| t5.ids(caption))
    }

    /// The context of captions in these tokens, `[B, L, D]`.
    ///
    /// # Errors
    /// As [`ClipText::forward_skipping`] and [`T5Encoder::forward`](crate::text_encoder::T5Encoder::forward).
    pub fn encode_context(&self, ids: &[Vec<u32>]) -> Result<Tensor<3>> {
        match &self.model.text.t5 {
            Some(t5) => t5.encode(ids),
            None => Self::encode_text(self.text(), ids),
        }
    }

    /// Features of captions under `text`, `[B, L, D]`.
    ///
    /// # Errors
    /// As [`ClipText::forward_skipping`].
    pub fn encode_text(text: &ClipText, ids: &[Vec<u32>]) -> Result<Tensor<3>> {
        Ok(text.forward(ids)?.last_hidden_state)
    }

    /// Writes a whole model with another denoiser, and another text encoder if there is one: the base's other parts, or
    /// those that the run has trained.
    ///
    /// # Errors
    /// `Error::Io`, and those of reading the base again.
    pub fn save_with(&self, denoiser: &Denoiser, text: Option<&ClipText>, folder: &Path) -> Result<()> {
        let Some(origin) = &self.origin else {
            checkpoint::write_model(folder, &self.model, denoiser)?;
            if let Some(text) = text {
                let config = &self.model.text.first().encoder.config;
                let folder = folder.join(ComponentKind::TextEncoder.folder());
                checkpoint::write_text_encoder(&folder, text, config)?;
            }
            return Ok(());
        };
        // Opened again and not kept: its weights are as they are stored there, ours in f32.
        let mut whole = Checkpoint::open(origin)?;
        let stored =
            |tensor: NamedTensor| Some((tensor.name, StoredTensor::from_f32(tensor.shape, tensor.values)?));
        let kind = ComponentKind::of_denoiser(&self.model.denoiser.config);
        let mut put = |kind, tensors: Vec<NamedTensor>| {
            let weights = tensors.into_iter().filter_map(stored).collect();
            whole.components.entry(kind).and_modify(|stored| stored.weights = weights);
        };
        put(kind, parameters::named_parameters(denoiser));
        if let Some(text) = text {
            put(ComponentKind::TextEncoder, checkpoint::text_encoder_tensors(text));
        }
        whole.scheduler = self.model.scheduler.to_json();
        whole.write_folder(folder)
    }

    /// How the times of a flow are shifted; not, where the size of a picture decides in sampling
    /// (`use_dynamic_shifting`), as in diffusers' trainings.
    ///
    /// # Errors
    /// As [`SchedulerConfig::option`].
    pub fn shift(&self) -> Result<f64> {
        let scheduler = &self.model.scheduler;
        if scheduler.option::<bool>("use_dynamic_shifting")? == Some(true) {
            return Ok(1.0);
        }
        Ok(scheduler.option("shift")?.unwrap_or(1.0))
    }
}

/// Refuses pictures of which the network has no whole number of tokens.
fn require_sides(recipe: &Recipe, model: &Model) -> Result<()> {
    let (multiple, data) = (model.side_multiple() as u32, &recipe.data);
    let of_buckets = data.buckets.as_ref().map(|buckets| ("data.buckets.step", buckets.step));
    let sides = [Some(("data.size", data.size)), of_buckets];
    // A U-Net takes latents of any size, and the autoencoder says what it cannot take.
    let tokens = model.denoiser.config.token_side() > 1;
    match sides.into_iter().flatten().find(|(_, side)| tokens && !side.is_multiple_of(multiple)) {
        Some((key, side)) => {
            let expected = format!("a multiple of {multiple}: the network reads tokens of several pixels");
            Err(Error::config(recipe.path(), key, expected, side))
        }
        None => Ok(()),
    }
}

/// Refuses what makes of a Flux another thing than a flow.
fn require_flow(recipe: &Recipe) -> Result<()> {
    let diffusion = recipe.diffusion()?;
    let other = diffusion.prediction.is_some_and(|prediction| prediction != PredictionType::Flow);
    let keys = [
        ("prediction", other),
        ("edm", diffusion.edm.is_some()),
        ("zero_terminal_snr", diffusion.zero_terminal_snr),
    ];
    match keys.into_iter().find(|(_, there)| *there) {
        Some((key, _)) => {
            let expected = "nothing for a Flux, which is a flow";
            Err(Error::config(recipe.path(), format!("diffusion.{key}"), expected, "a value"))
        }
        None => Ok(()),
    }
}

/// The scheduler of the base with what the recipe changes.
fn scheduler(recipe: &Recipe, base: SchedulerConfig) -> Result<SchedulerConfig> {
    let diffusion = recipe.diffusion()?;
    if let Some(edm) = diffusion.edm {
        return edm_scheduler(recipe, edm, base);
    }
    let usual = match diffusion.denoiser {
        DenoiserName::Flux => PredictionType::Flow,
        DenoiserName::Unet => base.prediction_type,
    };
    let prediction = diffusion.prediction.unwrap_or(usual);
    if base.class_name.is_edm()
        && let Some(key) = diffusion.key_of_timesteps()
    {
        let expected = "nothing for a `model` that is an EDM, which has no timesteps";
        return Err(Error::config(recipe.path(), format!("diffusion.{key}"), expected, "a value"));
    }
    let mut config = match (prediction, base.class_name.is_flow()) {
        (PredictionType::Flow, true) => base,
        (PredictionType::Flow, false) => SchedulerClass::FlowMatchEulerDiscrete.constructor_defaults(),
        (_, true) => SchedulerConfig::default(),
        (_, false) => base,
    };
    config.prediction_type = prediction;
    if let (PredictionType::Flow, Some(shift)) = (prediction, diffusion.flow_times.shift) {
        config.options.insert("shift".into(), shift.into());
    }
    if diffusion.zero_terminal_snr {
        // Sampling has to begin at the timestep that holds no signal.
        config.rescale_betas_zero_snr = true;
        config.timestep_spacing = TimestepSpacing::Trailing;
    }
    config.check(recipe.path())?;
    Ok(config)
}

/// The scheduler of a model with EDM's preconditioning; its noise levels are the base's, or those of diffusers.
fn edm_scheduler(recipe: &Recipe, edm: EdmRecipe, base: SchedulerConfig) -> Result<SchedulerConfig> {
    let (mut config, usual) = if base.class_name.is_edm() {
        (base, None)
    } else {
        // Latents have unit variance.
        (SchedulerConfig { class_name: SchedulerClass::EdmEuler, ..SchedulerConfig::default() }, Some(1.0))
    };
    if let Some(sigma_data) = edm.sigma_data.or(usual) {
        config.options.insert("sigma_data".into(), sigma_data.into());
    }
    config.check(recipe.path())?;
    Ok(config)
}
