//! `calotype explain`: of sampled and given pictures, by some layers, heads and steps, as an animation and as arrays.

use calotype::files::npz;

use super::*;

const EXPLAIN: [&str; 6] = ["explain", "a cat", "--model", "model", "--out", "maps"];

/// A folder with `model/` and `cat.png`, a scene of 32 pixels.
fn with_picture() -> TempDir {
    let dir = with_model();
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "1", "--size", "32"]);
    fs::copy(dir.join("data/000000.png"), dir.join("cat.png")).unwrap();
    dir
}

fn explain(dir: &TempDir, more: &[&str]) -> Value {
    json(&succeeds(dir, &[&EXPLAIN, more, &["--json"]].concat()))
}

#[test]
fn a_given_picture_is_explained_and_not_sampled() {
    let dir = with_picture();
    let maps = explain(&dir, &["--image", "cat.png"]);
    let timesteps: Vec<f64> = (0..10).map(|k| f64::from(950 - 100 * k)).collect();
    assert_eq!((&maps["image"], &maps["timesteps"]), (&"cat.png".into(), &serde_json::json!(timesteps)));
    assert_eq!(maps["steps"], serde_json::json!([0, 10]));
    assert_eq!(pixels(&dir.join("maps/picture.png")), pixels(&dir.join("cat.png")));
    assert!(dir.join("maps/01-cat.png").exists());
    // The same seed, the same noise.
    assert_eq!(explain(&dir, &["--image", "cat.png"]), maps);
    assert_ne!(explain(&dir, &["--image", "cat.png", "--seed", "1"])["words"], maps["words"]);
    let some = explain(&dir, &["--image", "cat.png", "--steps", "4", "--steps-from", "1", "--steps-to", "3"]);
    assert_eq!(some["timesteps"], serde_json::json!([625.0, 375.0]));
    // At another size, as `generate --init-image` does.
    explain(&dir, &["--image", "cat.png", "--width", "64", "--height", "48"]);
    assert_eq!(image::image_dimensions(dir.join("maps/picture.png")).unwrap(), (64, 48));
}

#[test]
fn what_is_no_picture_to_explain_is_refused() {
    let dir = with_picture();
    image::RgbImage::new(3, 40).save(dir.join("thin.png")).unwrap();
    dir.write("page.png", "<!doctype html>");
    dir.write("pointer.png", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n");
    let refused = |code: i32, more: &[&str]| fails(&dir, code, &[&EXPLAIN, more].concat());
    for (file, says) in [
        ("none.png", "cannot read `none.png`"),
        ("page.png", "web page"),
        ("pointer.png", "Git LFS pointer"),
        ("model", "cannot read `model`"),
    ] {
        assert_says(&refused(1, &["--image", file]), &[file, says]);
    }
    let thin = "--image: expected a picture of at least 4 x 4 pixels, got 3 x 40";
    assert_says(&refused(2, &["--image", "thin.png"]), &[thin]);
    assert_says(&refused(2, &["--image", "cat.png", "--image", "cat.png"]), &["--image"]);
    assert_says(&refused(2, &["--image", "cat.png", "--sampler", "euler"]), &["--image", "--sampler"]);
    assert_says(&refused(2, &["--image", "cat.png", "--guidance", "5"]), &["--image", "--guidance"]);
    assert_says(&refused(2, &["--image", "cat.png", "--steps", "0"]), &["--steps"]);
    assert_says(&refused(2, &["--image", "cat.png", "--steps", "1001"]), &["--steps: expected 1 to 1000"]);
    let beyond = ["--image", "cat.png", "--steps-to", "11"];
    assert_says(&refused(2, &beyond), &["--steps-to: expected from 1 to the 10 steps"]);
    assert_says(&refused(2, &["--image", "cat.png", "--words", "cow"]), &["--words", "a, cat", "cow"]);
    assert!(!dir.join("maps").exists());
}

#[test]
fn some_heads_are_averaged_alone() {
    let dir = with_picture();
    let maps = |more: &[&str]| explain(&dir, &[&["--image", "cat.png", "--steps", "2"], more].concat());
    let all = maps(&[]);
    assert!(all.get("heads").is_none());
    let message = fails(&dir, 2, &[&EXPLAIN[..], &["--heads", "99"]].concat());
    assert_says(&message, &["--heads: expected all, or of 0 to ", "(heads: ", "got 99"]);
    let last: usize = message.split("of 0 to ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let numbers: Vec<String> = (0..=last).map(|head| head.to_string()).collect();
    let every = maps(&["--heads", &numbers.join(",")]);
    assert_eq!((&every["words"], &every["heads"]), (&all["words"], &numbers.join(",").into()));
    assert_ne!(maps(&["--heads", "0"])["words"], all["words"]);
    assert_says(&fails(&dir, 2, &[&EXPLAIN[..], &["--heads", "one"]].concat()), &["--heads", "numbers"]);
}

#[test]
fn steps_become_frames_and_arrays() {
    let dir = with_picture();
    let more = ["--steps", "3", "--steps-from", "1", "--animate", "--npz"];
    let sampled = explain(&dir, &more);
    assert_eq!(sampled["words"], {
        let mut plain = explain(&dir, &more[..4]);
        for word in plain["words"].as_array_mut().unwrap() {
            word["animation"] = word["overlay"].as_str().unwrap().replace(".png", "-steps.png").into();
        }
        plain["words"].clone()
    });
    let arrays = npz::read(&dir.join("maps/heat_maps.npz")).unwrap();
    assert_eq!(arrays.texts["words.json"], r#"["a","cat"]"#);
    assert_eq!(arrays.arrays["maps"].shape, [2, 32, 32]);
    assert_eq!(arrays.arrays["attention"].shape, [2, 2, 8, 8]);
    assert_eq!(arrays.arrays["steps"].values, [1.0, 2.0]);
    let values: Vec<f64> = sampled["words"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|word| word["values"].as_array().unwrap().clone())
        .map(|value| value.as_f64().unwrap())
        .collect();
    assert!(arrays.arrays["maps"].values.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-9));
    let animation = fs::read(dir.join("maps/01-cat-steps.png")).unwrap();
    let decoder = image::codecs::png::PngDecoder::new(std::io::Cursor::new(animation)).unwrap();
    let frames = image::AnimationDecoder::into_frames(decoder.apng().unwrap()).collect_frames().unwrap();
    assert_eq!((frames.len(), frames[0].buffer().dimensions()), (2, (256, 262)));
    // Of a given picture with what the network was told.
    explain(&dir, &["--image", "cat.png", "--steps", "2", "--npz", "--words", "cat"]);
    let arrays = npz::read(&dir.join("maps/heat_maps.npz")).unwrap().arrays;
    assert_eq!(arrays["timesteps"].values, [750.0, 250.0]);
    assert_eq!(arrays["attention"].shape, [1, 2, 8, 8]);
}

#[test]
fn explain_averages_some_layers_and_steps() {
    let dir = with_model();
    let explain =
        ["explain", "a cat", "--model", "model", "--steps", "3", "--absolute", "--out", "maps", "--json"];
    let maps = |more: &[&str]| json(&succeeds(&dir, &[&explain, more].concat()));
    let all = maps(&[]);
    assert_eq!((&all["layers"], &all["steps"]), (&serde_json::json!("all"), &serde_json::json!([0, 3])));
    let first = maps(&["--steps-to", "1"]);
    let rest = maps(&["--steps-from", "1"]);
    assert_eq!(rest["steps"], serde_json::json!([1, 3]));
    // The mean over all steps lies between that of the first and that of the rest; a map is divided by its sum.
    let of = |maps: &Value| maps["words"][1]["values"].as_array().unwrap().clone();
    assert_ne!(of(&first), of(&rest));
    for ((all, first), rest) in of(&all).iter().zip(of(&first)).zip(of(&rest)) {
        let [all, first, rest] = [all, &first, &rest].map(|value| value.as_f64().unwrap());
        assert!(all >= first.min(rest) - 1e-6 && all <= first.max(rest) + 1e-6, "{first} {all} {rest}");
    }
    let refused = |more: &[&str]| fails(&dir, 2, &[&explain, more].concat());
    let message = refused(&["--layers", "1000x1000"]);
    assert_says(&message, &["--layers: expected all, or of "]);
    let sizes = message.split("all, or of ").nth(1).and_then(|rest| rest.split(", got").next()).unwrap();
    assert_eq!(maps(&["--layers", &sizes.replace(", ", ",")])["words"], all["words"]);
    assert_says(&refused(&["--layers", "16"]), &["--layers"]);
    assert_says(&refused(&["--steps-from", "3"]), &["--steps-from: expected from 0 to 2"]);
    assert_says(&refused(&["--steps-to", "4"]), &["--steps-to: expected from 1 to the 3 steps"]);
}

#[test]
fn a_word_has_the_same_map_in_every_spelling() {
    let dir = with_model();
    let maps = |prompt: &str, more: &[&str]| {
        let explain =
            ["explain", prompt, "--model", "model", "--steps", "2", "--absolute", "--out", "maps", "--json"];
        json(&succeeds(&dir, &[&explain, more].concat()))["words"].as_array().unwrap().clone()
    };
    let plain = maps("a red cat and dog", &[]);
    assert_eq!(plain.len(), 5);
    assert_eq!(maps("a (red:1.0) cat and dog", &[]), plain);
    assert_eq!(maps("a (red:1.0) cat and dog", &["--long-prompt"]), plain);
    let broken = maps("a (red:1.0) cat BREAK and dog", &[]);
    let words = |maps: &[Value]| maps.iter().map(|map| map["word"].clone()).collect::<Vec<Value>>();
    assert_eq!(words(&broken), words(&plain));
}
