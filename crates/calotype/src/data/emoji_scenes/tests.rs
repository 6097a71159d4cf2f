use super::*;
use crate::testing::assert_refuses;
use std::collections::{HashMap, HashSet};

fn scenes(size: u32) -> EmojiScenes {
    EmojiScenes::new(EmojiScenesConfig { size, seed: 11, ..EmojiScenesConfig::default() }).unwrap()
}

#[test]
fn a_scene_is_a_function_of_seed_split_and_index() {
    let (a, b) = (scenes(32), scenes(32));
    for i in [0, 3, 1 << 40] {
        for split in [Split::Train, Split::HeldOut] {
            let (one, other) = (a.scene(split, i), b.scene(split, i));
            assert_eq!((&one.image, &one.caption), (&other.image, &other.caption));
        }
    }
    assert_ne!(a.scene(Split::Train, 0).image, a.scene(Split::Train, 1).image);
    assert_ne!(a.scene(Split::Train, 0).image, a.scene(Split::HeldOut, 0).image);
}

/// Golden numbers: another machine or a later version must render the same training data.
#[test]
fn golden_scene() {
    let scene = scenes(32).scene(Split::Train, 1);
    let checksum =
        scene.image.as_raw().iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    assert_eq!((scene.caption.as_str(), checksum), GOLDEN);
}
const GOLDEN: (&str, u64) = ("a banana left of a whale against a purple background", 1891830509231055110);

#[test]
fn no_training_scene_shows_a_held_out_pair() {
    let scenes = scenes(32);
    for i in 0..3000 {
        for split in [Split::Train, Split::Seen] {
            let scene = scenes.scene(split, i);
            for a in &scene.objects {
                for b in scene.objects.iter().filter(|b| b.noun != a.noun) {
                    assert!(!split::is_held_out(a.noun, b.noun), "{i}: {}", scene.caption);
                }
            }
        }
        assert!(scenes.scene(Split::Seen, i).objects.len() >= 2);
        let scene = scenes.scene(Split::HeldOut, i);
        let objects = &scene.spec.objects;
        assert!(split::is_held_out(objects[0].0, objects[1].0), "{i}: {}", scene.caption);
    }
}

#[test]
fn scenes_are_of_the_nouns_that_are_asked_for() {
    let nouns = ["cat", "frog", "penguin", "whale", "tree", "sunflower", "apple", "house", "window", "car"];
    let nouns: Vec<Noun> = Noun::ALL.into_iter().filter(|noun| nouns.contains(&noun.name())).collect();
    let scenes = EmojiScenes::new(EmojiScenesConfig { nouns: nouns.clone(), ..EmojiScenesConfig::default() });
    let scenes = scenes.unwrap();
    for split in [Split::Train, Split::HeldOut, Split::Seen] {
        for i in 0..200 {
            assert!(scenes.scene(split, i).objects.iter().all(|object| nouns.contains(&object.noun)));
        }
    }
    let of = |nouns: &[Noun]| {
        EmojiScenes::new(EmojiScenesConfig { nouns: nouns.to_vec(), ..EmojiScenesConfig::default() })
    };
    let twice = of(&[Noun::Cat, Noun::Dog, Noun::Cat]);
    assert_refuses(twice, "nouns of emoji-scenes: expected each once, got `cat` twice");
    let too_few = "nouns of emoji-scenes: expected nouns of which some are never shown together in training";
    assert_refuses(of(&[Noun::Cat]), too_few);
    assert_refuses(of(&[]), too_few);
}

#[test]
fn the_caption_is_true_of_the_picture() {
    for size in [32, 64, 128] {
        let scenes = scenes(size);
        for i in 0..300 {
            let scene = scenes.scene(Split::Train, i);
            let says = |word: &str| scene.caption.split(' ').any(|w| w == word);
            assert!(scene.caption.split(' ').count() <= 16, "{}", scene.caption);
            assert!(scene.caption.bytes().all(|b| b == b' ' || b.is_ascii_lowercase()), "{}", scene.caption);
            assert_eq!(scene.objects.len(), scene.spec.objects.len());
            for (object, &(noun, said)) in scene.objects.iter().zip(&scene.spec.objects) {
                assert!(says(noun.name()) && object.noun == noun);
                assert!(said.is_none_or(|said| said == object.size && says(said.name())));
                let solid = object.mask.enumerate_pixels().filter(|(_, _, p)| p.0 == [255]);
                assert_eq!(Rect::bounding(solid.map(|(x, y, _)| (x, y))), Some(object.rect));
            }
            if let Some(relation) = scene.spec.relation {
                assert!(relation.holds(&scene.objects[0].rect, &scene.objects[1].rect), "{}", scene.caption);
                assert!(relation.phrasings().iter().any(|p| scene.caption.contains(p)));
            }
            for colour in Colour::ALL.into_iter().filter(|c| says(c.name())) {
                assert_eq!(colour, scene.spec.background);
            }
            for (pixel, x, y) in scene.image.enumerate_pixels().map(|(x, y, p)| (p, x, y)) {
                let covers = |r: &Rect| {
                    // Anti-aliased rims reach past the mask.
                    x + size / 16 >= r.x
                        && x < r.x + r.width + size / 16
                        && y + size / 16 >= r.y
                        && y < r.y + r.height + size / 16
                };
                if !scene.objects.iter().any(|o| covers(&o.rect)) {
                    assert_eq!(pixel.0, scene.spec.background.rgb());
                }
            }
        }
    }
}

#[test]
fn shares_are_as_promised() {
    let scenes = scenes(32);
    let n = 4000;
    let mut objects = [0; 4];
    let (mut relations, mut nouns, mut colours) = (HashMap::new(), HashMap::new(), HashMap::new());
    let mut captions = HashSet::new();
    for i in 0..n {
        let scene = scenes.scene(Split::Train, i);
        objects[scene.objects.len()] += 1;
        *colours.entry(scene.spec.background).or_insert(0) += 1;
        for object in &scene.objects {
            *nouns.entry(object.noun).or_insert(0) += 1;
        }
        if let Some(relation) = scene.spec.relation {
            *relations.entry(relation).or_insert(0) += 1;
        }
        captions.insert(scene.caption);
    }
    for (got, share) in objects[1..].iter().zip([0.35, 0.55, 0.10]) {
        assert!((f64::from(*got) / n as f64 - share).abs() < 0.032, "{objects:?}"); // four standard errors
    }
    let two_or_more = f64::from(objects[2] + objects[3]);
    assert!(
        relations.values().all(|&r| (f64::from(r) / two_or_more - 1.0 / 7.0).abs() < 0.03),
        "{relations:?}"
    );
    // 1.75 nouns a scene: 175 of each on average.
    assert!(nouns.len() == 40 && nouns.values().all(|&n| n > 100), "{nouns:?}");
    assert!(colours.len() == 8 && colours.values().all(|&n| n > 250), "{colours:?}");
    assert!(captions.len() > 3300);
}

#[test]
fn every_noun_stands_out_on_most_colours() {
    let sprites = &scenes(32).sprites;
    for noun in Noun::ALL {
        let clear: Vec<Colour> = Colour::ALL.into_iter().filter(|&c| sprites.stands_out(noun, c)).collect();
        assert!(clear.len() >= 4, "{noun}: {clear:?}");
    }
}

#[test]
fn fewer_objects_on_demand() {
    let config = EmojiScenesConfig { seed: 2, max_objects: 1, ..EmojiScenesConfig::default() };
    let scenes = EmojiScenes::new(config).unwrap();
    for i in 0..100 {
        assert_eq!(scenes.scene(Split::Train, i).objects.len(), 1);
        assert_eq!(scenes.scene(Split::HeldOut, i).objects.len(), 2);
    }
}

/// The share is of the training scenes alone: what is measured with stays the same.
#[test]
fn the_share_of_single_objects_is_that_of_training() {
    let of = |single_objects: f64| {
        let config = EmojiScenesConfig { single_objects, max_objects: 2, ..EmojiScenesConfig::default() };
        EmojiScenes::new(config).unwrap()
    };
    for share in [0.0, 0.15, 1.0] {
        let scenes = of(share);
        let single = (0..400).filter(|&i| scenes.scene(Split::Train, i).objects.len() == 1).count();
        assert!((single as f64 / 400.0 - share).abs() < 0.05, "{share}: {single}");
        for split in [Split::HeldOut, Split::Seen] {
            assert_eq!(scenes.scene(split, 7).image, of(0.35).scene(split, 7).image);
        }
    }
    for single_objects in [-0.1, 1.1, f64::NAN] {
        assert_refuses(
            EmojiScenes::new(EmojiScenesConfig { single_objects, ..EmojiScenesConfig::default() }),
            "single_objects: expected 0 to 1",
        );
    }
}

#[test]
fn impossible_configurations_are_refused() {
    for (size, max_objects) in [(0, 2), (48, 2), (256, 2), (32, 0), (32, 4)] {
        let expected =
            if size == 32 { "max_objects: expected 1, 2 or 3" } else { "size of emoji-scenes: expected 32" };
        assert_refuses(
            EmojiScenes::new(EmojiScenesConfig { size, max_objects, ..EmojiScenesConfig::default() }),
            expected,
        );
    }
}
