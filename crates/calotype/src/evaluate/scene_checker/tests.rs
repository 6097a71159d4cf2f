use super::*;
use crate::data::emoji_scenes::{EmojiScenes, EmojiScenesConfig, Relation, Scene, Split};
use crate::rng::{Philox, Purpose};
use crate::testing::assert_refuses;

const N: usize = 200;

fn scenes(size: u32, split: Split, n: usize) -> Vec<Scene> {
    let source =
        EmojiScenes::new(EmojiScenesConfig { size, seed: 77, ..EmojiScenesConfig::default() }).unwrap();
    (0..n as u64).map(|i| source.scene(split, i)).collect()
}

/// Gaussian blur of σ pixels, then white noise up to `psnr` dB in all: like a VAE's reconstruction.
fn degraded(scene: &Scene, sigma: f32, psnr: f32, index: u64) -> RgbImage {
    let mut picture = image::imageops::blur(&scene.image, sigma);
    let squared = |a: &RgbImage| {
        a.iter().zip(scene.image.iter()).map(|(&a, &b)| (f32::from(a) - f32::from(b)).powi(2)).sum::<f32>()
            / a.len() as f32
    };
    let target = 255.0f32.powi(2) / 10f32.powf(psnr / 10.0);
    let deviation = (target - squared(&picture)).max(0.0).sqrt();
    let noise = Philox::new(0, Purpose::Evaluation, index).normals(picture.len());
    for (value, noise) in picture.iter_mut().zip(noise) {
        *value = (f32::from(*value) + deviation * noise).round().clamp(0.0, 255.0) as u8;
    }
    picture
}

/// Shares of correct pictures and of nouns found.
fn accuracy<'a>(
    checker: &SceneChecker,
    pictures: impl IntoIterator<Item = (RgbImage, &'a SceneSpec)>,
) -> (f64, f64) {
    let (mut correct, mut pictures_seen, mut found, mut nouns) = (0, 0, 0, 0);
    for (picture, spec) in pictures {
        let verdict = checker.check(&picture, spec).unwrap();
        pictures_seen += 1;
        correct += usize::from(verdict.correct);
        nouns += verdict.nouns_found.len();
        found += verdict.nouns_found.iter().filter(|&&f| f).count();
    }
    (correct as f64 / f64::from(pictures_seen), found as f64 / nouns as f64)
}

#[test]
fn ground_truth_is_correct() {
    let checker = SceneChecker::new(32).unwrap();
    for split in [Split::HeldOut, Split::Train] {
        let scenes = scenes(32, split, N);
        let (correct, found) = accuracy(&checker, scenes.iter().map(|s| (s.image.clone(), &s.spec)));
        println!("{split:?}, ground truth: correct {correct:.3}, nouns found {found:.3}");
        assert!(correct >= 0.98 && found >= 0.99);
    }
}

#[test]
fn soft_and_noisy_pictures_are_read() {
    let checker = SceneChecker::new(32).unwrap();
    let scenes = scenes(32, Split::HeldOut, N);
    for (sigma, psnr, least) in [(0.7, 25.0, 0.97), (0.7, 22.5, 0.97), (1.3, 20.0, 0.93)] {
        let pictures = scenes.iter().zip(0..).map(|(s, i)| (degraded(s, sigma, psnr, i), &s.spec));
        let (correct, found) = accuracy(&checker, pictures);
        println!("blur {sigma}, {psnr} dB: correct {correct:.3}, nouns found {found:.3}");
        assert!(correct >= least);
    }
}

#[test]
fn another_scene_is_not_correct() {
    let checker = SceneChecker::new(32).unwrap();
    for split in [Split::HeldOut, Split::Train] {
        let scenes = scenes(32, split, N);
        let others = scenes.iter().cycle().skip(1).map(|s| &s.spec);
        let (correct, found) = accuracy(&checker, scenes.iter().map(|s| s.image.clone()).zip(others));
        println!("{split:?}, another scene's caption: correct {correct:.3}, nouns found {found:.3}");
        assert!(correct <= 0.02 && found <= 0.1);
    }
}

#[test]
fn larger_canvases_are_read() {
    for size in [64, 128] {
        let checker = SceneChecker::new(size).unwrap();
        let scenes = scenes(size, Split::HeldOut, 60);
        let (correct, found) = accuracy(&checker, scenes.iter().map(|s| (s.image.clone(), &s.spec)));
        println!("{size} pixels: correct {correct:.3}, nouns found {found:.3}");
        assert!(correct >= 0.95 && found >= 0.97);
    }
}

#[test]
fn boxes_are_right_and_contrast_cancels() {
    let checker = SceneChecker::new(32).unwrap();
    for scene in scenes(32, Split::Train, 40) {
        let background = scene.spec.background.rgb();
        let mut pale = scene.image.clone();
        for pixel in pale.pixels_mut() {
            for (value, back) in pixel.0.iter_mut().zip(background) {
                *value = ((u16::from(*value) + u16::from(back)) / 2) as u8;
            }
        }
        for picture in [&scene.image, &pale] {
            let found = checker.detect(picture);
            assert_eq!(found.len(), scene.objects.len(), "{}", scene.caption);
            for object in &scene.objects {
                let near = |a: u32, b: u32| a.abs_diff(b) <= 1; // a neighbour pulls by a pixel
                let is_it = |d: &Detection| {
                    d.noun == object.noun
                        && d.size == object.size
                        && near(d.rect.x, object.rect.x)
                        && near(d.rect.y, object.rect.y)
                };
                assert!(found.iter().any(is_it), "{}: {found:?}", scene.caption);
            }
        }
    }
}

#[test]
fn nothing_is_found_in_nothing() {
    let checker = SceneChecker::new(32).unwrap();
    let plain = RgbImage::from_pixel(32, 32, image::Rgb([90, 200, 30]));
    let mut noise = plain.clone();
    for (value, z) in noise.iter_mut().zip(Philox::new(3, Purpose::Evaluation, 0).normals(32 * 32 * 3)) {
        *value = (f32::from(*value) + 40.0 * z).clamp(0.0, 255.0) as u8;
    }
    for picture in [plain, noise, RgbImage::new(0, 0), RgbImage::new(0, 7), RgbImage::new(1, 1)] {
        assert_eq!(checker.detect(&picture), []);
    }
}

#[test]
fn a_relation_is_judged_and_not_assumed() {
    let checker = SceneChecker::new(32).unwrap();
    let scene = scenes(32, Split::HeldOut, 40)
        .into_iter()
        .find(|s| s.spec.relation == Some(Relation::LeftOf))
        .expect("a seventh of the scenes has this relation");
    let mut spec = scene.spec.clone();
    spec.relation = Some(Relation::RightOf);
    let verdict = checker.check(&scene.image, &spec).unwrap();
    assert!(verdict.nouns_found.iter().all(|&found| found));
    assert_eq!((verdict.relation_holds, verdict.correct), (Some(false), false));
}

#[test]
fn what_cannot_be_checked_is_refused() {
    for size in [0, 48] {
        assert_refuses(SceneChecker::new(size), "size of the checked pictures: expected a multiple of 32");
    }
    let checker = SceneChecker::new(32).unwrap();
    let scene = &scenes(32, Split::HeldOut, 1)[0];
    let large = checker.check(&RgbImage::new(64, 64), &scene.spec);
    assert_refuses(large, "picture for the scene checker: expected 32x32, got 64x64");
    let spec = SceneSpec { objects: scene.spec.objects[..1].to_vec(), ..scene.spec.clone() };
    assert_refuses(
        checker.check(&scene.image, &spec),
        "scene: expected an object, or a relation and its two objects",
    );
}
