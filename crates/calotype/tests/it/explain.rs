//! What explaining a given picture looks at, and what a choice of heads and steps averages.

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use calotype::Error;
use calotype::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Split};
use calotype::data::tensors::{to_images, to_tensor};
use calotype::diffusion::Rates;
use calotype::diffusion::forward_process::add_noise;
use calotype::diffusion::guidance::Guidance;
use calotype::explain::capture::CrossAttentionCapture;
use calotype::explain::heat_map::{Baseline, word_heat_maps};
use calotype::explain::selection::{Heads, Selection};
use calotype::explain::{Explanation, Options, explain_pictures, explain_selected};
use calotype::model::Model;
use calotype::pipeline::text_to_image::{PictureRequest, Sampling};
use calotype::sampler::{PictureNoise, SamplerKind, SamplerSettings};
use calotype::text_encoder::reading::PromptOptions;

use crate::pipeline::{self, model};

const PROMPT: &str = "a red apple above a cat";

fn request(prompt: &str, image_index: u64) -> PictureRequest {
    PictureRequest::new(prompt, Guidance::new(3.0), image_index)
}

fn sampling(steps: usize) -> Sampling {
    Sampling { sampler: SamplerSettings::new(SamplerKind::Euler, steps), ..pipeline::sampling() }
}

/// Scenes of 32 pixels, `[n, 3, 32, 32]`.
fn pictures(n: u64) -> Tensor<4> {
    let scenes = EmojiScenes::new(EmojiScenesConfig::default()).unwrap();
    let images: Vec<_> = (0..n).map(|i| scenes.scene(Split::HeldOut, i).image).collect();
    to_tensor(&images, &Device::flex()).unwrap()
}

fn of_pictures(
    model: &Model,
    pictures: &Tensor<4>,
    requests: &[PictureRequest],
    steps: usize,
    options: &Options,
) -> Vec<Explanation> {
    let on_step = &mut |_, _| ControlFlow::Continue(());
    explain_pictures(model, pictures, requests, &sampling(steps), None, options, on_step).unwrap()
}

#[test]
fn a_given_picture_is_seen_as_training_sees_it() {
    let (model, picture, requests) = (model(), pictures(1), [request(PROMPT, 3)]);
    // The middles of two halves of T = 1000.
    assert_eq!(model.noise_timesteps(2).unwrap(), [750.0, 250.0]);
    let reading = model.text.read([PROMPT; 2], PromptOptions::default()).unwrap();
    let capture = CrossAttentionCapture::new(vec![vec![0]], 8, 8, reading.rows());
    let z_0 = model.vae.encode_scaled(picture.clone(), None).unwrap();
    let shape = model.latent_shape(32, 32).unwrap();
    let eps = model.noise(&requests, &sampling(2), None).initial(shape, &model.device).unwrap();
    let schedule = model.scheduler.noise_schedule().unwrap();
    let condition = model.text.encode([&[PROMPT], &[PROMPT]], PromptOptions::default()).unwrap();
    for t in [750, 250] {
        let x_t = add_noise(z_0.clone(), eps.clone(), &Rates::at(&schedule, &[t]).unwrap()).unwrap();
        model.denoiser.network.forward(x_t, &[t as f64], &condition, Some(&capture)).unwrap();
    }
    let seen = &capture.finish().unwrap().accumulators[0];
    let expected = word_heat_maps(seen, &reading.words, 32, 32, Baseline::WordMean).unwrap();

    let options = Options { baseline: Baseline::WordMean, ..Options::default() };
    let explained = of_pictures(&model, &picture, &requests, 2, &options).swap_remove(0);
    assert_eq!(explained.maps, expected);
    assert_eq!(explained.image, to_images(picture).unwrap()[0]);
}

#[test]
fn given_pictures_have_the_same_maps_alone_and_in_a_batch() {
    let (model, pictures) = (model(), pictures(2));
    let requests = [request(PROMPT, 0), request("a dog", 7)];
    let options = Options::default();
    let both = of_pictures(&model, &pictures, &requests, 3, &options);
    for (i, (request, in_batch)) in requests.into_iter().zip(both).enumerate() {
        let picture = pictures.clone().narrow(0, i, 1);
        let alone = of_pictures(&model, &picture, &[request], 3, &options).swap_remove(0);
        assert_eq!((alone.maps, alone.texts), (in_batch.maps, in_batch.texts));
    }
}

#[test]
fn a_prompt_that_changes_is_asked_for_at_its_timesteps() {
    let (model, picture) = (model(), pictures(1));
    let explained = |prompt: &str, from: usize, to: usize| {
        let selection = Selection { from, to: Some(to), ..Selection::default() };
        let options = Options { selection, ..Options::default() };
        of_pictures(&model, &picture, &[request(prompt, 0)], 4, &options).swap_remove(0)
    };
    let both = explained("a red [cat:dog:2]", 0, 4);
    let [first, second] = [0, 1].map(|text| both.maps[both.texts[text].maps.clone()].to_vec());
    assert_eq!(first, explained("a red cat", 0, 2).maps);
    assert_eq!(second, explained("a red dog", 2, 4).maps);
    let sum = explained("a cat AND a dog", 0, 1);
    assert_eq!(sum.maps[sum.texts[1].maps.clone()], explained("a dog", 0, 1).maps);
}

#[test]
fn all_heads_by_number_are_all_heads() {
    let (model, picture) = (model(), pictures(1));
    let requests = [request(PROMPT, 0)];
    let heads = *model.denoiser.config.cross_attention_heads().iter().min().unwrap();
    assert!(heads > 1);
    let of = |heads: Heads| {
        let selection = Selection { heads, ..Selection::default() };
        let options = Options { selection, ..Options::default() };
        of_pictures(&model, &picture, &requests, 2, &options).swap_remove(0).maps
    };
    let all = of(Heads::All);
    assert_eq!(of(Heads::Of((0..heads).collect())), all);
    // The mean over all heads lies between those of the halves.
    let halves = [of(Heads::Of((0..heads / 2).collect())), of(Heads::Of((heads / 2..heads).collect()))];
    assert_ne!(halves[0], halves[1]);
    for (word, map) in all.iter().enumerate() {
        for (i, value) in map.values.iter().enumerate() {
            let [a, b] = [&halves[0], &halves[1]].map(|half| half[word].values[i]);
            assert!(*value >= a.min(b) - 1e-6 && *value <= a.max(b) + 1e-6, "{a} {value} {b}");
        }
    }
}

#[test]
fn steps_that_are_kept_are_those_that_are_averaged() {
    let model = model();
    let requests = [request(PROMPT, 0)];
    let selection = Selection { from: 1, ..Selection::default() };
    let explained = |keeps_steps| {
        let options = Options { selection: selection.clone(), keeps_steps, ..Options::default() };
        let on_step = &mut |_, _| ControlFlow::Continue(());
        explain_selected(&model, &requests, &sampling(4), None, &options, on_step).unwrap().swap_remove(0)
    };
    let (kept, averaged) = (explained(true), explained(false));
    assert_eq!((&kept.maps, &kept.image), (&averaged.maps, &averaged.image));
    assert!(averaged.steps.is_empty());
    assert_eq!((kept.steps.len(), kept.grid), (kept.maps.len(), [8, 8]));
    for (map, steps) in kept.maps.iter().zip(&kept.steps) {
        assert_eq!(steps.iter().map(|at| at.step).collect::<Vec<_>>(), [1, 2, 3]);
        // All cells of the latent weigh the same in the picture, 16 pixels each.
        let sum = |values: &[f32]| values.iter().map(|&value| f64::from(value)).sum::<f64>();
        let all: f64 = steps.iter().map(|at| sum(&at.values)).sum();
        let at = |x: usize, y: usize| steps.iter().map(|at| f64::from(at.values[y * 8 + x])).sum::<f64>();
        // Corners of the picture are corners of the latent: edges are repeated.
        for (corner, cell) in [((0, 0), (0, 0)), ((31, 0), (7, 0)), ((0, 31), (0, 7))] {
            let value = f64::from(map.values[corner.1 * 32 + corner.0]);
            let expected = at(cell.0, cell.1) / all / 16.0;
            assert!((value - expected).abs() < 1e-6, "{}: {value} {expected}", map.word);
        }
    }
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    let model = model();
    for count in [0, 1001] {
        let error = model.noise_timesteps(count).unwrap_err();
        assert!(matches!(&error, Error::Argument { name, .. } if name == "steps"), "{error}");
    }
    assert_eq!(model.noise_timesteps(1000).unwrap()[999], 0.0);
    let on_step = &mut |_, _| ControlFlow::Continue(());
    let two = [request(PROMPT, 0), request(PROMPT, 1)];
    let error =
        explain_pictures(&model, &pictures(1), &two, &sampling(2), None, &Options::default(), on_step);
    assert_eq!(error.unwrap_err().to_string(), "picture: expected [2, 3, 32, 32], got [1, 3, 32, 32]");
}
