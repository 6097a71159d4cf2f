//! What a denoiser's training stands on: autoencoder, text tower, noise schedule, and perhaps a U-Net.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};

use crate::autoencoder::{AutoencoderConfig, AutoencoderKl, Vae};
use crate::checkpoint::{self, Checkpoint, diffusers_folder};
use crate::denoiser::{Unet, UnetConfig};
use crate::diffusion::{PredictionType, SchedulerClass, SchedulerConfig, TimestepSpacing};
use crate::error::{Error, Result};
use crate::files::{NamedTensor, Storage, StoredTensor};
use crate::model::ComponentKind;
use crate::nn::{Component, Compute, Init, parameters};
use crate::runs::folder::RunFolder;
use crate::text_encoder::tokenizer::ClipTokenizer;
use crate::text_encoder::{ClipText, ClipTextConfig};
use crate::trainer::recipe::Recipe;

/// The networks at the first step, and what of them stays as it is.
#[derive(Clone)]
pub struct BaseModel {
    /// The autoencoder, frozen.
    pub vae: Component<AutoencoderKl, AutoencoderConfig>,
    /// The text tower, frozen but for a LoRA.
    pub text: Component<ClipText, ClipTextConfig>,
    /// Its tokenizer.
    pub tokenizer: ClipTokenizer,
    /// The U-Net at the first step.
    pub unet: Component<Unet, UnetConfig>,
    /// Noise schedule and prediction, as training and sampling use them.
    pub scheduler: SchedulerConfig,
    /// The model folder or file that this was read from; `None`: the run's own parts, and a random U-Net.
    pub origin: Option<PathBuf>,
}

impl BaseModel {
    /// The recipe's `model`, or the autoencoder and the text tower that the run has trained and a random U-Net.
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

    fn of_run(recipe: &Recipe, model: &Path, compute: &Compute) -> Result<Self> {
        let diffusion = recipe.diffusion()?;
        let vae = diffusers_folder::load_autoencoder(&model.join("vae"), compute)?;
        let text = diffusers_folder::load_text_encoder(&model.join("text_encoder"), compute)?;
        let size = recipe.data.size as usize;
        let config = diffusion.unet_config(&vae.config, text.config.hidden_size, size);
        let network = Unet::new(&config, &mut Init::random(recipe.seed.wrapping_add(2), compute))?;
        Ok(Self {
            tokenizer: ClipTokenizer::load(&model.join("tokenizer"))?,
            scheduler: scheduler(recipe, SchedulerConfig::default())?,
            unet: Component { network, config },
            vae,
            text,
            origin: None,
        })
    }

    fn of_model(recipe: &Recipe, path: &Path, compute: &Compute) -> Result<Self> {
        let mut model = Checkpoint::open(path)?;
        model.store_as(Storage::F32);
        model.check_tokenizers()?;
        let refuse = |key: &str, expected: &str, got: &str| {
            Err(Error::Config {
                path: recipe.path().to_owned(),
                key: key.into(),
                expected: expected.into(),
                got: format!("`{}`, {got}", path.display()),
            })
        };
        if model.components.contains_key(&ComponentKind::TextEncoder2) {
            return refuse("model", "a Stable Diffusion 1 or 2", "which has two text encoders");
        }
        let scheduler = scheduler(recipe, model.scheduler_config()?)?;
        let Vae::Kl { network, config } = checkpoint::vae(model.take(ComponentKind::Vae)?, compute)? else {
            return refuse("model", "one with an AutoencoderKL", "whose autoencoder is a tiny one");
        };
        let vae = Component { network, config };
        let unet = checkpoint::unet(model.take(ComponentKind::Unet)?, compute)?;
        if unet.config.in_channels != vae.config.latent_channels {
            return refuse("model", "one that takes latents alone", "which is made for inpainting");
        }
        let text = checkpoint::text_encoder(model.take(ComponentKind::TextEncoder)?, compute)?;
        let Some(tokenizer) = model.tokenizers.into_iter().next() else {
            return refuse("model", "one with a tokenizer", "which has none");
        };
        Ok(Self { vae, text, tokenizer, unet, scheduler, origin: Some(path.to_owned()) })
    }

    /// The same with an autoencoder whose products are in f32.
    ///
    /// # Errors
    /// As [`AutoencoderKl::new`].
    pub fn with_vae_in_f32(&self, device: &Device) -> Result<Self> {
        let Component { network, config } = &self.vae;
        let vae = Component { network: network.in_f32(config, device)?, config: config.clone() };
        Ok(Self { vae, ..self.clone() })
    }

    /// Features of captions under `text`, `[B, L, D]`.
    ///
    /// # Errors
    /// As [`ClipText::forward`].
    pub fn encode_text(text: &ClipText, ids: &[Vec<u32>]) -> Result<Tensor<3>> {
        Ok(text.forward(ids)?.last_hidden_state)
    }

    /// Writes a whole model with another U-Net: the base's other parts, or those that the run has trained.
    ///
    /// # Errors
    /// `Error::Io`, and those of reading the base again.
    pub fn save_with(&self, unet: &Unet, folder: &Path) -> Result<()> {
        let Some(origin) = &self.origin else {
            self.save_own_parts(folder)?;
            diffusers_folder::save_unet(&folder.join("unet"), unet, &self.unet.config)?;
            diffusers_folder::save_scheduler(&folder.join("scheduler"), &self.scheduler)?;
            return diffusers_folder::save_index(folder, &self.scheduler);
        };
        let mut whole = Checkpoint::open(origin)?;
        let stored =
            |tensor: NamedTensor| Some((tensor.name, StoredTensor::from_f32(tensor.shape, tensor.values)?));
        let weights = parameters::named_parameters(unet).into_iter().filter_map(stored).collect();
        whole.components.entry(ComponentKind::Unet).and_modify(|stored| stored.weights = weights);
        whole.scheduler = self.scheduler.to_json();
        whole.write_folder(folder)
    }
}

impl BaseModel {
    /// The autoencoder and the text tower of the run, where the folder is another than theirs.
    fn save_own_parts(&self, folder: &Path) -> Result<()> {
        if folder.join("vae").exists() {
            return Ok(());
        }
        diffusers_folder::save_autoencoder(&folder.join("vae"), &self.vae.network, &self.vae.config)?;
        let Component { network, config } = &self.text;
        diffusers_folder::save_text_encoder(&folder.join("text_encoder"), network, config)?;
        self.tokenizer.save(&folder.join("tokenizer"))
    }

    /// How the times of a flow are shifted.
    ///
    /// # Errors
    /// As [`SchedulerConfig::option`].
    pub fn shift(&self) -> Result<f64> {
        Ok(self.scheduler.option("shift")?.unwrap_or(1.0))
    }
}

/// The scheduler of the base with what the recipe changes.
fn scheduler(recipe: &Recipe, base: SchedulerConfig) -> Result<SchedulerConfig> {
    let diffusion = recipe.diffusion()?;
    let prediction = diffusion.prediction.unwrap_or(base.prediction_type);
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
