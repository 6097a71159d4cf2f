use std::collections::HashMap;

use burn::tensor::Device;

use super::*;
use crate::autoencoder::{AutoencoderConfig, AutoencoderKl};
use crate::checkpoint;
use crate::checkpoint::single_file::{Architecture, Change, KeyLayout, to_single_file};
use crate::denoiser::flux::{Flux, FluxConfig};
use crate::files::{NamedTensor, safetensors};
use crate::nn::{Init, parameters};
use crate::testing::{TempDir, assert_refuses};
use crate::text_encoder::{ClipText, ClipTextConfig, T5Config, T5Encoder};

/// One head of 128, two double blocks and one single block: what is not in the config is unlike any model's.
fn config() -> FluxConfig {
    FluxConfig {
        in_channels: 8,
        out_channels: Some(4),
        num_layers: 2,
        num_single_layers: 1,
        attention_head_dim: 128,
        num_attention_heads: 1,
        joint_attention_dim: 6,
        pooled_projection_dim: 5,
        guidance_embeds: true,
        ..FluxConfig::default()
    }
}

fn tensors(config: &FluxConfig) -> Vec<NamedTensor> {
    parameters::named_parameters(&Flux::new(config, &mut Init::random(5, &Device::flex())).unwrap())
}

/// The folder of the network, as diffusers has it.
fn write_folder(folder: &Path, config: &FluxConfig) {
    safetensors::write(&folder.join("diffusion_pytorch_model.safetensors"), &tensors(config)).unwrap();
    crate::files::atomic::write_json(&folder.join("config.json"), config).unwrap();
}

/// What a file of the original code holds, and nobody's header.
fn original(dir: &TempDir, config: &FluxConfig) -> HashMap<String, NamedTensor> {
    let (folder, file) = (dir.join("folder"), dir.join("own.safetensors"));
    write_folder(&folder, config);
    Checkpoint::open(&folder).unwrap().write(&file).unwrap();
    safetensors::read(&file).unwrap()
}

fn write_file(path: &Path, tensors: &HashMap<String, NamedTensor>) {
    let named =
        |(name, tensor): (&String, &NamedTensor)| NamedTensor { name: name.clone(), ..tensor.clone() };
    safetensors::write(path, &tensors.iter().map(named).collect::<Vec<_>>()).unwrap();
}

fn open(path: &Path) -> Result<Checkpoint> {
    Checkpoint::open(path)
}

fn weights(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let stored = open(path).unwrap().take(ComponentKind::Transformer).unwrap();
    stored.weights.into_iter().map(|(name, tensor)| (name, tensor.to_f32())).collect()
}

#[test]
fn a_file_is_the_folder_under_other_names() {
    let dir = TempDir::new();
    let file = original(&dir, &config());
    assert_eq!(file["double_blocks.0.img_attn.qkv.weight"].shape, [3 * 128, 128]);
    assert_eq!(file["single_blocks.0.linear1.bias"].shape, [7 * 128]);
    let folder = weights(&dir.join("folder"));
    assert_eq!(weights(&dir.join("own.safetensors")), folder);
    // The halves of the last modulation stand the other way round.
    let [there, here] =
        [&file["final_layer.adaLN_modulation.1.bias"].values, &folder["norm_out.linear.bias"]];
    assert_eq!((&there[..128], &there[128..]), (&here[128..], &here[..128]));
    // Without a header that says so, and after a prefix, beside other networks.
    for prefix in PREFIXES {
        let path = dir.join("bare.safetensors");
        let named = |(name, tensor): (&String, &NamedTensor)| (format!("{prefix}{name}"), tensor.clone());
        let mut tensors: HashMap<String, NamedTensor> = file.iter().map(named).collect();
        if !prefix.is_empty() {
            let name = "vae.decoder.conv_in.bias".to_owned();
            tensors.insert(name.clone(), NamedTensor { name, shape: vec![1], values: vec![0.0] });
        }
        write_file(&path, &tensors);
        let mut checkpoint = open(&path).unwrap();
        let expected: &[&str] = if prefix.is_empty() { &[] } else { &["vae.decoder.conv_in.bias"] };
        assert_eq!(checkpoint.left_out, expected);
        let stored = checkpoint.take(ComponentKind::Transformer).unwrap();
        let derived: FluxConfig = serde_json::from_value(stored.config.clone()).unwrap();
        assert_eq!(derived, config());
        assert_eq!(weights(&path), folder);
        checkpoint::denoiser(stored, &Device::flex()).unwrap();
    }
    // Under diffusers' names.
    let bare = dir.join("folder/diffusion_pytorch_model.safetensors");
    let stored = open(&bare).unwrap().take(ComponentKind::Transformer).unwrap();
    assert_eq!(serde_json::from_value::<FluxConfig>(stored.config).unwrap(), config());
}

/// ComfyUI's checkpoints: text encoders and autoencoder under names of their own, and scalars that no network has.
#[test]
fn the_networks_beside_the_transformer_are_read() {
    let dir = TempDir::new();
    let mut tensors: HashMap<String, NamedTensor> = original(&dir, &config())
        .into_iter()
        .map(|(name, t)| (format!("{}{name}", PREFIXES[1]), t))
        .collect();
    let mut add = |name: String, shape: Vec<usize>| {
        let values = vec![0.5; shape.iter().product()];
        tensors.insert(name.clone(), NamedTensor { name, shape, values });
    };
    let init = &mut Init::random(3, &Device::flex());
    let clip = ClipTextConfig {
        vocab_size: 7,
        hidden_size: 64,
        num_attention_heads: 1,
        intermediate_size: 8,
        num_hidden_layers: 1,
        max_position_embeddings: 5,
        ..ClipTextConfig::default()
    };
    for tensor in parameters::named_parameters(&ClipText::new(&clip, init).unwrap()) {
        add(format!("text_encoders.clip_l.transformer.text_model.{}", tensor.name), tensor.shape);
    }
    let t5 = T5Config {
        vocab_size: 9,
        d_model: 8,
        d_kv: 4,
        d_ff: 6,
        num_layers: 1,
        num_heads: 2,
        ..T5Config::default()
    };
    for tensor in parameters::named_parameters(&T5Encoder::new(&t5, init).unwrap()) {
        add(format!("text_encoders.t5xxl.transformer.{}", tensor.name), tensor.shape);
    }
    let vae = AutoencoderConfig {
        block_out_channels: vec![32, 32],
        latent_channels: 16,
        down_block_types: vec!["DownEncoderBlock2D".into(); 2],
        up_block_types: vec!["UpDecoderBlock2D".into(); 2],
        use_quant_conv: false,
        use_post_quant_conv: false,
        mid_block_add_attention: true,
        ..AutoencoderConfig::default()
    };
    let layout = KeyLayout {
        architecture: Architecture::StableDiffusion1,
        layers_per_block: 0,
        attends: vec![],
        vae_levels: 2,
        text_layers: 0,
        text_layers_2: 0,
    };
    for NamedTensor { name, mut shape, .. } in
        parameters::named_parameters(&AutoencoderKl::new(&vae, init).unwrap())
    {
        let source = to_single_file(ComponentKind::Vae, &name, &layout).unwrap();
        if source.change == Change::Squeeze {
            shape.extend([1, 1]);
        }
        add(source.key.replace("first_stage_model.", "vae."), shape);
    }
    add("text_encoders.clip_l.logit_scale".into(), vec![1]);
    add("text_encoders.clip_l.transformer.text_projection.weight".into(), vec![64, 64]);
    add("text_encoders.t5xxl.logit_scale".into(), vec![1]);
    let path = dir.join("whole.safetensors");
    write_file(&path, &tensors);
    let mut checkpoint = open(&path).unwrap();
    assert_eq!(
        checkpoint.left_out,
        [
            "text_encoders.clip_l.logit_scale",
            "text_encoders.clip_l.transformer.text_projection.weight",
            "text_encoders.t5xxl.logit_scale"
        ]
    );
    assert_eq!((checkpoint.tokenizers.len(), checkpoint.has_t5()), (1, true));
    let device = &Device::flex();
    let read =
        checkpoint::text_encoder(checkpoint.take(ComponentKind::TextEncoder).unwrap(), device).unwrap();
    assert_eq!((read.config.hidden_size, read.config.vocab_size), (64, 7));
    let read = checkpoint::t5_encoder(checkpoint.take(ComponentKind::TextEncoder2).unwrap(), device).unwrap();
    assert_eq!((read.config.d_kv, read.config.num_heads, read.config.vocab_size), (4, 2, 9));
    let stored = checkpoint.take(ComponentKind::Vae).unwrap();
    let config = (stored.config["scaling_factor"].as_f64(), stored.config["shift_factor"].as_f64());
    assert_eq!(config, (Some(0.3611), Some(0.1159)));
    assert_eq!(checkpoint::vae(stored, device).unwrap().latent_channels(), 16);
}

#[test]
fn models_of_every_kind_are_known_by_their_tensors() {
    let dir = TempDir::new();
    let known = |config: &FluxConfig| {
        let path = dir.join("bare.safetensors");
        write_file(&path, &original(&dir, config));
        let checkpoint = open(&path).unwrap();
        let stored = &checkpoint.components[&ComponentKind::Transformer];
        let derived: FluxConfig = serde_json::from_value(stored.config.clone()).unwrap();
        assert_eq!(derived, *config);
        checkpoint.scheduler_config().unwrap()
    };
    let schnell = FluxConfig { guidance_embeds: false, ..config() };
    assert_eq!(known(&schnell).option::<f64>("shift").unwrap(), Some(1.0));
    let fill = FluxConfig { in_channels: 384, out_channels: Some(64), ..config() };
    assert_eq!(known(&fill).option::<bool>("use_dynamic_shifting").unwrap(), Some(true));
    for config in [
        FluxConfig { in_channels: 128, out_channels: Some(64), ..config() },
        FluxConfig { in_channels: 64, out_channels: None, ..config() },
        FluxConfig { num_layers: 1, num_single_layers: 0, ..config() },
    ] {
        known(&config);
    }
}

#[test]
fn a_file_that_does_not_fit_is_refused() {
    let dir = TempDir::new();
    let own = original(&dir, &config());
    let path = dir.join("bad.safetensors");
    let refused = |change: &dyn Fn(&mut HashMap<String, NamedTensor>), beginning: &str| {
        let mut changed = own.clone();
        change(&mut changed);
        write_file(&path, &changed);
        let stored = open(&path).and_then(|mut model| model.take(ComponentKind::Transformer));
        let network = stored.and_then(|stored| checkpoint::denoiser(stored, &Device::flex()));
        let message = network.expect_err("refused").to_string();
        assert!(message.contains(beginning), "expected `{beginning}`, got `{message}`");
    };
    let one = |name: &str| NamedTensor { name: name.into(), shape: vec![1], values: vec![0.0] };
    let with = |name: &'static str| {
        move |all: &mut HashMap<String, NamedTensor>| drop(all.insert(name.into(), one(name)))
    };
    let without = |name: &'static str| move |all: &mut HashMap<String, NamedTensor>| drop(all.remove(name));
    refused(&with("single_stream_modulation.lin.weight"), "this is Flux 2; expected");
    refused(&with("double_stream_modulation_img.lin.weight"), "this is Flux 2; expected");
    refused(&with("distilled_guidance_layer.in_proj.bias"), "this is Chroma; expected");
    refused(&with("a.weight"), "tensor `a.weight`: expected a tensor of Flux.1, got [1]");
    refused(
        &without("img_in.weight"),
        "tensor `img_in.weight`: expected a tensor of Flux.1, got no such tensor",
    );
    refused(
        &without("single_blocks.0.linear2.bias"),
        "tensor `single_blocks.0.linear2.bias`: expected a tensor",
    );
    refused(&without("txt_in.bias"), "tensor `txt_in.bias`");
    let nf4 = "img_in.weight.quant_state.bitsandbytes__nf4";
    refused(&with(nf4), "tensor `img_in.weight` is quantised by bitsandbytes (nf4), which is not read");
    // A block in the middle that is not there: what follows belongs to nothing.
    refused(
        &|all| {
            all.retain(|name, _| !name.starts_with("double_blocks.0."));
            all.insert(MARK.into(), NamedTensor { shape: vec![128], values: vec![1.0; 128], ..one(MARK) });
        },
        "tensor `double_blocks.0.",
    );
    let cut = |name: &'static str, shape: Vec<usize>| {
        move |all: &mut HashMap<String, NamedTensor>| {
            let values = vec![0.5; shape.iter().product()];
            all.insert(name.into(), NamedTensor { name: name.into(), shape: shape.clone(), values });
        }
    };
    let qkv = "double_blocks.0.img_attn.qkv.weight";
    refused(
        &cut(qkv, vec![200, 128]),
        "tensor `double_blocks.0.img_attn.qkv.weight`: expected the rows of 3 tensors, 128 each, got [200, 128]",
    );
    refused(
        &cut(qkv, vec![300, 128]),
        "`transformer_blocks.0.attn.to_v.weight`: expected [128, 128], got [44, 128]",
    );
    refused(
        &cut("final_layer.adaLN_modulation.1.bias", vec![255]),
        "tensor `final_layer.adaLN_modulation.1.bias`",
    );
    refused(&cut(MARK, vec![64]), "expected [128], got [64]");
    refused(
        &cut("double_blocks.0.img_attn.norm.query_norm.scale", vec![64]),
        "expected heads of 128 channels",
    );
    refused(
        &cut("img_in.weight", vec![130, 8]),
        "tensor `x_embedder.weight`: expected a multiple of 128 rows, got 130",
    );
}

#[test]
fn a_transformer_alone_is_no_model() {
    let dir = TempDir::new();
    original(&dir, &config());
    for path in ["folder", "own.safetensors"] {
        let path = dir.join(path);
        let model = open(&path).unwrap().into_model(&Device::flex());
        assert_refuses(
            model,
            &format!(
                "cannot read `{}` as model: it has no vae, text_encoder, text_encoder_2; --vae, --text-encoder",
                path.display()
            ),
        );
    }
    // What is written with a config that other weights have is refused.
    let mut checkpoint = open(&dir.join("folder")).unwrap();
    let stored = checkpoint.components.get_mut(&ComponentKind::Transformer).unwrap();
    stored.config["num_layers"] = 1.into();
    let file = dir.join("other.safetensors");
    let error = checkpoint.write(&file).unwrap_err().to_string();
    assert!(error.contains("`transformer_blocks.1.attn.add_k_proj.bias`"), "{error}");
    assert!(!file.exists());
}
