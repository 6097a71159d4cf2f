//! What a picture depends on: model, prompt, seed and its number under the seed. Nothing else.

use burn::tensor::Device;
use calotype::Error;
use calotype::checkpoint;
use calotype::diffusion::guidance::Guidance;
use calotype::explain::explain;
use calotype::explain::heat_map::Baseline;
use calotype::model::Model;
use calotype::pipeline::text_to_image::{PictureRequest, Sampling, Sizes};
use calotype::sampler::{Generator, SamplerKind, SamplerSettings};
use calotype::text_encoder::reading::PromptOptions;
use image::RgbImage;

use crate::support::{TempDir, assert_holds, files, write_model};

const PROMPT: &str = "a red apple above a cat";

pub fn model() -> Model {
    let dir = TempDir::new();
    write_model(&dir.join("model"));
    Model::load(&dir.join("model"), &Device::flex()).unwrap()
}

fn request(image_index: u64) -> PictureRequest {
    PictureRequest::new(PROMPT, Guidance::new(2.0), image_index)
}

/// With noise in every step, so that its streams are tested too.
pub fn sampling() -> Sampling {
    Sampling {
        sampler: SamplerSettings::new(SamplerKind::Ddpm, 4),
        seed: 5,
        generator: Generator::Philox,
        width: 32,
        height: 32,
        sizes: Sizes::default(),
        prompts: PromptOptions::default(),
    }
}

fn one(model: &Model, request: PictureRequest) -> RgbImage {
    model.generate(&[request], &sampling()).unwrap().swap_remove(0)
}

#[test]
fn a_picture_is_the_same_alone_and_in_a_batch() {
    let model = model();
    let mut requests = [7, 0, 3].map(request);
    requests[1].prompt = "a dog".into();
    let batch = model.generate(&requests, &sampling()).unwrap();
    assert_ne!(batch[0], batch[2]);
    for (request, image) in requests.into_iter().zip(batch) {
        assert_eq!(one(&model, request), image);
    }
}

#[test]
fn a_picture_is_the_same_on_one_thread_and_two() {
    let model = model();
    let [one, two] = [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| model.generate(&[request(0), request(1)], &sampling()).unwrap())
    });
    assert_eq!(one, two);
}

#[test]
fn seed_prompt_guidance_and_negative_prompt_each_matter() {
    let model = model();
    let base = one(&model, request(0));
    assert_eq!(base, one(&model, request(0)));
    let other_seed = Sampling { seed: 6, ..sampling() };
    assert_ne!(base, model.generate(&[request(0)], &other_seed).unwrap()[0]);
    assert_ne!(base, one(&model, PictureRequest { prompt: "a dog".into(), ..request(0) }));
    assert_ne!(base, one(&model, PictureRequest { guidance: Guidance::new(40.0), ..request(0) }));
    assert_ne!(
        base,
        one(
            &model,
            PictureRequest {
                negative_prompt: Some("a green cat".into()),
                guidance: Guidance::new(40.0),
                ..request(0)
            }
        )
    );
}

#[test]
fn guidance_of_one_is_no_guidance() {
    let model = model();
    let off = PictureRequest { guidance: Guidance::new(1.0), ..request(0) };
    let image = one(&model, off.clone());
    // Without guidance, what it would point away from does not matter.
    assert_eq!(
        image,
        one(&model, PictureRequest { negative_prompt: Some("a green cat".into()), ..off.clone() })
    );
    // A batch in which another picture has guidance takes both passes: ε_u + 1·(ε_c − ε_u) is ε_c but
    // for rounding.
    let pair = [off, PictureRequest { guidance: Guidance::new(40.0), ..request(0) }];
    let batch = model.generate(&pair, &sampling()).unwrap();
    let largest = image.iter().zip(batch[0].iter()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(largest <= Some(1), "{largest:?} levels of 255");
    assert_ne!(batch[1], image);
}

#[test]
fn a_saved_model_makes_the_same_pictures() {
    let dir = TempDir::new();
    let (first, second) = (dir.join("first"), dir.join("second"));
    write_model(&first);
    let model = Model::load(&first, &Device::flex()).unwrap();
    checkpoint::write_model(&second, &model, &model.denoiser.network).unwrap();

    let again = Model::load(&second, &Device::flex()).unwrap();
    assert_eq!(one(&model, request(0)), one(&again, request(0)));
    // Not only equal to us: the files are the same.
    assert_holds(&first, &files(&second), "saved again");
}

#[test]
fn sizes_are_multiples_of_the_autoencoder_s_factor() {
    let model = model();
    let odd_latents = Sampling { width: 36, height: 20, ..sampling() };
    assert_eq!(model.generate(&[request(0)], &odd_latents).unwrap()[0].dimensions(), (36, 20));
    for (width, height, name, got) in [(30, 32, "width", "30"), (32, 0, "height", "0")] {
        let error = model.generate(&[request(0)], &Sampling { width, height, ..sampling() }).unwrap_err();
        assert!(matches!(&error, Error::Argument { name: said, .. } if said == name), "{error}");
        assert_eq!(error.to_string(), format!("{name}: expected a multiple of 4, at most 8192, got {got}"));
    }
}

#[test]
fn every_word_has_a_map_that_sums_to_one() {
    let model = model();
    let requests = [request(0), PictureRequest { prompt: "a dog".into(), ..request(1) }];
    for baseline in [Baseline::Zero, Baseline::WordMean] {
        let explanations = explain(&model, &requests, &sampling(), None, baseline).unwrap();
        for (request, explanation) in requests.iter().zip(&explanations) {
            let words: Vec<&str> = explanation.maps.iter().map(|map| map.word.as_str()).collect();
            assert_eq!(words, request.prompt.split(' ').collect::<Vec<_>>());
            for map in &explanation.maps {
                let sum: f64 = map.values.iter().map(|&v| f64::from(v)).sum();
                assert!((sum - 1.0).abs() < 1e-4, "{}: {sum}", map.word);
                assert!(map.values.iter().all(|&v| v >= 0.0));
                assert_eq!((map.width, map.height, map.values.len()), (32, 32, 32 * 32));
            }
        }
        // Watching changes nothing.
        let images: Vec<RgbImage> = explanations.into_iter().map(|e| e.image).collect();
        assert_eq!(images, model.generate(&requests, &sampling()).unwrap());
    }
}

#[test]
fn a_prompt_without_words_has_a_picture_and_no_maps() {
    let model = model();
    let requests = [PictureRequest { prompt: String::new(), ..request(0) }];
    let explanations = explain(&model, &requests, &sampling(), None, Baseline::WordMean).unwrap();
    assert_eq!(explanations[0].image, model.generate(&requests, &sampling()).unwrap()[0]);
    assert!(explanations[0].maps.is_empty());
}
