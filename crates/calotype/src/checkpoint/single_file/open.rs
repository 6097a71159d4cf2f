//! A single file in the original layout.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::checkpoint::single_file::{self, Architecture, Change, Recognised, Target, averaged};
use crate::checkpoint::{CONFIGS, Checkpoint, SCHEDULER, StoredComponent, Taken, flux_file};
use crate::error::{Error, Result};
use crate::files::StoredTensor;
use crate::files::weights::{self, Tensors};
use crate::model::ComponentKind;
use crate::text_encoder::tokenizer::{ClipTokenizer, Padding};

const FORMAT: &str = "Stable Diffusion in one file";

/// Opens a file of the original code, or one of Flux.
pub fn open(path: &Path) -> Result<Checkpoint> {
    let mut tensors = weights::open(path)?;
    if let Some(naming) = flux_file::naming(&tensors) {
        return flux_file::open(path, tensors, naming);
    }
    let averages = put_averages(&mut tensors);
    let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    let mut recognised =
        single_file::recognise(&shapes).map_err(|reason| Error::format(path, FORMAT, reason))?;
    settle_prediction(&mut recognised, &tensors);
    let unexpected = single_file::unexpected(&shapes, &recognised);
    if let Some(key) = unexpected.first() {
        let expected = format!("a tensor of {}", recognised.architecture);
        let more = if unexpected.len() > 1 {
            format!(" (and {} more)", unexpected.len() - 1)
        } else {
            String::new()
        };
        return Err(Error::weights("single-file", path, key, expected, format!("{:?}{more}", shapes[*key])));
    }
    let left_out = single_file::left_out(&shapes, &recognised);
    let mut components: BTreeMap<ComponentKind, Tensors> = BTreeMap::new();
    for key in shapes.keys() {
        let targets = single_file::from_single_file(key, &recognised);
        let Some(tensor) = tensors.remove(key) else { continue };
        match <[Target; 1]>::try_from(targets) {
            // Nothing is copied.
            Ok([Target { component, name, change: Change::None }]) => {
                components.entry(component).or_default().insert(name, tensor);
            }
            Ok([target]) => insert_changed(path, key, &tensor, &[target], &mut components)?,
            Err(targets) => insert_changed(path, key, &tensor, &targets, &mut components)?,
        }
    }
    let Recognised { architecture, configs, .. } = recognised;
    let written = written_configs(path)?;
    let taken = Taken { scheduler_of: written.scheduler.is_none().then_some(architecture), averages };
    let scheduler = written.scheduler.unwrap_or_else(|| format!("{:#}\n", configs.scheduler));
    let configs = [
        (ComponentKind::Unet, Some(configs.unet)),
        (ComponentKind::Vae, Some(configs.vae)),
        (ComponentKind::TextEncoder, Some(configs.text_encoder)),
        (ComponentKind::TextEncoder2, configs.text_encoder_2),
    ]
    .into_iter()
    .filter_map(|(component, config)| Some((component, config?)));
    let stored = |(component, config): (ComponentKind, Value)| {
        let weights = components.remove(&component).unwrap_or_default();
        let config = written.configs.get(component.folder()).cloned().unwrap_or(config);
        let (path, left_out) = (path.to_owned(), vec![]);
        (component, StoredComponent { path, config_path: None, config, weights, left_out })
    };
    let components: BTreeMap<ComponentKind, StoredComponent> = configs.map(stored).collect();
    Ok(Checkpoint {
        path: path.to_owned(),
        tokenizers: tokenizers(architecture)?,
        t5_tokenizer: None,
        scheduler,
        force_zeros_for_empty_prompt: components.contains_key(&ComponentKind::TextEncoder2),
        components,
        left_out,
        taken,
    })
}

/// Puts the averages of a U-Net's weights in the place of the weights, if these are not there; whether it did.
fn put_averages(tensors: &mut Tensors) -> bool {
    if tensors.keys().any(|key| key.starts_with("model.diffusion_model.")) {
        return false;
    }
    let averages: Tensors = tensors
        .extract_if(|key, _| averaged::key(key).is_some())
        .filter_map(|(key, tensor)| Some((averaged::key(&key)?, tensor)))
        .collect();
    let any = !averages.is_empty();
    tensors.extend(averages);
    any
}

/// What the header of a file that we wrote says, and names and shapes do not.
#[derive(Default)]
pub(in crate::checkpoint) struct Written {
    /// `config.json` by folder.
    pub configs: BTreeMap<String, Value>,
    /// The text of `scheduler_config.json`.
    pub scheduler: Option<String>,
}

pub(in crate::checkpoint) fn written_configs(path: &Path) -> Result<Written> {
    let metadata = weights::read_metadata(path)?;
    let configs = metadata.get(CONFIGS).map(|text| serde_json::from_str(text)).transpose();
    let configs =
        configs.map_err(|e| Error::format(path, FORMAT, format!("`{CONFIGS}` in its header: {e}")))?;
    Ok(Written { configs: configs.unwrap_or_default(), scheduler: metadata.get(SCHEDULER).cloned() })
}

/// Puts what `targets` make of a tensor where they say.
fn insert_changed(
    path: &Path,
    key: &str,
    tensor: &StoredTensor,
    targets: &[Target],
    components: &mut BTreeMap<ComponentKind, Tensors>,
) -> Result<()> {
    let bytes = tensor.bytes();
    let (halves, words) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
    for Target { component, name, change } in targets {
        let changed = match tensor.storage().size() {
            2 => change.apply(tensor.shape(), halves).map(|(shape, v)| (shape, v.as_flattened().to_vec())),
            _ => change.apply(tensor.shape(), words).map(|(shape, v)| (shape, v.as_flattened().to_vec())),
        };
        let changed = changed
            .map(|(shape, bytes)| StoredTensor::copied(shape, tensor.storage(), &bytes))
            .map_err(|reason| Error::format(path, FORMAT, format!("tensor `{key}`: {reason}")))?;
        let changed = changed.expect("as many numbers as the shape says: the change has checked");
        components.entry(*component).or_default().insert(name.clone(), changed);
    }
    Ok(())
}

/// Asks the weights themselves where names do not tell; untrained ones say nothing.
fn settle_prediction(recognised: &mut Recognised, tensors: &Tensors) {
    let evidence = recognised.prediction.evidence.as_ref().and_then(|key| tensors.get(key));
    let values = evidence.map(StoredTensor::to_f32).unwrap_or_default();
    if values.iter().any(|value| *value != values[0]) {
        recognised.settle_prediction(&values);
    }
}

/// A single file has no tokenizer: all of these families have OpenAI's. OpenCLIP's towers were trained with
/// texts padded by id 0.
fn tokenizers(architecture: Architecture) -> Result<Vec<ClipTokenizer>> {
    let paddings: &[Padding] = match architecture {
        Architecture::StableDiffusion1 => &[Padding::End],
        Architecture::StableDiffusion2 => &[Padding::Zero],
        Architecture::StableDiffusionXl => &[Padding::End, Padding::Zero],
    };
    paddings.iter().map(|&padding| ClipTokenizer::openai(padding)).collect()
}
