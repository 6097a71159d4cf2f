//! Precision is a value that travels with a network: networks of one process may differ in it.

use burn::tensor::{Device, Tensor, TensorData};
use calotype::Error;
use calotype::autoencoder::{AutoencoderConfig, AutoencoderKl};
use calotype::denoiser::{Condition, Unet, UnetConfig};
use calotype::nn::{Compute, Init, Products, parameters};
use calotype::runs::folder::RunFolder;
use calotype::text_encoder::{Clip, ClipConfig};

use crate::support::{CLIP, TempDir, VAE, files, recipe, session};

const BOTH: [Products; 2] = [Products::F32, Products::Bf16];

fn compute(products: Products) -> Compute {
    Compute::new(&Device::flex(), products)
}

fn tensor<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i| (0.37 * i as f32).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn bits<const D: usize>(x: Tensor<D>) -> Vec<u32> {
    x.into_data().iter::<f32>().map(f32::to_bits).collect()
}

fn autoencoder_config() -> AutoencoderConfig {
    serde_json::from_str(
        r#"{"_class_name": "AutoencoderKL", "block_out_channels": [8, 16], "norm_num_groups": 4,
            "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#,
    )
    .unwrap()
}

/// One of each kind, as a text-to-image model has them.
struct Networks {
    unet: Unet,
    vae: AutoencoderKl,
    clip: Clip,
}

impl Networks {
    fn new(products: Products) -> Self {
        let unet: UnetConfig = serde_json::from_str(
            r#"{"_class_name": "UNet2DConditionModel", "block_out_channels": [8, 16], "norm_num_groups": 4,
                "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
                "layers_per_block": 1, "attention_head_dim": 2, "cross_attention_dim": 12}"#,
        )
        .unwrap();
        let clip: ClipConfig = recipe(&[]).clip().unwrap().config(16, 300, [298, 299, 299]);
        let mut init = Init::random(3, compute(products));
        Self {
            unet: Unet::new(&unet, &mut init).unwrap(),
            vae: AutoencoderKl::new(&autoencoder_config(), &mut init).unwrap(),
            clip: Clip::new(&clip, &mut init).unwrap(),
        }
    }

    /// What each of them computes, and the U-Net's gradients.
    fn outputs(&self) -> Vec<Vec<u32>> {
        let images = tensor([2, 3, 16, 16]);
        let mean = self.vae.encode(images.clone()).unwrap().mean;
        let unet = parameters::tracked(&self.unet);
        let condition = Condition::of_context(tensor([2, 5, 12]).autodiff());
        let eps = unet.forward(tensor([2, 4, 8, 8]).autodiff(), &[3.0, 900.0], &condition, None).unwrap();
        let mut gradients = eps.clone().square().mean().backward();
        let ids = [vec![298, 5, 7, 299], vec![298, 9, 299, 299]];
        let mut all = vec![
            bits(self.vae.decode(mean.clone())),
            bits(mean),
            bits(eps),
            bits(self.clip.embed_images(images).unwrap()),
            bits(self.clip.embed_text(&ids).unwrap()),
        ];
        let gradients = parameters::named_gradients(&unet, &mut gradients);
        all.extend(gradients.iter().map(|g| g.values.iter().map(|x| x.to_bits()).collect()));
        all
    }
}

#[test]
fn networks_of_different_precision_give_what_each_gives_alone() {
    let expected = BOTH.map(|products| Networks::new(products).outputs());
    if Products::Bf16.is_available() {
        for (exact, rounded) in expected[0].iter().zip(&expected[1]).take(5) {
            assert_ne!(exact, rounded, "every network has the precision that it is made with");
        }
    } else {
        assert_eq!(expected[0], expected[1], "without the instructions products are in f32");
    }
    // Made side by side, and asked in either order.
    let networks = BOTH.map(Networks::new);
    for i in [0, 1, 0, 1, 1, 0, 0] {
        assert!(networks[i].outputs() == expected[i], "{:?}", BOTH[i]);
    }
    // At the same time.
    std::thread::scope(|threads| {
        for (products, expected) in BOTH.iter().zip(&expected) {
            threads.spawn(move || {
                let networks = Networks::new(*products);
                for _ in 0..3 {
                    assert!(networks.outputs() == *expected, "{products:?}");
                }
            });
        }
    });
}

#[test]
fn trainings_of_different_precision_give_what_each_gives_alone() {
    let of = |precision: &str| {
        let precision = format!("steps = 3\nprecision = \"{precision}\"");
        recipe(&[("steps = 20", &precision)])
    };
    if !Products::Bf16.is_available() {
        let refused = of("bf16").vae().unwrap().training.compute(&Device::flex());
        assert!(matches!(refused, Err(Error::Argument { .. })), "{refused:?}");
        return;
    }
    let train = |precision: &str| {
        let (dir, recipe) = (TempDir::new(), of(precision));
        let run = RunFolder::new(dir.join("run"));
        VAE.train(&recipe, session(&run, false)).unwrap();
        CLIP.train(&recipe, session(&run, false)).unwrap();
        files(&run.model())
    };
    let expected = ["f32", "bf16"].map(train);
    for network in ["vae/diffusion_pytorch_model.safetensors", "clip/model.safetensors"] {
        let [exact, rounded] = [0, 1].map(|i| &expected[i][std::path::Path::new(network)]);
        assert!(exact != rounded, "{network}");
    }
    std::thread::scope(|threads| {
        for (precision, expected) in ["f32", "bf16"].into_iter().zip(&expected) {
            threads.spawn(move || assert!(train(precision) == *expected, "{precision}"));
        }
    });
}

#[test]
fn an_autoencoder_in_f32_is_one_that_was_made_so() {
    let [exact, rounded] = BOTH.map(|products| Networks::new(products).vae);
    let rounded = rounded.in_f32(&autoencoder_config(), &Device::flex()).unwrap();
    let encoded = |vae: &AutoencoderKl| bits(vae.encode(tensor([1, 3, 16, 16])).unwrap().mean);
    assert_eq!(encoded(&exact), encoded(&rounded));
}
