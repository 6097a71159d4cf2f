//! Weight files that do not fit are refused, with the tensor and both shapes.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use calotype::Error;
use calotype::files::{NamedTensor, safetensors};
use calotype::model::Model;
use calotype::runs::folder::{RunFolder, TrainedPart};

use crate::support::{DIFFUSION, TempDir, components, recipe, session, write_files, write_model};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// The error of loading a model in which `spoil` has changed the U-Net's weight file.
fn error_of(spoil: impl FnOnce(&Path)) -> (Error, PathBuf) {
    let dir = TempDir::new();
    let model = dir.join("model");
    write_model(&model);
    let weights = model.join(UNET);
    spoil(&weights);
    let error = Model::load(&model, &Device::flex()).err().expect("the model is spoilt");
    (error, weights)
}

/// Rewrites a weight file with other tensors.
fn change(path: &Path, change: impl FnOnce(&mut Vec<NamedTensor>)) {
    let mut tensors: Vec<NamedTensor> = safetensors::read(path).unwrap().into_values().collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    change(&mut tensors);
    safetensors::write(path, &tensors).unwrap();
}

#[test]
fn a_file_that_is_not_there() {
    let (error, path) = error_of(|weights| fs::remove_file(weights).unwrap());
    assert!(matches!(&error, Error::Io { action: "read", .. }));
    assert!(error.to_string().starts_with(&format!("cannot read `{}`", path.display())), "{error}");
}

#[test]
fn a_file_that_is_cut_off() {
    let size = components(&["unet"])[Path::new(UNET)].len();
    for length in [0, 1, 8, 1000, size / 2, size - 1] {
        let (error, path) = error_of(|weights| {
            let bytes = fs::read(weights).unwrap();
            fs::write(weights, &bytes[..length]).unwrap();
        });
        assert!(matches!(&error, Error::Format { format: "safetensors", .. }), "{length}: {error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        assert!(error.hint().unwrap().contains("truncated"));
    }
}

#[test]
fn a_header_that_promises_more_than_memory() {
    let (error, _) = error_of(|weights| {
        fs::write(weights, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    });
    assert!(matches!(&error, Error::Format { .. }), "{error}");
}

#[test]
fn a_tensor_of_another_shape() {
    let (error, path) = error_of(|weights| {
        change(weights, |tensors| {
            let tensor = tensors.iter_mut().find(|tensor| tensor.name == "conv_in.weight").unwrap();
            assert_eq!(tensor.shape, [8, 4, 3, 3]);
            tensor.shape = vec![4, 8, 3, 3];
        });
    });
    let expected = format!(
        "cannot load denoiser weights from `{}`\n  tensor `conv_in.weight`: expected [8, 4, 3, 3], got [4, 8, 3, 3]",
        path.display()
    );
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().unwrap().contains("config.json"));
}

#[test]
fn a_tensor_too_few_or_too_many() {
    let (missing, _) =
        error_of(|weights| change(weights, |tensors| tensors.retain(|t| t.name != "conv_out.bias")));
    assert!(
        missing.to_string().ends_with("tensor `conv_out.bias`: expected [4], got no such tensor"),
        "{missing}"
    );

    let (extra, _) = error_of(|weights| {
        change(weights, |tensors| {
            tensors.push(NamedTensor { name: "conv_in.scale".into(), shape: vec![2], values: vec![1.0; 2] });
        });
    });
    assert!(
        extra.to_string().ends_with(
            "tensor `conv_in.scale`: expected no such tensor; the nearest name is `conv_in.bias`, got [2]"
        ),
        "{extra}"
    );

    let (misnamed, _) = error_of(|weights| {
        change(weights, |tensors| {
            tensors
                .iter_mut()
                .filter(|t| t.name == "conv_out.bias")
                .for_each(|t| t.name = "conv_out.bais".into());
        });
    });
    let expected = "expected [4], got no such tensor; the nearest name is `conv_out.bais`";
    assert!(misnamed.to_string().ends_with(expected), "{misnamed}");

    let (nan, _) = error_of(|weights| {
        change(weights, |tensors| {
            tensors.iter_mut().filter(|t| t.name == "conv_out.bias").for_each(|t| t.values[1] = f32::NAN);
        });
    });
    assert!(
        nan.to_string().ends_with("`conv_out.bias`: expected finite numbers, got NaN or infinity"),
        "{nan}"
    );
}

#[test]
fn a_config_of_another_network() {
    let dir = TempDir::new();
    let model = dir.join("model");
    write_model(&model);
    let config = model.join("unet/config.json");
    let text = fs::read_to_string(&config).unwrap();
    let error_with = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        fs::write(&config, text.replace(from, to)).unwrap();
        Model::load(&model, &Device::flex()).err().expect("the config is another")
    };
    let error = error_with("\"cross_attention_dim\": 16", "\"cross_attention_dim\": 24");
    assert!(
        matches!(&error, Error::Weights { tensor, expected, got, .. }
        if tensor.ends_with("to_k.weight") && expected.contains("24") && got.contains("16")),
        "{error}"
    );
    let error = error_with("\"cross_attention_dim\": 16", "\"cross_attention_dim\": ");
    assert!(matches!(&error, Error::Format { path, .. } if *path == config), "{error}");
}

#[test]
fn diffusion_without_a_trained_autoencoder() {
    let dir = TempDir::new();
    let run = RunFolder::new(dir.join("run"));
    write_files(&run.model(), &components(&["text_encoder", "tokenizer"]));
    let error = DIFFUSION.train(&recipe(&[]), session(&run, false)).unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("vae/config.json")), "{error}");
    assert!(!run.checkpoints(TrainedPart::Diffusion).exists());
}
