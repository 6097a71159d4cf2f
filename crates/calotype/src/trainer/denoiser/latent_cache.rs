//! Latents of training pictures and features of their captions, computed once and kept on disk.
//!
//! A record's key is a hash of all that it depends on: the network's weights, the picture's file, what is done to
//! the picture. So nothing goes stale: after a change of any of them the old records are not found.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use sha2::{Digest, Sha256};

use super::base_model::BaseModel;
use super::encoded::{Encoded, share};
use crate::autoencoder::Vae;
use crate::data::source::{Damaged, Place, TrainingSet};
use crate::data::tensors::to_tensor;
use crate::error::{Error, Result};
use crate::nn::Precision;
use crate::nn::parameters;
use crate::parallel::in_parallel;
use crate::progress::Progress;
use crate::ranks::agreement::{agree, any};
use crate::ranks::{self, Ranks};
use crate::text_encoder::T5Tower;
use crate::trainer::tensor_store::{Key, TensorStore};

/// Pictures or captions encoded by a thread at a time.
const BATCH: usize = 16;

/// Mean and standard deviation of a picture's posterior, unscaled.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// `[C, h, w]`.
    pub mean: Vec<f32>,
    /// `[C, h, w]`.
    pub std: Vec<f32>,
}

impl Posterior {
    /// μ + σ·ε with `noise` ε ~ N(0, I).
    pub fn sample(&self, noise: &[f32]) -> Vec<f32> {
        let each = self.mean.iter().zip(&self.std).zip(noise);
        each.map(|((mean, std), noise)| mean + std * noise).collect()
    }
}

/// The latents of a training set.
pub struct LatentCache {
    store: TensorStore,
    model: Key,
    transform: String,
    /// Where each picture's latents lie, mirrored and not; those of damaged pictures are missing.
    keys: HashMap<(Place, bool), Key>,
}

/// Who watches an encoding, and how many threads do it.
#[derive(Clone, Copy)]
pub struct Encoding<'a> {
    /// Where the networks run.
    pub device: &'a Device,
    /// In which arithmetic.
    pub precision: Precision,
    /// Threads; changes the time, not the result.
    pub threads: usize,
    /// May stop it.
    pub progress: &'a dyn Progress,
    /// Who share the work.
    pub ranks: &'a dyn Ranks,
}

impl Encoding<'_> {
    /// Things of a wave: as many as keep the threads of all ranks at work.
    fn wave(&self) -> usize {
        BATCH * self.threads.max(1) * self.ranks.count()
    }

    /// How far it is, and whether it goes on.
    ///
    /// # Errors
    /// `Error::Interrupted` on all ranks if one is to stop.
    fn step(&self, done: usize) -> Result<()> {
        self.progress.step(done, "");
        if any(self.ranks, self.progress.interrupted())? {
            return agree(self.ranks, Err(Error::Interrupted { step: 0 }));
        }
        Ok(())
    }
}

impl LatentCache {
    /// Opens the file at `path` and encodes what it lacks of `data`. Returns the damaged pictures too.
    ///
    /// # Errors
    /// Those of `data` and of the file; `Error::Interrupted`: what was encoded until then is kept.
    pub fn fill(
        path: &Path,
        base: &BaseModel,
        data: &TrainingSet,
        encoding: Encoding,
    ) -> Result<(Self, Vec<Damaged>)> {
        let transform = toml::to_string(data.transform()).map_err(|e| Error::format(path, "TOML", e))?;
        let model = match &base.model.vae {
            Vae::Kl { network, .. } => weights_key(network, encoding),
            Vae::Tiny { network, .. } => weights_key(network, encoding),
        };
        let mut cache = Self { store: TensorStore::open(path)?, model, transform, keys: HashMap::new() };
        let variants = if data.transform().flip { vec![false, true] } else { vec![false] };
        let all: Vec<(Place, bool)> = data
            .all()
            .into_iter()
            .flat_map(|place| variants.iter().map(move |&flip| (place, flip)))
            .collect();
        encoding.progress.begin("latents", 0, all.len());
        let (mut damaged, mut reported) = (Vec::new(), HashSet::new());
        let mut done = 0;
        for wave in all.chunks(encoding.wave()) {
            let encoded = cache.encode_wave(base, data, wave, encoding);
            let encoded = share(agree(encoding.ranks, encoded)?, wave.len(), encoding.ranks)?;
            let mut keep = |encoded: Encoded, &(place, flip): &(Place, bool)| {
                match encoded {
                    Encoded::Latents(key, values) => {
                        if !values.is_empty() {
                            cache.store.put(&key, &values)?;
                        }
                        cache.keys.insert((place, flip), key);
                    }
                    Encoded::Damaged(found) => {
                        if reported.insert(place.picture) {
                            damaged.push(found);
                        }
                    }
                }
                Ok(())
            };
            let kept = encoded.into_iter().zip(wave).try_for_each(|(encoded, at)| keep(encoded, at));
            agree(encoding.ranks, kept)?;
            done += wave.len();
            encoding.step(done)?;
        }
        encoding.progress.end("latents");
        Ok((cache, damaged))
    }

    /// This rank's share of a wave.
    fn encode_wave(
        &self,
        base: &BaseModel,
        data: &TrainingSet,
        wave: &[(Place, bool)],
        encoding: Encoding,
    ) -> Result<Vec<Encoded>> {
        let ranks = encoding.ranks;
        let own = &wave[ranks::own(wave.len(), ranks.rank(), ranks.count())];
        let encode = |&(place, flip): &(Place, bool)| {
            match self.encode(base, data, place, flip, encoding.device) {
                // Other ranks may not have what this one has.
                Ok((key, None)) if ranks.count() > 1 => Ok(Encoded::Latents(key, self.store.get(&key)?)),
                Ok((key, values)) => Ok(Encoded::Latents(key, values.unwrap_or_default())),
                Err(error) if is_damage(&error) => Ok(Encoded::Damaged(data.damaged(place.picture, &error))),
                Err(error) => Err(error),
            }
        };
        let parts: Vec<&[(Place, bool)]> = own.chunks(BATCH).collect();
        let encoded =
            in_parallel(parts, encoding.threads, |part| part.iter().map(encode).collect::<Result<Vec<_>>>())?;
        Ok(encoded.into_iter().flatten().collect())
    }

    /// The key of a picture, and its record if the store does not have it.
    fn encode(
        &self,
        base: &BaseModel,
        data: &TrainingSet,
        place: Place,
        mirrored: bool,
        device: &Device,
    ) -> Result<(Key, Option<Vec<f32>>)> {
        let key = self.key(data, place, mirrored)?;
        if self.store.contains(&key) {
            return Ok((key, None));
        }
        let Posterior { mean, std } = posterior_of(base, data.variant(place, mirrored)?, device)?;
        Ok((key, Some([mean, std].concat())))
    }

    fn key(&self, data: &TrainingSet, Place { picture, size }: Place, mirrored: bool) -> Result<Key> {
        let hash = Sha256::new().chain_update(self.model).chain_update(data.pictures().key(picture)?);
        let how = format!("{size:?} {mirrored} {}", self.transform);
        Ok(hash.chain_update(how).finalize().into())
    }

    /// The posterior of the picture at position `n`, and where it stands; damaged ones give their place to the next.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Data` if all are damaged.
    pub fn at(&self, data: &TrainingSet, n: u64) -> Result<(Place, Posterior)> {
        let mirrored = data.is_mirrored(n);
        let kept = |place: Place| Some((place, self.keys.get(&(place, mirrored))?));
        let (place, key) = data
            .places(n)
            .find_map(kept)
            .ok_or_else(|| Error::data("training pictures", "pictures that can be read", "none"))?;
        let values = self.store.get(key)?;
        let (mean, std) = values.split_at(values.len() / 2);
        Ok((place, Posterior { mean: mean.to_vec(), std: std.to_vec() }))
    }
}

/// The posterior of a picture.
///
/// # Errors
/// As [`Vae::posterior`].
pub fn posterior_of(base: &BaseModel, image: image::RgbImage, device: &Device) -> Result<Posterior> {
    let posterior = base.model.vae.posterior(to_tensor(&[image], device)?)?;
    let numbers = |x: Tensor<4>| x.into_data().iter::<f32>().collect::<Vec<f32>>();
    Ok(Posterior { mean: numbers(posterior.mean.clone()), std: numbers(posterior.std()) })
}

/// Whether this is about one picture, and not about the disk or the system.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Format { .. } => true,
        Error::Io { source, .. } => {
            matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData)
        }
        _ => false,
    }
}

/// The features of captions that are the context, CLIP's or T5's, each computed once.
pub struct TextCache {
    store: TensorStore,
    model: Key,
    width: usize,
}

impl TextCache {
    /// Opens the file at `path`, for the text tower of `base`.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(path: &Path, base: &BaseModel, encoding: Encoding) -> Result<Self> {
        let t5 = base.model.text.t5.as_ref().and_then(T5Tower::encoder);
        let of_clip = || weights_key(base.text(), encoding);
        let model = t5.map_or_else(of_clip, |t5| weights_key(t5, encoding));
        Ok(Self { store: TensorStore::open(path)?, model, width: base.model.text.width() })
    }

    /// Encodes those of `captions` that the file lacks.
    ///
    /// # Errors
    /// `Error::Shape` for captions that are longer than the text tower allows; `Error::Io`; `Error::Interrupted`.
    pub fn fill(&mut self, base: &BaseModel, captions: &[String], encoding: Encoding) -> Result<()> {
        let mut seen = HashSet::new();
        let ids = captions.iter().map(|caption| base.context_ids(caption)).collect::<Result<Vec<_>>>()?;
        let is_missing = |ids: &Vec<u32>| !self.store.contains(&self.key(ids)) && seen.insert(ids.clone());
        let missing: Vec<Vec<u32>> = ids.into_iter().filter(is_missing).collect();
        encoding.progress.begin("captions", 0, missing.len());
        let mut done = 0;
        // Captions are few and short beside pictures: every rank reads all of them.
        for wave in missing.chunks(BATCH * encoding.threads.max(1)) {
            let parts: Vec<&[Vec<u32>]> = wave.chunks(BATCH).collect();
            let features = in_parallel(parts, encoding.threads, |ids| {
                let features = base.encode_context(ids)?;
                Ok(features.into_data().iter::<f32>().collect::<Vec<f32>>())
            })?;
            let features: Vec<f32> = features.concat();
            for (ids, features) in wave.iter().zip(features.chunks(features.len() / wave.len())) {
                self.store.put(&self.key(ids), features)?;
            }
            done += wave.len();
            encoding.progress.step(done, "");
        }
        encoding.progress.end("captions");
        if any(encoding.ranks, encoding.progress.interrupted())? {
            return agree(encoding.ranks, Err(Error::Interrupted { step: 0 }));
        }
        Ok(())
    }

    fn key(&self, ids: &[u32]) -> Key {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        Sha256::new().chain_update(self.model).chain_update(bytes).finalize().into()
    }

    /// Features `[B, L, D]` of captions that were filled in.
    ///
    /// # Errors
    /// `Error::Format` for one that was not; `Error::Io`.
    pub fn get(&self, ids: &[Vec<u32>], device: &Device) -> Result<Tensor<3>> {
        let each = ids.iter().map(|ids| self.store.get(&self.key(ids))).collect::<Result<Vec<_>>>()?;
        let values = each.concat();
        let shape = [ids.len(), values.len() / (ids.len() * self.width).max(1), self.width];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }
}

/// A hash of all weights, and of the arithmetic that is done with them.
fn weights_key<M: Module>(network: &M, encoding: Encoding) -> Key {
    let Encoding { device, precision, .. } = encoding;
    let mut hash = Sha256::new();
    hash.update(format!("{} {device:?} {precision:?}", env!("CARGO_PKG_VERSION")));
    for tensor in parameters::named_parameters(network) {
        hash.update(tensor.name);
        hash.update(tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    }
    hash.finalize().into()
}
