//! Prompts that change between the steps, and sums of prompts: against what they mean, with small models of random
//! weights.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use calotype::denoiser::{Condition, Denoiser, DenoiserConfig, Unet, UnetConfig};
use calotype::diffusion::guidance::Guidance;
use calotype::explain::heat_map::Baseline;
use calotype::explain::selection::Selection;
use calotype::explain::{Options, explain_selected};
use calotype::model::Model;
use calotype::nn::Init;
use calotype::pipeline::text_to_image::{PictureRequest, Sampling, Sizes};
use calotype::sampler::{Generator, Sampler, SamplerKind, SamplerSettings, Timestep};
use calotype::text_encoder::reading::PromptOptions;

/// Made by diffusers.
fn model(name: &str) -> Model {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/stable_diffusion");
    Model::load(&golden.join(name), &Device::flex()).unwrap()
}

fn sampling(kind: SamplerKind, steps: usize) -> Sampling {
    Sampling {
        sampler: SamplerSettings::new(kind, steps),
        seed: 3,
        generator: Generator::Philox,
        width: 16,
        height: 16,
        sizes: Sizes::default(),
        prompts: PromptOptions::default(),
    }
}

fn request(prompt: &str, scale: f64, image_index: u64) -> PictureRequest {
    PictureRequest::new(prompt, Guidance::new(scale), image_index)
}

fn numbers(x: Tensor<4>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

fn sampled(model: &Model, requests: &[PictureRequest], sampling: &Sampling) -> Vec<f32> {
    let on_step = &mut |_, _| ControlFlow::Continue(());
    numbers(model.sample(requests, sampling, None, None, on_step).unwrap())
}

fn latents(model: &Model, prompt: &str, sampling: &Sampling) -> Vec<f32> {
    sampled(model, &[request(prompt, 5.0, 0)], sampling)
}

fn encoded(model: &Model, text: &str) -> Condition {
    model.text.encode([&[text], &[text]], PromptOptions::default()).unwrap()
}

/// Samples with a network's output that `predict` makes of x, the timestep and the step, counted from 0.
fn by_hand(
    model: &Model,
    sampling: &Sampling,
    predict: impl Fn(&Tensor<4>, f64, usize) -> Tensor<4>,
) -> Vec<f32> {
    let scheduler = model.scheduler.sampled_by(sampling.sampler.kind.class());
    let sampler = Sampler::new(&scheduler, &sampling.sampler).unwrap();
    let mut noise = model.noise(&[request("", 1.0, 0)], sampling, None);
    let shape = model.latent_shape(sampling.width, sampling.height).unwrap();
    let initial = calotype::sampler::PictureNoise::initial(&mut noise, shape, &model.device).unwrap();
    let step = std::cell::Cell::new(0);
    let mut denoise = |x: &Tensor<4>, at: Timestep| Ok(predict(x, at.t, step.get()));
    let mut on_step = |done, _| step.set(done);
    numbers(sampler.sample(initial, &mut noise, &mut denoise, &mut on_step).unwrap())
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(found.len() == expected.len() && largest <= tolerance, "{what}: {largest}");
}

#[test]
fn a_change_at_step_k_is_k_steps_with_one_prompt_and_the_rest_with_the_other() {
    let model = model("sd1");
    let network = &model.denoiser.network;
    let [cat, dog, empty] = ["a red cat", "a red dog", ""].map(|text| encoded(&model, text));
    // Heun asks twice a step; both times for the step's prompt.
    for kind in [SamplerKind::Euler, SamplerKind::Heun, SamplerKind::DpmPp2M] {
        let sampling = sampling(kind, 5);
        let expected = by_hand(&model, &sampling, |x, t, step| {
            let ask = |condition| network.forward(x.clone(), &[t], condition, None).unwrap();
            let cond = ask(if step < 2 { &cat } else { &dog });
            Guidance::new(5.0).apply(cond, ask(&empty), 1.0).unwrap()
        });
        for prompt in ["a red [cat:dog:2]", "a red [cat:dog:0.4]", "a red [cat::2][dog:2]"] {
            assert_eq!(latents(&model, prompt, &sampling), expected, "{kind} {prompt}");
        }
        assert_ne!(latents(&model, "a red [cat:dog:3]", &sampling), expected, "{kind}");
    }
}

#[test]
fn turns_are_taken_step_by_step() {
    let model = model("sd1");
    let network = &model.denoiser.network;
    let [cat, dog, empty] = ["a cat", "a dog", ""].map(|text| encoded(&model, text));
    let sampling = sampling(SamplerKind::Ddim, 5);
    let expected = by_hand(&model, &sampling, |x, t, step| {
        let ask = |condition| network.forward(x.clone(), &[t], condition, None).unwrap();
        let cond = ask(if step % 2 == 0 { &cat } else { &dog });
        Guidance::new(5.0).apply(cond, ask(&empty), 1.0).unwrap()
    });
    assert_eq!(latents(&model, "a [cat|dog]", &sampling), expected);
}

#[test]
fn a_negative_prompt_changes_too() {
    let model = model("sd1");
    let network = &model.denoiser.network;
    let [cat, house, tree] = ["a cat", "a house", "a tree"].map(|text| encoded(&model, text));
    let sampling = sampling(SamplerKind::Euler, 4);
    let expected = by_hand(&model, &sampling, |x, t, step| {
        let ask = |condition| network.forward(x.clone(), &[t], condition, None).unwrap();
        let uncond = ask(if step < 1 { &house } else { &tree });
        Guidance::new(5.0).apply(ask(&cat), uncond, 1.0).unwrap()
    });
    let negative = |text: &str| {
        let request = PictureRequest { negative_prompt: Some(text.into()), ..request("a cat", 5.0, 0) };
        sampled(&model, &[request], &sampling)
    };
    assert_eq!(negative("a [house:tree:0.25]"), expected);
    assert_ne!(negative("a [house:tree:0.5]"), expected);
    // AND is a word there.
    assert_eq!(negative("a house AND a tree"), negative("a house and a tree"));
}

#[test]
fn a_sum_of_prompts_is_the_sum_of_their_predictions() {
    let model = model("sd1");
    let network = &model.denoiser.network;
    let [cat, dog, empty] = ["a cat", "a dog", ""].map(|text| encoded(&model, text));
    let sampling = sampling(SamplerKind::Euler, 4);
    for scale in [5.0, 1.0] {
        let expected = by_hand(&model, &sampling, |x, t, _| {
            let ask = |condition| network.forward(x.clone(), &[t], condition, None).unwrap();
            let (cat, dog, empty) = (ask(&cat), ask(&dog), ask(&empty));
            empty.clone() + (cat - empty.clone()) * scale - (dog - empty) * (0.5 * scale)
        });
        let of = |prompt: &str| sampled(&model, &[request(prompt, scale, 0)], &sampling);
        assert_close(&of("a cat AND a dog :-0.5"), &expected, 2e-4, "by hand");
        let one = of("a cat");
        assert_close(&of("a cat AND a dog:0"), &one, 2e-4, "a weight of 0");
        assert_close(&of("a cat :0.3 AND a cat :0.7"), &one, 2e-4, "halves");
    }
}

#[test]
fn sums_changes_and_plain_prompts_stand_in_one_batch() {
    for name in ["sd1", "sdxl"] {
        let model = model(name);
        let sampling = sampling(SamplerKind::EulerAncestral, 4);
        let prompts =
            ["a cat AND a [dog:house:2] :0.5", "a cat", "a [cat|dog]", "(a:1.2) dog AND b AND c :0.1"];
        let requests: Vec<_> = prompts.iter().zip(0..).map(|(prompt, i)| request(prompt, 5.0, i)).collect();
        let batch = sampled(&model, &requests, &sampling);
        let each = batch.chunks(batch.len() / requests.len());
        for (latents, request) in each.zip(&requests) {
            let alone = sampled(&model, std::slice::from_ref(request), &sampling);
            assert_eq!(latents, alone, "{name} {}", request.prompt);
        }
    }
}

#[test]
fn prompts_of_many_chunks_and_plain_ones() {
    let model = model("sd1");
    let sampling = sampling(SamplerKind::Euler, 3);
    let long = "a red cat ".repeat(40);
    let chunks = PromptOptions { chunks: true, clip_skip: 1, ..PromptOptions::default() };
    let chunked = Sampling { prompts: chunks, ..sampling.clone() };
    // All of it from the first step, so nothing changes: the same number of chunks at every step.
    let same = |prompt: &str| latents(&model, &prompt.replace('@', &long), &chunked);
    assert_eq!(same("[@ BREAK a dog:0]"), same("@ BREAK a dog"));
    assert_ne!(same("[@ BREAK a dog:1]"), same("@ BREAK a dog"));
    let plain = PromptOptions { plain: true, ..PromptOptions::default() };
    let plain = Sampling { prompts: plain, ..sampling.clone() };
    for (prompt, escaped) in [("a [cat:dog:0.5]", r"a \[cat:dog:0.5\]"), ("a [cat|dog]", r"a \[cat\|dog\]")] {
        assert_eq!(latents(&model, prompt, &plain), latents(&model, escaped, &sampling), "{prompt}");
    }
    assert_eq!(latents(&model, "a cat AND a dog", &plain), latents(&model, "a cat and a dog", &sampling));
    // Square brackets with neither `:` nor `|` are emphasis.
    let weighted = format!("a (cat:{})", 1.0 / 1.1);
    assert_close(
        &latents(&model, "a [cat]", &sampling),
        &latents(&model, &weighted, &sampling),
        1e-6,
        "[cat]",
    );
}

#[test]
fn texts_are_encoded_as_each_by_itself() {
    for name in ["sd1", "sdxl"] {
        let model = model(name);
        let texts: Vec<String> = (0..40).map(|i| format!("{i} cats and (a dog:{})", 1 + i % 3)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let all = model.text.encode([&texts, &texts], PromptOptions::default()).unwrap();
        assert_eq!(all.context.dims()[0], 40);
        for (i, text) in texts.iter().enumerate() {
            let (one, alone) = (all.samples(&[i]), encoded(&model, text));
            assert_eq!(one.context.into_data(), alone.context.into_data(), "{name} {text}");
            assert_eq!(
                one.pooled.map(Tensor::into_data),
                alone.pooled.map(Tensor::into_data),
                "{name} {text}"
            );
        }
    }
}

#[test]
fn what_cannot_be_read_is_refused() {
    let model = model("sd1");
    let nested = format!("{}a{}", "[".repeat(100), ":b:3]".repeat(100));
    for (prompt, beginning) in [
        (nested.as_str(), "prompt: expected at most 32 brackets with changes"),
        ("a cat AND ", "prompt: expected a prompt on both sides of AND"),
    ] {
        let on_step = &mut |_, _| ControlFlow::Continue(());
        let requests = [request(prompt, 5.0, 0)];
        let error =
            model.sample(&requests, &sampling(SamplerKind::Euler, 2), None, None, on_step).unwrap_err();
        assert!(error.to_string().starts_with(beginning), "{error}");
    }
    let second = [Some("a cat AND a dog AND a house".to_owned()), None];
    let requests = [PictureRequest { second_prompts: second, ..request("a cat AND a dog", 5.0, 0) }];
    let on_step = &mut |_, _| ControlFlow::Continue(());
    let error = model.sample(&requests, &sampling(SamplerKind::Euler, 2), None, None, on_step).unwrap_err();
    assert_eq!(error.to_string(), "second prompt: expected as many prompts as the first encoder's, 2, got 3");
}

/// Such a network predicts nothing without a prompt.
#[test]
fn a_model_that_was_distilled_with_guidance_refuses_sums() {
    let mut model = model("sd1");
    let DenoiserConfig::Unet(config) = &model.denoiser.config else { panic!("sd1 has a U-Net") };
    let distilled = UnetConfig { time_cond_proj_dim: Some(8), ..config.clone() };
    let network = Unet::new(&distilled, &mut Init::random(0, &Device::flex())).unwrap();
    model.denoiser.network = Denoiser::Unet(network);
    let sampling = sampling(SamplerKind::Lcm, 2);
    let on_step = &mut |_, _| ControlFlow::Continue(());
    let requests = [request("a cat AND a dog", 5.0, 0)];
    let error = model.sample(&requests, &sampling, None, None, on_step).unwrap_err().to_string();
    assert!(error.starts_with("prompt: expected no AND: the model was distilled with guidance"), "{error}");
    let plain = PromptOptions { plain: true, ..PromptOptions::default() };
    sampled(&model, &requests, &Sampling { prompts: plain, ..sampling });
}

#[test]
fn the_maps_of_a_text_are_those_of_the_steps_at_which_it_is_shown() {
    let model = model("sd1");
    let sampling = sampling(SamplerKind::Euler, 4);
    let explained = |prompt: &str, to: Option<usize>| {
        let selection = Selection { to, ..Selection::default() };
        let on_step = &mut |_, _| ControlFlow::Continue(());
        let requests = [request(prompt, 5.0, 0)];
        let options = Options { baseline: Baseline::WordMean, selection, ..Options::default() };
        explain_selected(&model, &requests, &sampling, None, &options, on_step).unwrap().swap_remove(0)
    };
    let both = explained("a red [cat:dog:2]", None);
    let words: Vec<&str> = both.maps.iter().map(|map| map.word.as_str()).collect();
    assert_eq!(words, ["a", "red", "cat", "a", "red", "dog"]);
    let texts: Vec<_> = both.texts.iter().map(|text| (text.text.as_str(), text.steps.clone())).collect();
    assert_eq!(texts, [("a red cat", vec![0, 1]), ("a red dog", vec![2, 3])]);
    // Until the change it is the same run.
    assert_eq!(both.maps[both.texts[0].maps.clone()], explained("a red cat", Some(2)).maps);
    assert_eq!(explained("a red [cat:dog:2]", Some(2)).maps, explained("a red cat", Some(2)).maps);
    let turns = explained("a [cat|dog]", None);
    let steps: Vec<_> = turns.texts.iter().map(|text| text.steps.clone()).collect();
    assert_eq!(steps, [[0, 2], [1, 3]]);
    let sum = explained("a cat AND a dog", Some(1));
    // The first step sees the same latents whatever the prompt.
    assert_eq!(sum.maps[sum.texts[0].maps.clone()], explained("a cat", Some(1)).maps);
    assert_eq!(sum.maps[sum.texts[1].maps.clone()], explained("a dog", Some(1)).maps);
}
