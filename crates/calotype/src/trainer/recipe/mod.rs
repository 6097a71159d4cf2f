//! A recipe: everything that decides a run, in one TOML file.

mod clip;
mod data;
mod denoiser;
mod diffusion;
mod grounding;
mod in_run;
mod shortened;
mod training;
mod vae;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use clip::{ClipObjective, ClipRecipe};
pub use data::{BucketRecipe, DataRecipe};
pub use denoiser::{DenoiserName, FluxRecipe};
pub use diffusion::{DiffusionRecipe, EdmRecipe, FlowTimes, LoraRecipe, P2Recipe};
pub use grounding::{GroundingRecipe, LayoutFirst};
pub use training::{EmaSnapshots, TrainingRecipe};
pub use vae::{
    AdversarialRecipe, AutoencoderObjective, DiscriminatorLoss, PerceptualRecipe, Reconstruction, VaeRecipe,
};

use crate::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Noun};
use crate::error::{Error, Result};
use crate::runs::folder::TrainedPart;
use crate::sampler::SamplerKind;

/// The whole file. Every key must be known; a section is needed by who trains that part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The file, for messages.
    #[serde(skip)]
    path: PathBuf,
    /// Seed of all randomness: data, weights, noise.
    pub seed: u64,
    /// A model to start from, folder or single file; the shapes of the networks are then its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// What the networks see.
    pub data: DataRecipe,
    /// The autoencoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vae: Option<VaeRecipe>,
    /// The CLIP towers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clip: Option<ClipRecipe>,
    /// The U-Net.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    diffusion: Option<DiffusionRecipe>,
    /// How `demo` samples and evaluates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evaluation: Option<EvaluationRecipe>,
}

// Defaults of several sections.

fn one() -> usize {
    1
}

fn three() -> usize {
    3
}

fn four() -> usize {
    4
}

fn eight() -> usize {
    8
}

fn ddim() -> SamplerKind {
    SamplerKind::Ddim
}

/// `[evaluation]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRecipe {
    /// Held-out scenes: prompts, reconstructions.
    pub scenes: usize,
    /// The sampler.
    #[serde(default = "ddim")]
    pub sampler: SamplerKind,
    /// Steps of the sampler.
    pub steps: usize,
    /// Guidance scale; 1 is off.
    pub guidance: f64,
    /// Seed of the pictures.
    pub seed: u64,
}

/// Refuses values out of range, with the file's name.
pub(super) struct Check<'a> {
    path: &'a Path,
    section: &'static str,
}

impl Check<'_> {
    /// `key` is inside the section.
    ///
    /// # Errors
    /// `Error::Config` unless `holds`.
    fn that(&self, holds: bool, key: &str, expected: impl ToString, got: impl ToString) -> Result<()> {
        if holds {
            return Ok(());
        }
        let key = if self.section.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section) };
        Err(Error::config(self.path, key, expected, got))
    }
}

impl Recipe {
    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` for bad TOML, an unknown key or a missing one (with line);
    /// `Error::Config` for a value out of range.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_with(path, None)
    }

    /// [`Recipe::read`], with `model` in place of the recipe's own, if there is one.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn read_with(path: &Path, model: Option<&Path>) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse_with(path, &text, model)
    }

    /// [`Recipe::read`] of a text; `path` is for messages.
    ///
    /// # Errors
    /// As [`Recipe::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        Self::parse_with(path, text, None)
    }

    fn parse_with(path: &Path, text: &str, model: Option<&Path>) -> Result<Self> {
        let recipe: Self = toml::from_str(text).map_err(|e| Error::format(path, "recipe (TOML)", e))?;
        let model = model.map(Path::to_owned).or(recipe.model);
        Self { model, ..recipe }.checked(path)
    }

    /// [`Recipe::read`] of a table; `path` is for messages, and need not be a file.
    ///
    /// # Errors
    /// As [`Recipe::read`], without a line.
    pub fn of_table(path: &Path, table: toml::Table) -> Result<Self> {
        let refuse = |error: toml::de::Error| Error::format(path, "recipe (TOML)", error.to_string().trim());
        toml::Value::Table(table).try_into::<Self>().map_err(refuse)?.checked(path)
    }

    /// The same with its file's name, if its values are in their ranges.
    fn checked(self, path: &Path) -> Result<Self> {
        let recipe = Self { path: path.to_owned(), ..self };
        recipe.validate()?;
        Ok(recipe)
    }

    /// The embedded data that the recipe is for.
    ///
    /// # Errors
    /// As [`EmojiScenes::new`].
    pub fn scenes(&self) -> Result<EmojiScenes> {
        let DataRecipe { size, max_objects, single_objects, .. } = self.data;
        let nouns = self.data.nouns.clone().unwrap_or_else(|| Noun::ALL.to_vec());
        EmojiScenes::new(EmojiScenesConfig { size, seed: self.seed, max_objects, single_objects, nouns })
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// `Error::Format` for what TOML cannot say.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::format(&self.path, "recipe (TOML)", e))
    }

    /// The name of the model to start from, without the way to it: a run may be moved.
    pub(crate) fn model_name(&self) -> Option<String> {
        let model = self.model.as_ref()?;
        model.file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `[vae]`.
    ///
    /// # Errors
    /// `Error::Config` if the recipe has no such section.
    pub fn vae(&self) -> Result<&VaeRecipe> {
        self.section("vae", self.vae.as_ref())
    }

    /// `[clip]`.
    ///
    /// # Errors
    /// As [`Recipe::vae`].
    pub fn clip(&self) -> Result<&ClipRecipe> {
        self.section("clip", self.clip.as_ref())
    }

    /// `[diffusion]`.
    ///
    /// # Errors
    /// As [`Recipe::vae`].
    pub fn diffusion(&self) -> Result<&DiffusionRecipe> {
        self.section("diffusion", self.diffusion.as_ref())
    }

    /// `[evaluation]`.
    ///
    /// # Errors
    /// As [`Recipe::vae`].
    pub fn evaluation(&self) -> Result<&EvaluationRecipe> {
        self.section("evaluation", self.evaluation.as_ref())
    }

    /// `[PART.training]` of a part: steps, learning rate and the rest.
    ///
    /// # Errors
    /// As [`Recipe::vae`].
    pub fn training(&self, part: TrainedPart) -> Result<&TrainingRecipe> {
        Ok(match part {
            TrainedPart::Vae => &self.vae()?.training,
            TrainedPart::Clip => &self.clip()?.training,
            TrainedPart::Diffusion => &self.diffusion()?.training,
        })
    }

    fn section<'a, T>(&self, name: &str, section: Option<&'a T>) -> Result<&'a T> {
        section.ok_or_else(|| Error::config(&self.path, format!("[{name}]"), "this section", "none"))
    }

    fn check(&self, section: &'static str) -> Check<'_> {
        Check { path: &self.path, section }
    }

    fn validate(&self) -> Result<()> {
        self.data.validate(&self.check("data"))?;
        let scratch = self.model.is_none();
        if let Some(vae) = &self.vae {
            vae.validate(&self.check("vae"), scratch, &self.data)?;
            vae.training.validate(&self.check("vae.training"), 1)?;
        }
        if let Some(clip) = &self.clip {
            clip.training.validate(&self.check("clip.training"), 0)?;
            clip.validate(&self.check("clip"))?;
        }
        if let Some(diffusion) = &self.diffusion {
            diffusion.validate(&self.check("diffusion"), scratch, &self.data)?;
            diffusion.training.validate(&self.check("diffusion.training"), 1)?;
        }
        if let Some(evaluation) = &self.evaluation {
            let scenes = evaluation.scenes;
            self.check("evaluation").that(scenes >= 2, "scenes", "at least 2", scenes)?;
            let (edm, sampler) = (self.diffusion.as_ref().and_then(|own| own.edm), evaluation.sampler);
            let fits = edm.is_none() || sampler.works_in_sigma();
            let expected = "one that works in sigma, such as euler, with `diffusion.edm`";
            self.check("evaluation").that(fits, "sampler", expected, sampler)?;
            let flux = self.diffusion.as_ref().is_some_and(|own| own.denoiser == DenoiserName::Flux);
            let of_flow = [SamplerKind::FlowEuler, SamplerKind::FlowHeun].contains(&sampler);
            let expected = "flow-euler or flow-heun, with `diffusion.denoiser = \"flux\"`";
            self.check("evaluation").that(!flux || of_flow, "sampler", expected, sampler)?;
        }
        if let (Some(vae), Some(clip), Some(diffusion), true) =
            (&self.vae, &self.clip, &self.diffusion, scratch)
        {
            let vae = vae.config(self.data.size as usize);
            let side = self.data.size as usize / vae.downsampling();
            diffusion.denoiser_config(vae.latent_channels, side, clip.text_width).validate()?;
        }
        Ok(())
    }
}
