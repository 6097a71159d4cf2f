//! The check before the first step finds the faults that are planted here, and no others.

use std::fs;
use std::ops::Range;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use calotype::nn::{Init, Linear};
use calotype::rng::{Philox, Purpose};
use calotype::runs::folder::{RunFolder, TrainedPart, files_by_steps};
use calotype::trainer::Session;
use calotype::trainer::batch::Batch;
use calotype::trainer::denoiser::{self, base_model::BaseModel};
use calotype::trainer::objective::{Blind, Input, InputKind, Number, Objective, ShareLoss};
use calotype::trainer::preflight::{Findings, check};
use calotype::trainer::recipe::TrainingRecipe;
use calotype::{Error, Result};

use crate::support::{DIFFUSION, TempDir, components, recipe, scenes, session, write_files};

/// What is wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Nothing,
    DetachedTerm,
    FrozenLayer,
    ZeroAtTheStart,
    UnscaledLatents,
    PictureLevels,
    UnitPictures,
    NotANumber,
    EmptyCaptions,
    EqualCaptions,
}

/// Two layers, of which the second may be left out of the loss.
#[derive(Module, Debug)]
struct Layers {
    first: Linear,
    second: Linear,
}

/// Two terms over a layer each.
struct Planted {
    training: TrainingRecipe,
    fault: Fault,
}

impl Objective<Layers> for Planted {
    type Share = ();
    type Settings = ();

    fn part(&self) -> TrainedPart {
        TrainedPart::Diffusion
    }

    fn training(&self) -> &TrainingRecipe {
        &self.training
    }

    fn settings(&self) {}

    fn logged(&self) -> Vec<&'static str> {
        vec!["loss"]
    }

    fn prepare(&self, _: usize, _: Range<usize>) -> Result<Batch<()>> {
        let captions: &[&str] = match self.fault {
            Fault::EmptyCaptions => &["", " ", ""],
            Fault::EqualCaptions => &["a cat", "a cat", "a cat"],
            _ => &["a cat", "a dog", "a cat"],
        };
        let captions = captions.iter().map(|&caption| caption.to_owned()).collect();
        let items = ["one", "two", "three", "four"].map(str::to_owned).to_vec();
        Ok(Batch { shares: vec![()], first: 0, of: 1, items, captions, damaged: vec![] })
    }

    fn loss(&self, network: &Layers, _: usize, (): &()) -> Result<ShareLoss> {
        let x = Tensor::<2>::ones([4, 3], &Device::flex()).autodiff();
        let x = if self.fault == Fault::NotANumber { x.log() / 0.0 } else { x };
        let near = network.first.forward(x.clone()).square().mean();
        let far = match self.fault {
            Fault::DetachedTerm => network.second.forward(x).detach().square().mean(),
            Fault::FrozenLayer => network.first.forward(x).abs().mean(),
            // As a LoRA's A and B are: this factor is zero at the start, and so is the gradient of the other.
            Fault::ZeroAtTheStart => {
                (network.second.forward(x) * (network.first.weight.val().slice([0..1, 0..1]))).sum()
            }
            _ => network.second.forward(x).square().mean(),
        };
        let total = near.clone() + far.clone();
        let logged = vec![Number::of(&total)];
        Ok(ShareLoss { total, terms: vec![("near", near), ("far", far)], logged })
    }

    fn inputs(&self, (): &()) -> Result<Vec<Input>> {
        let normals = Philox::new(0, Purpose::Evaluation, 0).normals(400);
        let of = |kind, change: &dyn Fn(f32) -> f32| Input {
            kind,
            values: normals.iter().map(|&z| change(z)).collect(),
        };
        let level = |z: f32| (z / 4.0).clamp(-1.0, 1.0);
        Ok(vec![
            match self.fault {
                Fault::PictureLevels => of(InputKind::Picture, &|z| (level(z) + 1.0) * 127.5),
                Fault::UnitPictures => of(InputKind::Picture, &|z| (level(z) + 1.0) / 2.0),
                _ => of(InputKind::Picture, &level),
            },
            match self.fault {
                Fault::UnscaledLatents => of(InputKind::Latent, &|z| z * 5.5),
                _ => of(InputKind::Latent, &|z| z),
            },
        ])
    }

    fn save(&self, _: &Layers, _: &Path) -> Result<()> {
        Ok(())
    }
}

/// What the check says: faults, and warnings.
fn found(fault: Fault) -> [Vec<String>; 2] {
    let device = Device::flex();
    let mut init = Init::random(0, &device);
    let mut network =
        Layers { first: Linear::new(3, 2, true, &mut init), second: Linear::new(3, 2, true, &mut init) };
    if fault == Fault::ZeroAtTheStart {
        let zeros = Tensor::from_data(TensorData::new(vec![0.0f32; 6], [2, 3]), &device);
        network.first.weight = burn::module::Param::from_tensor(zeros);
    }
    let training = recipe(&[]).vae().unwrap().training.clone();
    let Findings { faults, warnings, .. } =
        check(&Planted { training, fault }, &network, &session(&RunFolder::new("unused"), false)).unwrap();
    [faults, warnings]
}

#[test]
fn every_planted_fault_is_named_and_nothing_else() {
    for (fault, names) in [
        (Fault::DetachedTerm, vec!["`far`", "`second.weight`"]),
        (Fault::FrozenLayer, vec!["no gradient for `second.weight`, `second.bias`"]),
        (Fault::UnscaledLatents, vec!["5.", "scaling_factor"]),
        (Fault::PictureLevels, vec!["0 to 255"]),
        (Fault::NotANumber, vec!["is not finite", "one"]),
        (Fault::EmptyCaptions, vec!["empty"]),
    ] {
        let [faults, _] = found(fault);
        let found = faults.join("\n");
        for name in names {
            assert!(found.contains(name), "expected `{name}` in: {found}");
        }
    }
    // What may be meant so does not stop a training.
    for (fault, name) in [(Fault::UnitPictures, "0 to 1"), (Fault::EqualCaptions, "equal: `a cat`")] {
        let [faults, warnings] = found(fault);
        assert_eq!(faults, Vec::<String>::new());
        assert!(warnings.join("\n").contains(name), "{warnings:?}");
    }
    assert_eq!(found(Fault::Nothing), [Vec::<String>::new(), vec![]]);
    assert_eq!(found(Fault::ZeroAtTheStart), [Vec::<String>::new(), vec![]]);
}

/// The faults of the tiny diffusion training whose model folder has been spoilt.
fn diffusion_faults(spoil: impl FnOnce(&Path)) -> Vec<String> {
    let dir = TempDir::new();
    let run = RunFolder::new(dir.join("run"));
    write_files(&run.model(), &components(DIFFUSION.reads));
    spoil(&run.model());
    let (recipe, device) = (recipe(&[]), Device::flex());
    let base = BaseModel::load(&recipe, &run, &device).unwrap();
    let data = scenes(&recipe, Some((0..16).collect())).unwrap();
    let session = Session { preflight: true, ..session(&run, false) };
    let report = denoiser::check(&recipe, &base, &data, session).unwrap();
    assert!(report.trained_parameters > 0 && report.seconds_per_step > 0.0);
    // The same before a training, which then does not begin.
    match denoiser::train(&recipe, &base, &data, session, &Blind) {
        Ok(_) => assert_eq!(report.faults, Vec::<String>::new()),
        Err(Error::Preflight { faults }) => {
            assert_eq!(faults, report.faults);
            assert!(!run.log(TrainedPart::Diffusion).exists());
            assert_eq!(files_by_steps(&run.checkpoints(TrainedPart::Diffusion)).unwrap(), []);
        }
        Err(other) => panic!("{other}"),
    }
    report.faults
}

#[test]
fn a_sound_training_has_no_faults() {
    assert_eq!(diffusion_faults(|_| ()), Vec::<String>::new());
}

#[test]
fn a_scaling_factor_that_does_not_fit() {
    let faults = diffusion_faults(|model| {
        let path = model.join("vae/config.json");
        let mut config: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["scaling_factor"] = (config["scaling_factor"].as_f64().unwrap() * 0.18215).into();
        fs::write(&path, config.to_string()).unwrap();
    });
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].contains("standard deviation of 0.1") && faults[0].contains("scaling_factor"),
        "{faults:?}"
    );
}

#[test]
fn a_text_encoder_that_was_never_trained() {
    let faults = diffusion_faults(|model| {
        let path = model.join("text_encoder/model.safetensors");
        let mut tensors: Vec<_> = calotype::files::safetensors::read(&path).unwrap().into_values().collect();
        for tensor in &mut tensors {
            if tensor.name.contains("layer_norm") {
                let start = if tensor.name.ends_with("weight") { 1.0 } else { 0.0 };
                tensor.values.fill(start);
            }
        }
        calotype::files::safetensors::write(&path, &tensors).unwrap();
    });
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("text encoder looks random"), "{faults:?}");
}
