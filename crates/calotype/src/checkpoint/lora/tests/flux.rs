//! Flux: which rows of which weights a layer's name means, what is refused, and what is left packed.

use std::path::Path;

use burn::tensor::{Bytes, Device, Tensor, TensorData};

use super::*;
use crate::checkpoint::flux_file::names::{Parts, entries};
use crate::checkpoint::lora::target::Target;
use crate::checkpoint::{Checkpoint, StoredComponent, WeightedLora, flux_file};
use crate::denoiser::flux::{Flux, FluxConfig};
use crate::files::fp8::Fp8;
use crate::files::weights::Tensors;
use crate::files::{NamedTensor, Packing, Storage, StoredTensor, safetensors};
use crate::nn::{Init, Linear, parameters};
use crate::testing::TempDir;

/// Two double blocks and one single block, 16 wide; tokens of 8 numbers.
fn config() -> FluxConfig {
    FluxConfig {
        in_channels: 8,
        out_channels: Some(8),
        num_layers: 2,
        num_single_layers: 1,
        attention_head_dim: 8,
        num_attention_heads: 2,
        joint_attention_dim: 12,
        pooled_projection_dim: 10,
        guidance_embeds: true,
        axes_dims_rope: [2, 2, 4],
        ..FluxConfig::default()
    }
}

fn transformer(config: &FluxConfig) -> Shapes {
    let network = Flux::new(config, &mut Init::zeros(&Device::flex())).unwrap();
    parameters::shapes(&network).into_iter().collect()
}

/// The transformer, two layers of CLIP, and two of T5.
fn flux(config: &FluxConfig) -> Model {
    let shapes = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), vec![24, 24])).collect();
    [
        (ComponentKind::Transformer, transformer(config)),
        (
            ComponentKind::TextEncoder,
            shapes(&[
                "text_model.encoder.layers.0.self_attn.q_proj.weight",
                "text_model.embeddings.position_embedding.weight",
            ]),
        ),
        (
            ComponentKind::TextEncoder2,
            shapes(&[
                "encoder.block.0.layer.0.SelfAttention.q.weight",
                "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
            ]),
        ),
    ]
    .into()
}

/// Down and up of plain LoRA under kohya's ends.
fn layer(stem: &str, out: usize, inputs: usize) -> Shapes {
    [("lora_down", vec![2, inputs]), ("lora_up", vec![out, 2])]
        .map(|(role, shape)| (format!("{stem}.{role}.weight"), shape))
        .into()
}

fn assigned(tensors: &Shapes, model: &Model) -> Assignment {
    read(tensors, &BTreeMap::new(), model).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(tensors: &Shapes, model: &Model, pieces: &[&str]) -> Error {
    let error = read(tensors, &BTreeMap::new(), model).unwrap_err();
    for piece in pieces {
        assert!(error.to_string().contains(piece), "no `{piece}` in: {error}");
    }
    error
}

#[test]
fn every_layer_of_black_forest_labs_is_found_in_every_spelling() {
    let model = flux(&config());
    let shapes = &model[&ComponentKind::Transformer];
    let mut found = 0;
    for entry in entries(Parts { double: 2, single: 1, guidance: true }) {
        let Some(name) = entry.key.strip_suffix(".weight") else { continue };
        let target = Target { names: entry.names, swapped: entry.swapped, columns: None };
        let [out, inputs] = target.shape(shapes).unwrap()[..] else { panic!("{target}") };
        for stem in [
            name.to_owned(),
            format!("lora_unet_{}", name.replace('.', "_")),
            format!("lycoris_{}", name.replace('.', "_")),
            format!("diffusion_model.{name}"),
            format!("model.diffusion_model.{name}"),
            format!("transformer.{name}"),
            format!("base_model.model.{name}"),
        ] {
            let got = assigned(&layer(&stem, out, inputs), &model);
            assert_eq!((got.entries.len(), got.unmatched.len()), (1, 0), "{stem}");
            assert_eq!(
                (got.entries[0].component, &got.entries[0].target),
                (ComponentKind::Transformer, &target)
            );
            found += 1;
        }
    }
    assert_eq!(found, 7 * (10 + 2 * 10 + 3));
}

#[test]
fn text_encoders_have_names_of_their_own() {
    let model = flux(&config());
    let (clip, t5) =
        ("text_model.encoder.layers.0.self_attn.q_proj", "encoder.block.0.layer.0.SelfAttention.q");
    let kohya = |name: &str| name.replace('.', "_");
    for (stem, component, target) in [
        (format!("lora_te1_{}", kohya(clip)), ComponentKind::TextEncoder, clip),
        (format!("lora_te_{}", kohya(clip)), ComponentKind::TextEncoder, clip),
        (format!("text_encoder.{clip}"), ComponentKind::TextEncoder, clip),
        (format!("text_encoders.clip_l.transformer.{clip}"), ComponentKind::TextEncoder, clip),
        (format!("clip_l.{clip}"), ComponentKind::TextEncoder, clip),
        // sd-scripts counts as Stable Diffusion 3 does, its first version and OneTrainer as Flux does.
        (format!("lora_te3_{}", kohya(t5)), ComponentKind::TextEncoder2, t5),
        (format!("lora_te2_{}", kohya(t5)), ComponentKind::TextEncoder2, t5),
        (format!("text_encoder_2.{t5}"), ComponentKind::TextEncoder2, t5),
        (format!("text_encoders.t5xxl.transformer.{t5}"), ComponentKind::TextEncoder2, t5),
        (format!("t5.{t5}"), ComponentKind::TextEncoder2, t5),
    ] {
        let got = assigned(&layer(&stem, 24, 24), &model);
        assert_eq!(got.entries[0].component, component, "{stem}");
        assert_eq!(got.entries[0].target, Target::one(format!("{target}.weight")));
    }
    let position = "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding.diff";
    let got = assigned(&[(position.to_owned(), vec![24, 24])].into(), &model);
    assert_eq!(got.entries[0].target, Target::one("text_model.embeddings.position_embedding.weight"));
}

#[test]
fn what_has_no_place_is_named() {
    let model = flux(&config());
    let mut tensors = layer("lora_unet_double_blocks_1_img_attn_qkv", 48, 16);
    tensors.extend(layer("lora_unet_double_blocks_2_img_attn_qkv", 48, 16));
    tensors.insert("lora_te1_text_projection.alpha".into(), vec![]);
    let got = assigned(&tensors, &model);
    assert_eq!(got.entries.len(), 1);
    let expected = ["lora_te1_text_projection.alpha".to_owned()].into_iter();
    let block = layer("lora_unet_double_blocks_2_img_attn_qkv", 48, 16).into_keys();
    assert_eq!(got.unmatched, expected.chain(block).collect::<Vec<_>>());
    // One weight by two names.
    tensors.extend(layer("transformer.transformer_blocks.1.attn.to_k", 16, 16));
    refused(&tensors, &model, &["two of its layers change `transformer_blocks.1.attn.to_k.weight`"]);
}

#[test]
fn loras_of_other_models() {
    let model = flux(&config());
    let clip = layer("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 24, 24);
    for (stem, family) in [
        ("lora_unet_down_blocks_0_attentions_0_proj_in", "a U-Net (Stable Diffusion)"),
        ("lora_unet_input_blocks_4_1_proj_in", "a U-Net (Stable Diffusion)"),
        ("unet.mid_block.attentions.0.proj_in", "a U-Net (Stable Diffusion)"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", "Stable Diffusion 3"),
        ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", "Flux 2"),
        ("diffusion_model.distilled_guidance_layer.in_proj", "Chroma"),
        ("transformer.transformer_blocks.0.img_mlp.net.0.proj", "Qwen-Image"),
        ("diffusion_model.double_blocks.0.img_attn_qkv", "HunyuanVideo"),
    ] {
        // The text encoder's layer would fit.
        let tensors = layer(stem, 16, 16).into_iter().chain(clip.clone()).collect();
        let error =
            refused(&tensors, &model, &[stem, family, "the model's denoiser is the transformer of Flux.1"]);
        assert!(error.hint().is_some_and(|hint| hint.contains("trained for")), "{error}");
    }
    refused(
        &layer("transformer.transformer_blocks.0.attn.to_q", 24, 24),
        &model,
        &[
            "transformer.transformer_blocks.0.attn.to_q.lora_down.weight",
            "transformer_blocks.0.attn.to_q.weight",
            "expected [rank, 16], got [2, 24]",
            "a transformer of width 24, the model's is 16",
        ],
    );
    refused(
        &layer("lora_unet_single_blocks_0_linear1", 96, 16),
        &model,
        &[
            "single_transformer_blocks.0.attn.to_q.weight, single_transformer_blocks.0.attn.to_k.weight",
            "expected [112, 2], got [96, 2]",
        ],
    );
    refused(&layer("lora_unet_blocks_0_cross_attn_q", 16, 16), &model, &["none of its 2 tensors"]);
}

#[test]
fn inputs_of_other_kinds_of_flux() {
    let control = FluxConfig { in_channels: 16, ..config() };
    refused(
        &layer("img_in", 16, 16),
        &flux(&config()),
        &[
            "img_in.lora_down.weight",
            "x_embedder.weight",
            "expected [rank, 8], got [2, 16]",
            "merge it into a model whose in_channels is 16",
        ],
    );
    // What was made for tokens of the latent alone changes the columns that read it.
    for (inputs, columns) in [(8, Some(8)), (16, None)] {
        let got = assigned(&layer("lora_unet_img_in", 16, inputs), &flux(&control));
        assert_eq!(got.entries[0].target, Target { columns, ..Target::one("x_embedder.weight") });
    }
    refused(&layer("img_in", 16, 4), &flux(&control), &["expected [rank, 16], got [2, 4]"]);
}

/// A checkpoint of the transformer, with numbers around 0.
fn checkpoint(config: &FluxConfig) -> Checkpoint {
    let network = Flux::new(config, &mut Init::random(3, &Device::flex())).unwrap();
    let stored = |NamedTensor { name, shape, values }| (name, StoredTensor::from_f32(shape, values).unwrap());
    let weights: Tensors = parameters::named_parameters(&network).into_iter().map(stored).collect();
    let (path, config) = ("flux.gguf".into(), serde_json::to_value(config).unwrap());
    let component = StoredComponent { path, config_path: None, config, weights, left_out: vec![] };
    flux_file::alone(Path::new("flux.gguf"), component, None)
}

/// A LoRA's file, and ΔW of its layers in their order.
fn written(dir: &TempDir, name: &str, layers: &[(&str, usize, usize)]) -> (WeightedLora, Vec<Vec<f32>>) {
    let number = |i: usize| (i * 7 % 11) as f32 / 64.0 - 5.0 / 64.0;
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let values = (0..shape.iter().product()).map(number).collect();
        NamedTensor { name, shape, values }
    };
    let tensors: Vec<_> =
        layers.iter().flat_map(|&(stem, out, inputs)| layer(stem, out, inputs)).map(tensor).collect();
    safetensors::write(&dir.join(name), &tensors).unwrap();
    let change = |&(_, out, inputs): &(&str, usize, usize)| {
        let at = |o: usize, i: usize| number(o * 2) * number(i) + number(o * 2 + 1) * number(inputs + i);
        (0..out * inputs).map(|place| at(place / inputs, place % inputs)).collect()
    };
    (WeightedLora { file: dir.join(name), weight: 0.5 }, layers.iter().map(change).collect())
}

fn sum(before: &[f32], change: &[f32]) -> Vec<f32> {
    before.iter().zip(change).map(|(w, d)| w + 0.5 * d).collect()
}

#[track_caller]
fn assert_close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() <= tolerance * expected.abs().max(1e-2), "{got}, expected {expected}");
    }
}

#[test]
fn packed_weights_that_change_become_f16_and_the_others_stay_packed() {
    let (dir, mut model) = (TempDir::new(), checkpoint(&config()));
    let changed = ["to_q", "to_k", "to_v"].map(|part| format!("transformer_blocks.0.attn.{part}.weight"));
    let other = "transformer_blocks.1.attn.to_q.weight".to_owned();
    let weights = &mut model.components.get_mut(&ComponentKind::Transformer).unwrap().weights;
    for (n, name) in changed.iter().chain([&other]).enumerate() {
        let codes = (0..256).map(|i| (i * 3 + n) as u8 & 0b1011_1111).collect();
        let packing = Packing::Fp8 { format: Fp8::E4m3, scale: 0.25 };
        let tensor = StoredTensor::packed(vec![16, 16], packing, Bytes::from_bytes_vec(codes)).unwrap();
        weights.insert(name.clone(), tensor);
    }
    let before = weights.clone();
    let (lora, changes) =
        written(&dir, "a.safetensors", &[("lora_unet_double_blocks_0_img_attn_qkv", 48, 16)]);
    assert_eq!(model.merge_loras(&[lora]).unwrap()[0].layers, 1);
    let weights = &model.components[&ComponentKind::Transformer].weights;
    for (name, change) in changed.iter().zip(changes[0].chunks(256)) {
        let merged = &weights[name];
        assert!(!merged.is_packed() && merged.storage() == Storage::F16, "{name}");
        assert_close(&merged.to_f32(), &sum(&before[name].to_f32(), change), 1e-3);
        assert_ne!(merged.to_f32(), before[name].to_f32());
    }
    for (name, tensor) in weights.iter().filter(|(name, _)| !changed.contains(name)) {
        assert_eq!((tensor.is_packed(), tensor.to_f32()), (*name == other, before[name].to_f32()), "{name}");
    }
}

/// A fused layer, one of its parts, a modulation whose halves stand the other way round, and a bias, which is no matrix.
#[test]
fn packed_weights_of_a_model_that_computes_stay_packed_with_the_change_beside_them() {
    let (dir, mut model) = (TempDir::new(), checkpoint(&config()));
    let device = Device::flex();
    let stored = model.components.get_mut(&ComponentKind::Transformer).unwrap();
    let packed = |(n, tensor): (usize, &StoredTensor)| {
        let codes = (0..tensor.shape().iter().product::<usize>()).map(|i| (i * 3 + n) as u8 & 0b1011_1111);
        let packing = Packing::Fp8 { format: Fp8::E4m3, scale: 0.25 };
        let bytes = Bytes::from_bytes_vec(codes.collect());
        StoredTensor::packed(tensor.shape().to_vec(), packing, bytes).unwrap()
    };
    for (n, tensor) in stored.weights.values_mut().enumerate() {
        if tensor.shape().len() == 2 {
            *tensor = packed((n, tensor));
        }
    }
    let width = config().width();
    let (fused, _) = written(
        &dir,
        "a.safetensors",
        &[
            ("lora_unet_double_blocks_0_img_attn_qkv", 3 * width, width),
            ("lora_unet_final_layer_adaLN_modulation_1", 2 * width, width),
        ],
    );
    let (single, _) =
        written(&dir, "b.safetensors", &[("transformer.transformer_blocks.0.attn.to_k", width, width)]);
    let loras = [fused, single];
    let mut merged = model.clone();
    merged.store_as(Storage::F32);
    merged.merge_loras(&loras).unwrap();
    let before = model.components[&ComponentKind::Transformer].weights.clone();
    assert_eq!(model.add_loras(&loras).unwrap()[0].layers, 2);
    let (ours, theirs) = (
        &model.components[&ComponentKind::Transformer].weights,
        &merged.components[&ComponentKind::Transformer].weights,
    );
    let mut changed = 0;
    for (name, tensor) in ours {
        assert_eq!(tensor.is_packed(), tensor.shape().len() == 2, "{name}");
        assert_eq!(tensor.to_f32(), theirs[name].to_f32(), "{name}");
        changed += usize::from(tensor.to_f32() != before[name].to_f32());
    }
    assert_eq!(changed, 4);
    // A network computes with the sums.
    let name = "transformer_blocks.0.attn.to_k.weight";
    let x = Tensor::<2>::from_data(
        TensorData::new((0..3 * width).map(|i| (i % 7) as f32).collect(), [3, width]),
        &device,
    );
    let [got, expected] = [ours, theirs].map(|weights| {
        let map = Linear::new(width, width, false, &mut Init::zeros(&device));
        let tensors = [("weight".to_owned(), weights[name].clone())].into();
        let map = parameters::load(map, "map", Path::new("map"), tensors).unwrap();
        map.forward(x.clone()).into_data()
    });
    assert_eq!(got, expected);
}

#[test]
fn several_files_are_rounded_once_whatever_they_have_in_one() {
    let (dir, model) = (TempDir::new(), checkpoint(&config()));
    let (fused, whole) =
        written(&dir, "a.safetensors", &[("lora_unet_double_blocks_0_img_attn_qkv", 48, 16)]);
    let key = "transformer_blocks.0.attn.to_k";
    let (single, part) = written(&dir, "b.safetensors", &[(&format!("transformer.{key}"), 16, 16)]);
    let name = format!("{key}.weight");
    let of =
        |model: &Checkpoint, name: &str| model.components[&ComponentKind::Transformer].weights[name].clone();
    let merged = |loras: &[WeightedLora]| {
        let mut model = model.clone();
        model.store_as(Storage::Bf16);
        model.merge_loras(loras).unwrap();
        model
    };
    let mut before = model.clone();
    before.store_as(Storage::Bf16);
    let exact = sum(&sum(&of(&before, &name).to_f32(), &whole[0][256..512]), &part[0]);
    let expected = StoredTensor::from_f32(vec![16, 16], exact).unwrap().stored_as(Storage::Bf16).to_f32();
    let got = merged(&[fused.clone(), single]);
    assert_close(&of(&got, &name).to_f32(), &expected, 5e-3);
    let differ = of(&got, &name).to_f32().iter().zip(&expected).filter(|(x, y)| x != y).count();
    assert!(differ <= 2, "{differ} numbers were rounded otherwise");
    // The other parts have changed by the first file alone.
    let alone = merged(&[fused]);
    for part in ["to_q", "to_v"] {
        let name = format!("transformer_blocks.0.attn.{part}.weight");
        assert_eq!(of(&got, &name).to_f32(), of(&alone, &name).to_f32());
        assert_ne!(of(&got, &name).to_f32(), of(&before, &name).to_f32());
    }
}

#[test]
fn a_file_that_does_not_fit_leaves_the_model_as_it_was() {
    let (dir, mut model) = (TempDir::new(), checkpoint(&config()));
    let before = model.components[&ComponentKind::Transformer].weights.clone();
    let (good, _) = written(&dir, "a.safetensors", &[("lora_unet_double_blocks_0_img_attn_qkv", 48, 16)]);
    let (bad, _) = written(&dir, "b.safetensors", &[("lora_unet_double_blocks_0_img_attn_qkv", 36, 12)]);
    assert!(model.merge_loras(&[good, bad]).is_err());
    for (name, tensor) in &model.components[&ComponentKind::Transformer].weights {
        assert_eq!(tensor.to_f32(), before[name].to_f32());
    }
}
