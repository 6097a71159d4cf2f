//! Loss, outputs and *every* parameter's gradient against PyTorch, by name.
//!
//! The golden files come from `tools/oracle/gradients.py`; `tests/golden/README.md` tells the
//! versions. Tolerance for each gradient tensor: 1e-4 of its largest element in PyTorch.

use std::collections::HashMap;
use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use calotype::autoencoder::{
    AutoencoderConfig, AutoencoderKl,
    loss::{Reconstruction, autoencoder_loss},
};
use calotype::denoiser::flux::{Flux, FluxConfig, Position, Positions};
use calotype::denoiser::grounding::{GroundedAttention, Region, Regions};
use calotype::denoiser::{Condition, Unet, UnetConfig};
use calotype::files::{NamedTensor, StoredTensor, safetensors};
use calotype::nn::{Init, parameters};
use calotype::text_encoder::{Clip, ClipConfig, contrastive_loss::info_nce};

use crate::devices::on_each_device;

on_each_device!(
    autoencoder_kl,
    clip,
    unet_2d_condition,
    unet_with_grounded_attention,
    unet_2d_condition_of_other_families,
    flux_transformer,
);

struct Golden {
    device: Device,
    path: PathBuf,
    tensors: HashMap<String, NamedTensor>,
    metadata: HashMap<String, String>,
}

impl Golden {
    fn open(name: &str, device: &Device) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        Self {
            tensors: safetensors::read(&path).unwrap(),
            metadata: safetensors::read_metadata(&path).unwrap(),
            device: device.clone(),
            path,
        }
    }

    fn config<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.metadata["config"]).unwrap()
    }

    fn tensor<const D: usize>(&self, key: &str) -> Tensor<D> {
        let tensor = &self.tensors[key];
        let data = TensorData::new(tensor.values.clone(), tensor.shape.clone());
        Tensor::<D>::from_data(data, &self.device).autodiff()
    }

    fn ids(&self, key: &str) -> Vec<Vec<u32>> {
        let tensor = &self.tensors[key];
        tensor.values.chunks(tensor.shape[1]).map(|row| row.iter().map(|&id| id as u32).collect()).collect()
    }

    /// The network with the file's parameters, as leaves of an autodiff graph.
    fn load<M: Module>(&self, module: M) -> M {
        let parameters = self
            .tensors
            .iter()
            .filter_map(|(key, tensor)| {
                let name = key.strip_prefix("param.")?.to_owned();
                let stored = StoredTensor::from_f32(tensor.shape.clone(), tensor.values.clone());
                Some((name, stored.unwrap()))
            })
            .collect();
        parameters::tracked(&parameters::load(module, "golden", &self.path, parameters).unwrap())
    }

    fn assert_close(&self, key: &str, got: &[f32], relative: f32) {
        let expected =
            &self.tensors.get(key).unwrap_or_else(|| panic!("no `{key}` in the golden file")).values;
        assert_eq!(expected.len(), got.len(), "{key}");
        let scale = expected.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        // Gradients that are zero in exact arithmetic (a key's bias) are rounding noise in both.
        let tolerance = relative * scale + 2e-7;
        for (i, (e, g)) in expected.iter().zip(got).enumerate() {
            assert!((e - g).abs() <= tolerance, "{key}[{i}]: expected {e}, got {g}, tolerance {tolerance}");
        }
    }

    fn assert_output<const D: usize>(&self, key: &str, got: Tensor<D>) {
        self.assert_close(key, &got.into_data().try_to_vec::<f32>().unwrap(), 1e-5);
    }

    /// The loss, and the gradient of every parameter on both sides.
    fn assert_loss<M: Module>(&self, module: &M, loss: Tensor<1>) {
        let gradients = parameters::named_gradients(module, &mut loss.backward());
        self.assert_output("loss", loss);
        for gradient in &gradients {
            self.assert_close(&format!("grad.{}", gradient.name), &gradient.values, 1e-4);
        }
        let golden = self.tensors.keys().filter(|key| key.starts_with("grad.")).count();
        assert_eq!(golden, gradients.len(), "PyTorch and we have different numbers of parameters");
    }
}

fn autoencoder_kl(device: &Device) {
    let golden = Golden::open("autoencoder_kl.safetensors", device);
    let config: AutoencoderConfig = golden.config();
    let network = golden.load(AutoencoderKl::new(&config, &mut Init::zeros(device)).unwrap());
    let beta: f64 = golden.metadata["beta"].parse().unwrap();

    let x = golden.tensor::<4>("input.sample");
    let posterior = network.encode(x.clone()).unwrap();
    let reconstruction = network.decode(posterior.sample(golden.tensor("input.noise")));
    golden.assert_output("output.mean", posterior.mean.clone());
    golden.assert_output("output.logvar", posterior.logvar.clone());
    golden.assert_output("output.kl_per_sample", posterior.kl());
    golden.assert_output("output.reconstruction", reconstruction.clone());
    golden.assert_loss(
        &network,
        autoencoder_loss(Reconstruction::Mse, x, reconstruction, &posterior, beta).total,
    );
}

fn clip(device: &Device) {
    let golden = Golden::open("clip.safetensors", device);
    let config: ClipConfig = golden.config();
    let network = golden.load(Clip::new(&config, &mut Init::zeros(device)).unwrap());

    let ids = golden.ids("input.input_ids");
    let text = network.embed_text(&ids).unwrap();
    let images = network.embed_images(golden.tensor("input.pixel_values")).unwrap();
    let logits = network.logits_per_image(images.clone(), text.clone());
    golden.assert_output(
        "output.text_last_hidden_state",
        network.text().forward(&ids).unwrap().last_hidden_state,
    );
    golden.assert_output("output.text_embeds", text);
    golden.assert_output("output.image_embeds", images);
    golden.assert_output("output.logits_per_image", logits.clone());
    golden.assert_loss(&network, info_nce(logits, None).unwrap().total());
}

fn unet(file: &str, device: &Device) {
    let golden = Golden::open(file, device);
    let config: UnetConfig = golden.config();
    let network = golden.load(Unet::new(&config, &mut Init::zeros(device)).unwrap());
    let timesteps: Vec<f64> = golden.tensors["input.timestep"].values.iter().map(|&t| f64::from(t)).collect();
    let output = network
        .forward(
            golden.tensor("input.sample"),
            &timesteps,
            &Condition::of_context(golden.tensor("input.encoder_hidden_states")),
            None,
        )
        .unwrap();
    golden.assert_output("output.output", output.clone());
    golden.assert_loss(&network, (output - golden.tensor("input.noise")).square().mean());
}

fn unet_2d_condition(device: &Device) {
    unet("unet.safetensors", device);
}

/// The grounding of words in regions beside the plain loss.
fn unet_with_grounded_attention(device: &Device) {
    let golden = Golden::open("unet_grounded.safetensors", device);
    let network = golden.load(Unet::new(&golden.config(), &mut Init::zeros(device)).unwrap());
    let numbers = |key: &str| golden.tensors[key].values.clone();
    let timesteps: Vec<f64> = numbers("input.timestep").iter().map(|&t| f64::from(t)).collect();
    let weights: Vec<f64> = numbers("input.weights").iter().map(|&w| f64::from(w)).collect();
    let (naming, coverage) = (numbers("input.naming"), numbers("input.coverage"));
    let tokens = golden.tensors["input.naming"].shape[2];
    let region = |i: usize| {
        let rows = (0..tokens).filter(|row| naming[i * tokens + row] == 1.0).collect();
        Region { rows, coverage: coverage[i * 49..][..49].to_vec() }
    };
    let samples = [0, 2].map(|first| {
        [region(first), region(first + 1)].into_iter().filter(|region| !region.rows.is_empty()).collect()
    });

    let seen = GroundedAttention::new(0.5, false);
    let condition = Condition::of_context(golden.tensor("input.encoder_hidden_states"));
    let output = network.forward(golden.tensor("input.sample"), &timesteps, &condition, Some(&seen)).unwrap();
    let grounding =
        seen.loss(&Regions { samples: &samples, grid: [7, 7], weights: &weights }).expect("three regions");
    golden.assert_output("output.output", output.clone());
    golden.assert_output("output.grounding", grounding.clone());
    let denoising = (output - golden.tensor("input.noise")).square().mean();
    golden.assert_loss(&network, denoising + grounding * 0.7);
}

/// Linear projections, heads and transformer layers for each level, odd latent sizes.
fn unet_2d_condition_of_other_families(device: &Device) {
    unet("unet_linear.safetensors", device);
}

/// Flux.1 with a guidance scale.
fn flux_transformer(device: &Device) {
    let golden = Golden::open("flux.safetensors", device);
    let config: FluxConfig = golden.config();
    let network = golden.load(Flux::new(&config, &mut Init::zeros(device)).unwrap());
    let numbers = |key: &str| golden.tensors[key].values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let positions = |key: &str| -> Vec<Position> { numbers(key).as_chunks::<3>().0.to_vec() };
    let condition = Condition {
        pooled: Some(golden.tensor("input.pooled_projections")),
        guidance: Some(numbers("input.guidance")),
        ..Condition::of_context(golden.tensor("input.encoder_hidden_states"))
    };
    let positions = Positions { text: positions("input.txt_ids"), picture: positions("input.img_ids") };
    let timesteps: Vec<f64> = numbers("input.timestep").into_iter().map(|t| 1000.0 * t).collect();
    let tokens = golden.tensor("input.hidden_states");
    let output = network.predict(tokens, &timesteps, &condition, &positions, None).unwrap();
    golden.assert_output("output.output", output.clone());
    golden.assert_loss(&network, (output - golden.tensor("input.velocity")).square().mean());
}
