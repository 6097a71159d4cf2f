//! CLIP with captions whose nouns are exchanged as wrong answers.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use calotype::files::safetensors;
use calotype::runs::folder::RunFolder;
use calotype::text_encoder::contrastive_loss::{info_nce, siglip};
use calotype::trainer::Recipe;

use crate::support::{CLIP, TempDir, recipe, session};

fn zeros(shape: [usize; 2]) -> Tensor<2> {
    Tensor::zeros(shape, &Device::flex())
}

#[test]
fn who_knows_nothing_has_more_to_choose_from() {
    let number = |x: Tensor<1>| x.into_scalar::<f32>();
    let loss = info_nce(zeros([4, 4]), Some(zeros([4, 3]))).unwrap();
    assert!((number(loss.image_to_text) - 7f32.ln()).abs() < 1e-6);
    assert!((number(loss.text_to_image) - 4f32.ln()).abs() < 1e-6);
    let loss = siglip(zeros([4, 4]), Some(zeros([4, 3]))).unwrap();
    assert!((number(loss) - 7.0 * 2f32.ln()).abs() < 1e-5);

    // What nobody would choose costs nothing.
    let logits = Tensor::<2>::from_data([[1.0, -0.5], [0.25, 2.0]], &Device::flex());
    let never = Some(zeros([2, 3]) - 200.0);
    let of = |wrong| number(info_nce(logits.clone(), wrong).unwrap().total());
    assert_eq!(of(never.clone()), of(None));
    let of = |wrong| number(siglip(logits.clone(), wrong).unwrap());
    assert_eq!(of(never), of(None));
}

/// The text tower's first layer after one step of eight scenes.
fn trained(dir: &TempDir, name: &str, clip: &str, training: &str) -> Vec<f32> {
    let recipe: Recipe = recipe(&[
        ("max_objects = 1", "max_objects = 2"),
        ("patch_size = 16", clip),
        ("steps = 20\nbatch_size = 4\nlearning_rate = 2e-3\nwarm_up = 5", training),
    ]);
    let run = RunFolder::new(dir.join(name));
    CLIP.train(&recipe, session(&run, false)).unwrap();
    let weights = safetensors::read(&run.model().join(Path::new("clip/model.safetensors"))).unwrap();
    weights["text_model.encoder.layers.0.self_attn.v_proj.weight"].values.clone()
}

#[test]
fn they_change_what_is_learned_and_parts_do_not() {
    let dir = TempDir::new();
    let with = "patch_size = 16\nexchanged_captions = true";
    // Plain descent, whose step is the gradient: Adam's first step is its sign.
    let steps = |parts: usize| {
        format!(
            "steps = 1\nbatch_size = 8\nparts = {parts}\nlearning_rate = 1e-3\nwarm_up = 0\n\
             optimizer = {{ epsilon = 1e3 }}"
        )
    };
    let whole = trained(&dir, "whole", with, &steps(1));
    let parted = trained(&dir, "parted", with, &steps(4));
    let plain = trained(&dir, "plain", "patch_size = 16", &steps(1));
    let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest(&whole, &plain) > 20.0 * largest(&whole, &parted));
}
