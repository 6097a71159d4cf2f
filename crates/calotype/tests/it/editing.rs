//! Prompt-to-prompt: what an edit leaves alone, to the bit, and what it may change.

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use calotype::diffusion::guidance::Guidance;
use calotype::explain::prompt_to_prompt::{Blend, Edit, Edited, WordWeight, edit};
use calotype::files::NamedTensor;
use calotype::files::safetensors;
use calotype::model::Model;
use calotype::pipeline::text_to_image::{PictureRequest, Sampling};
use calotype::sampler::{SamplerKind, SamplerSettings};
use calotype::text_encoder::reading::PromptOptions;

use crate::pipeline::{model, sampling};
use crate::support::{TempDir, write_model};

const SOURCE: &str = "a red apple above a cat";

/// The tiny model with words that have places: its own attention is nearly the same everywhere, and a mask of it is all.
fn model_with_places() -> Model {
    let dir = TempDir::new();
    write_model(&dir.join("model"));
    let path = dir.join("model/unet/diffusion_pytorch_model.safetensors");
    let mut tensors: Vec<NamedTensor> = safetensors::read(&path).unwrap().into_values().collect();
    for tensor in tensors.iter_mut().filter(|tensor| tensor.name.ends_with("attn2.to_k.weight")) {
        tensor.values.iter_mut().for_each(|value| *value *= 100.0);
    }
    safetensors::write(&path, &tensors).unwrap();
    Model::load(&dir.join("model"), &Device::flex()).unwrap()
}

fn request(prompt: &str) -> PictureRequest {
    PictureRequest::new(prompt, Guidance::new(3.0), 7)
}

fn edited(model: &Model, to: &str, sampling: &Sampling, how: &Edit) -> Edited {
    let on_step = &mut |_, _| ControlFlow::Continue(());
    // The number of the second picture under the seed is that of the first.
    let other = PictureRequest { image_index: 1, ..request(to) };
    edit(model, [&request(SOURCE), &other], sampling, None, how, on_step).unwrap()
}

fn plain(model: &Model, prompt: &str, sampling: &Sampling) -> Vec<f32> {
    let on_step = &mut |_, _| ControlFlow::Continue(());
    values(model.sample(&[request(prompt)], sampling, None, None, on_step).unwrap())
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Of source and edited.
fn pair(edited: &Edited) -> [Vec<f32>; 2] {
    [0, 1].map(|i| values(edited.latents.clone().narrow(0, i, 1)))
}

/// Injects so much, blends nothing.
fn shares(cross: f64, self_attention: f64) -> Edit {
    Edit { cross, self_attention, weights: vec![], blend: Blend::Off }
}

fn weight(word: &str, factor: f64) -> Vec<WordWeight> {
    vec![WordWeight { word: word.into(), factor }]
}

/// With noise in every step; over several predictions; with two predictions in a step.
fn samplers() -> [Sampling; 3] {
    [SamplerKind::Ddpm, SamplerKind::DpmPp2M, SamplerKind::Heun]
        .map(|kind| Sampling { sampler: SamplerSettings::new(kind, 5), ..sampling() })
}

#[test]
fn the_source_is_the_picture_without_the_edit() {
    let model = model();
    for sampling in samplers() {
        let edited = edited(&model, "a red dog above a cat", &sampling, &Edit::default());
        assert_eq!(pair(&edited)[0], plain(&model, SOURCE, &sampling));
    }
}

#[test]
fn without_injection_and_blending_the_edited_is_its_own_picture() {
    let model = model();
    for sampling in samplers() {
        let to = "a big red dog above a tree";
        let edited = edited(&model, to, &sampling, &shares(0.0, 0.0));
        assert_eq!(pair(&edited)[1], plain(&model, to, &sampling));
        assert_eq!(edited.mask, None);
    }
}

#[test]
fn the_same_words_with_all_attention_injected_are_the_source() {
    let model = model();
    for sampling in samplers() {
        // A weight of 1 is no weight; it is there because an edit must ask for something.
        let how = Edit { weights: weight("cat", 1.0), ..shares(1.0, 1.0) };
        let [source, same] = pair(&edited(&model, SOURCE, &sampling, &how));
        assert_eq!(same, source);
        let how = Edit { weights: weight("cat", 1.0), ..shares(0.0, 0.0) };
        assert_eq!(pair(&edited(&model, SOURCE, &sampling, &how))[1], source);
        let how = Edit { weights: weight("cat", 3.0), ..shares(1.0, 1.0) };
        assert_ne!(pair(&edited(&model, SOURCE, &sampling, &how))[1], source);
    }
}

#[test]
fn each_kind_of_injection_and_its_share_matter() {
    let (model, to) = (model(), "a red dog above a tree");
    let of = |cross, own| pair(&edited(&model, to, &sampling(), &shares(cross, own)))[1].clone();
    let all = [of(0.0, 0.0), of(1.0, 0.0), of(0.0, 1.0), of(1.0, 1.0), of(0.5, 0.0), of(0.0, 0.5)];
    for (i, a) in all.iter().enumerate() {
        assert!(all[i + 1..].iter().all(|b| a != b), "{i}");
    }
}

#[test]
fn outside_of_the_mask_nothing_changes() {
    let model = model_with_places();
    for sampling in samplers() {
        let edited = edited(&model, "a red apple above a dog", &sampling, &Edit::default());
        assert_eq!(edited.blended, ["cat", "dog"]);
        let [source, new] = pair(&edited);
        let mask = edited.mask.unwrap();
        assert_eq!(mask.size(), (8, 8));
        assert!(!mask.is_empty() && !mask.complement().is_empty() && source != new);
        // In every channel.
        let cells: Vec<bool> = mask.pixels().collect();
        for (i, cell) in cells.iter().cycle().take(source.len()).enumerate() {
            assert!(*cell || source[i] == new[i], "{i}");
        }
    }
}

#[test]
fn an_edit_starts_from_the_noise_that_it_is_given() {
    let model = model();
    let noise: Vec<f32> = (0..4 * 64).map(|i| (i as f32 * 1.3).sin()).collect();
    let noise = Tensor::<4>::from_data(TensorData::new(noise, [1, 4, 8, 8]), &Device::flex());
    let on_step = &mut |_, _| ControlFlow::Continue(());
    let alone = model.sample(&[request(SOURCE)], &sampling(), Some(noise.clone()), None, on_step).unwrap();
    let requests = [&request(SOURCE), &request("a dog")];
    let both = edit(&model, requests, &sampling(), Some(noise), &Edit::default(), on_step).unwrap();
    assert_eq!(pair(&both)[0], values(alone));
}

#[test]
fn prompts_of_several_chunks_are_edited() {
    let model = model();
    let prompts = PromptOptions { chunks: true, ..PromptOptions::default() };
    let sampling = Sampling { prompts, ..sampling() };
    let long = format!("{SOURCE}{}", " and a red tree".repeat(10));
    let same = edited(&model, &long, &sampling, &shares(0.0, 0.0));
    let edited = edited(&model, &long, &sampling, &shares(0.8, 0.4));
    // Both are told as many chunks as the longer has.
    assert_eq!(pair(&edited)[0], pair(&same)[0]);
    assert_ne!(pair(&edited)[1], pair(&same)[1]);
    assert_eq!(edited.words.iter().filter(|word| word.from.is_none()).count(), 40);
    assert!(edited.left_out.is_empty());
}

#[test]
fn an_edit_is_stopped_between_two_steps() {
    let model = model();
    let on_step = &mut |done, _| if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let requests = [&request(SOURCE), &request("a dog")];
    let stopped = edit(&model, requests, &sampling(), None, &Edit::default(), on_step).unwrap_err();
    assert!(matches!(stopped, calotype::Error::Stopped { step: 2, steps: 4 }), "{stopped}");
}
