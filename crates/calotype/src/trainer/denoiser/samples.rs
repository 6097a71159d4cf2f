//! The samples of a denoiser's training, before noise is added to them.

use burn::tensor::Device;

use super::base_model::BaseModel;
use super::draws::{Draws, drops_caption};
use super::latent_cache::{LatentCache, Posterior, posterior_of};
use super::regions::regions;
use crate::data::source::{Item, Place, TrainingSet};
use crate::denoiser::grounding::Region;
use crate::error::Result;
use crate::trainer::recipe::Recipe;

/// Pictures that are asked whether they know their objects.
const KNOWN_AMONG: u64 = 64;

/// Clean latents and captions of some samples.
#[derive(Clone, Default)]
pub struct Latents {
    pub(super) positions: Vec<u64>,
    /// Scaled samples of the posteriors, `[B, C, h, w]`.
    pub(super) z_0: Vec<f32>,
    pub(super) shape: [usize; 4],
    pub(super) ids: Vec<Vec<u32>>,
    /// The same in T5's tokens; empty for a model without one.
    pub(super) t5_ids: Vec<Vec<u32>>,
    /// What each caption names, and where it is; nothing unless that is taught.
    pub(super) regions: Vec<Vec<Region>>,
    /// Whether these are of the steps in which the layout comes first.
    pub(super) layout_first: bool,
}

impl Latents {
    pub(super) fn push(&mut self, position: u64, channels: usize, latent: Latent) {
        self.positions.push(position);
        self.shape = [self.positions.len(), channels, latent.shape[0], latent.shape[1]];
        self.z_0.extend(latent.z_0);
        self.ids.push(latent.tokens.clip);
        self.t5_ids.extend(latent.tokens.t5);
        self.regions.push(latent.regions);
    }

    /// The same pictures with other captions, one for each.
    ///
    /// # Errors
    /// As [`T5Tower::read`](crate::text_encoder::T5Tower::read).
    pub fn with_captions(&self, captions: &[String], base: &BaseModel) -> Result<Self> {
        let (mut ids, mut t5_ids) = (Vec::new(), Vec::new());
        for caption in captions {
            let Tokens { clip, t5 } = Tokens::of(base, caption)?;
            ids.push(clip);
            t5_ids.extend(t5);
        }
        Ok(Self { ids, t5_ids, ..self.clone() })
    }
}

/// A caption as the text encoders read it.
#[derive(Clone)]
pub(super) struct Tokens {
    clip: Vec<u32>,
    t5: Option<Vec<u32>>,
}

impl Tokens {
    fn of(base: &BaseModel, caption: &str) -> Result<Self> {
        let t5 = base.model.text.t5.as_ref().map(|t5| t5.ids(caption)).transpose()?;
        Ok(Self { clip: base.model.tokenizer().encode_padded(caption).ids, t5 })
    }
}

/// A clean latent.
pub(super) struct Latent {
    /// `[C, h, w]`, scaled.
    z_0: Vec<f32>,
    /// Height and width.
    shape: [usize; 2],
    /// The tokens that it is trained with.
    tokens: Tokens,
    /// What they name, and where it is; nothing unless that is taught.
    regions: Vec<Region>,
}

/// Where samples come from.
pub(super) struct Samples<'a> {
    pub base: &'a BaseModel,
    pub data: &'a TrainingSet,
    pub device: Device,
    pub seed: u64,
    pub caption_dropout: f64,
    /// Whether what captions name is looked up.
    pub with_regions: bool,
    pub no_caption: Tokens,
    /// Latents that are there already.
    pub cache: Option<LatentCache>,
}

impl<'a> Samples<'a> {
    /// Of every caption, with nothing cached.
    ///
    /// # Errors
    /// `Error::Format` if the tokenizer cannot read the empty caption.
    pub fn new(recipe: &Recipe, base: &'a BaseModel, data: &'a TrainingSet, device: &Device) -> Result<Self> {
        Ok(Self {
            base,
            data,
            device: device.clone(),
            seed: recipe.seed,
            caption_dropout: 0.0,
            with_regions: false,
            no_caption: Tokens::of(base, "")?,
            cache: None,
        })
    }

    /// The sample at position `n`, its caption, its name and what was damaged before it.
    ///
    /// # Errors
    /// Those of the data.
    pub fn item(&self, n: u64, draws: &dyn Draws) -> Result<Item<Latent>> {
        let Some(cache) = &self.cache else {
            let Item { image, caption, name, place, damaged } = self.data.item(n)?;
            let posterior = posterior_of(self.base, image, &self.device)?;
            let image = self.latent(n, &posterior, place, &caption, draws)?;
            return Ok(Item { image, caption, name, place, damaged });
        };
        let (place, posterior) = cache.at(self.data, n)?;
        let (caption, name) = (self.data.caption(n, place), self.data.pictures().name(place.picture));
        let image = self.latent(n, &posterior, place, &caption, draws)?;
        Ok(Item { image, caption, name, place, damaged: vec![] })
    }

    /// Whether it is known of one of the first pictures what is where in it.
    ///
    /// # Errors
    /// Those of the data.
    pub fn know_objects(&self) -> Result<bool> {
        for n in 0..KNOWN_AMONG {
            if !self.data.objects(n, self.data.place(n))?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// z₀ of the sample at position `n`, drawn from its posterior and scaled; its tokens, and what they name.
    fn latent(
        &self,
        n: u64,
        posterior: &Posterior,
        place: Place,
        caption: &str,
        draws: &dyn Draws,
    ) -> Result<Latent> {
        let (vae, (width, height)) = (&self.base.model.vae, place.size);
        let shape = [height, width].map(|side| side as usize / vae.downsampling());
        let mut z_0 = posterior.sample(&draws.posterior(n, posterior.mean.len()));
        vae.scale(&mut z_0);
        if drops_caption(self.seed, n, self.caption_dropout) {
            return Ok(Latent { z_0, shape, tokens: self.no_caption.clone(), regions: vec![] });
        }
        let tokenizer = self.base.model.tokenizer();
        let regions = if self.with_regions {
            regions(tokenizer, caption, &self.data.objects(n, place)?, shape)?
        } else {
            vec![]
        };
        Ok(Latent { z_0, shape, tokens: Tokens::of(self.base, caption)?, regions })
    }
}
