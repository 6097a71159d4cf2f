use std::cell::RefCell;

use burn::tensor::{Device, TensorData};

use super::*;
use crate::nn::parameters;
use crate::testing::assert_refuses;

fn config() -> FluxConfig {
    FluxConfig {
        in_channels: 8,
        num_layers: 1,
        num_single_layers: 1,
        attention_head_dim: 8,
        num_attention_heads: 2,
        joint_attention_dim: 6,
        pooled_projection_dim: 5,
        guidance_embeds: true,
        axes_dims_rope: [2, 2, 4],
        ..FluxConfig::default()
    }
}

fn flux(config: &FluxConfig) -> Flux {
    Flux::new(config, &mut Init::random(3, &Device::flex())).unwrap()
}

fn numbers<const D: usize>(shape: [usize; D], step: f32) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * step).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Of `b` samples with three tokens of text.
fn condition(b: usize) -> Condition {
    Condition {
        pooled: Some(numbers([b, 5], 0.9)),
        guidance: Some((0..b).map(|i| 3.5 + i as f64).collect()),
        ..Condition::of_context(numbers([b, 3, 6], 1.3))
    }
}

/// The names of the parameters are diffusers' keys.
#[test]
fn parameters_are_named_as_in_diffusers() {
    let names: Vec<String> = parameters::shapes(&flux(&config())).into_iter().map(|(name, _)| name).collect();
    for name in [
        "time_text_embed.timestep_embedder.linear_1.weight",
        "time_text_embed.guidance_embedder.linear_2.bias",
        "time_text_embed.text_embedder.linear_1.weight",
        "transformer_blocks.0.norm1_context.linear.weight",
        "transformer_blocks.0.attn.add_k_proj.bias",
        "transformer_blocks.0.attn.norm_added_q.weight",
        "transformer_blocks.0.attn.to_out.0.weight",
        "transformer_blocks.0.ff.net.0.proj.weight",
        "transformer_blocks.0.ff_context.net.2.bias",
        "single_transformer_blocks.0.norm.linear.weight",
        "single_transformer_blocks.0.proj_mlp.weight",
        "norm_out.linear.weight",
        "proj_out.bias",
    ] {
        assert!(names.iter().any(|known| known == name), "no `{name}`");
    }
    // FLUX.1-dev has 1160 tensors, schnell four less.
    let blocks = |double: usize, single: usize, guidance_embeds: bool| {
        let config =
            FluxConfig { num_layers: double, num_single_layers: single, guidance_embeds, ..config() };
        parameters::shapes(&flux(&config)).len()
    };
    assert_eq!((blocks(19, 38, true), blocks(19, 38, false)), (1160, 1156));
    assert!(blocks(0, 1, true) < blocks(1, 0, true));
}

#[test]
fn a_sample_does_not_see_its_batch() {
    let (flux, x, condition) = (flux(&config()), numbers([2, 2, 4, 6], 0.37), condition(2));
    let both = flux.forward(x.clone(), &[500.0, 900.0], &condition, None).unwrap();
    assert_eq!(both.dims(), [2, 2, 4, 6]);
    let alone = flux.forward(x.narrow(0, 1, 1), &[900.0], &condition.samples(&[1]), None).unwrap();
    assert_eq!(alone.into_data(), both.narrow(0, 1, 1).into_data());
}

/// What another guidance, text, pooled text, noise level and place of a token say, changes the answer.
#[test]
fn everything_that_is_told_is_heard() {
    let flux = flux(&config());
    let (tokens, told) = (numbers([1, 6, 8], 0.37), condition(1));
    let at = |t: f64, condition: &Condition, positions: &Positions| {
        let output = flux.predict(tokens.clone(), &[t], condition, positions, None).unwrap();
        output.into_data().iter::<f32>().collect::<Vec<_>>()
    };
    let here = Positions::new(3, 2, 3);
    let plain = at(500.0, &told, &here);
    let guided = Condition { guidance: Some(vec![4.0]), ..told.clone() };
    let pooled = Condition { pooled: Some(numbers([1, 5], 0.8)), ..told.clone() };
    let text = Condition { context: numbers([1, 3, 6], 1.2), ..told.clone() };
    let beside =
        Positions { picture: here.picture.iter().map(|&[_, y, x]| [1.0, y, x]).collect(), ..here.clone() };
    let others = [
        at(501.0, &told, &here),
        at(500.0, &guided, &here),
        at(500.0, &pooled, &here),
        at(500.0, &text, &here),
        at(500.0, &told, &Positions::new(3, 3, 2)),
        at(500.0, &told, &beside),
    ];
    for (i, other) in others.iter().enumerate() {
        // All of a picture moved alike is the same to itself, but not to the text, which stands at the origin.
        assert_ne!(*other, plain, "change {i}");
    }
}

/// Keeps what it is shown.
#[derive(Default)]
struct Seen(RefCell<Vec<(usize, usize, Tensor<4>)>>);

impl AttentionHook for Seen {
    fn cross_attention(&self, height: usize, width: usize, probabilities: &Tensor<4>) {
        self.0.borrow_mut().push((height, width, probabilities.clone()));
    }
}

#[test]
fn a_hook_sees_what_the_picture_reads_of_the_text_and_changes_nothing() {
    let (flux, x, condition) = (flux(&config()), numbers([2, 2, 4, 6], 0.37), condition(2));
    let seen = Seen::default();
    let watched = flux.forward(x.clone(), &[500.0, 900.0], &condition, Some(&seen)).unwrap();
    let plain = flux.forward(x, &[500.0, 900.0], &condition, None).unwrap();
    let largest: f32 = (watched - plain).abs().max().into_scalar();
    assert!(largest < 1e-6, "differs by {largest}");
    let seen = seen.0.into_inner();
    assert_eq!(seen.len(), 2, "one double block, one single block");
    for (height, width, probabilities) in seen {
        assert_eq!((height, width, probabilities.dims()), (2, 3, [2, 2, 6, 3]));
        for sum in probabilities.sum_dim(3).into_data().iter::<f32>() {
            assert!(sum > 0.01 && sum < 0.99, "the picture reads {sum} of its attention in the text");
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let flux = flux(&config());
    let x = || numbers([1, 2, 4, 6], 0.37);
    let ask = |x: Tensor<4>, times: &[f64], condition: &Condition| flux.forward(x, times, condition, None);
    let told = condition(1);
    assert_refuses(ask(numbers([1, 3, 4, 6], 0.1), &[1.0], &told), "Flux sample: expected [B, 2, H, W]");
    assert_refuses(ask(numbers([1, 2, 3, 6], 0.1), &[1.0], &told), "Flux sample: expected even height");
    assert_refuses(ask(x(), &[1.0, 2.0], &told), "Flux condition: expected 1 timesteps");
    let of = |change: &dyn Fn(&mut Condition)| {
        let mut told = told.clone();
        change(&mut told);
        ask(x(), &[1.0], &told)
    };
    let context = |told: &mut Condition| told.context = numbers([1, 3, 7], 0.1);
    assert_refuses(of(&context), "Flux condition: expected 1 timesteps and context [1, L ≥ 1, 6]");
    let pooled = |told: &mut Condition| told.pooled = Some(numbers([1, 6], 0.1));
    assert_refuses(of(&pooled), "Flux condition: expected pooled text [1, 5], got [1, 6]");
    assert_refuses(of(&|told| told.pooled = None), "Flux condition: expected pooled text [1, 5], got none");
    assert_refuses(of(&|told| told.guidance = None), "Flux guidance: expected 1 guidance scales");
    let short = Positions::new(3, 1, 3);
    let tokens = flux.predict(numbers([1, 6, 8], 0.1), &[1.0], &told, &short, None);
    assert_refuses(tokens, "Flux tokens: expected [B, S ≥ 1, 8] and 6 positions");
    let text = flux.predict(numbers([1, 6, 8], 0.1), &[1.0], &told, &Positions::new(2, 2, 3), None);
    assert_refuses(text, "positions of the text: expected 3");
    // schnell does not look.
    let schnell = super::tests::flux(&FluxConfig { guidance_embeds: false, ..config() });
    let unguided = Condition { guidance: None, ..told.clone() };
    let [with, without] =
        [&told, &unguided].map(|told| schnell.forward(x(), &[1.0], told, None).unwrap().into_data());
    assert_eq!(with, without);
}
