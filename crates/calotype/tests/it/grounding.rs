//! Training with grounded attention and the text encoder along: what is written, what is refused, and that a stop changes
//! nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use calotype::Error;
use calotype::files::safetensors;
use calotype::progress::Progress;
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::trainer::Recipe;
use calotype::trainer::Session;
use calotype::trainer::metrics_log::read_series;

use crate::support::{DIFFUSION, TempDir, components, recipe, session, write_files};

/// Two objects in a scene, the attention of their nouns taught, the first half of the steps at noisy timesteps.
fn grounded() -> Recipe {
    let keys = "caption_dropout = 0.1
        train_text_encoder = true
        prediction = \"v_prediction\"
        grounding = {}
        layout_first = {}";
    recipe(&[("max_objects = 1", "max_objects = 2"), ("caption_dropout = 0.1", keys)])
}

fn run(dir: &TempDir, name: &str) -> RunFolder {
    let run = RunFolder::new(dir.join(name));
    write_files(&run.model(), &components(&["vae", "clip", "text_encoder", "tokenizer"]));
    run
}

/// Stops after so many steps.
struct StopsAfter(usize, AtomicUsize);

impl Progress for StopsAfter {
    fn begin(&self, _: &str, _: usize, _: usize) {}
    fn step(&self, _: usize, message: &str) {
        if !message.is_empty() {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    fn end(&self, _: &str) {}
    fn say(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        self.1.load(Ordering::Relaxed) >= self.0
    }
}

#[test]
fn the_text_encoder_learns_along_and_a_stop_changes_nothing() {
    let dir = TempDir::new();
    let (whole, stopped) = (run(&dir, "whole"), run(&dir, "stopped"));
    DIFFUSION.train(&grounded(), session(&whole, false)).unwrap();

    let progress = StopsAfter(13, AtomicUsize::new(0));
    let first = Session { progress: &progress, ..session(&stopped, false) };
    let error = DIFFUSION.train(&grounded(), first).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    DIFFUSION.train(&grounded(), session(&stopped, true)).unwrap();

    let weights = |run: &RunFolder, part: &str, file: &str| {
        safetensors::read(&run.model().join(part).join(file)).unwrap()
    };
    for (part, file) in
        [("unet", "diffusion_pytorch_model.safetensors"), ("text_encoder", "model.safetensors")]
    {
        assert_eq!(weights(&whole, part, file), weights(&stopped, part, file), "{part}");
    }
    // It began as CLIP's, which stays.
    let clip = components(&["clip", "text_encoder"]);
    let untouched = fs::read(whole.model().join("clip/model.safetensors")).unwrap();
    assert_eq!(untouched, clip[Path::new("clip/model.safetensors")]);
    let before = &clip[Path::new("text_encoder/model.safetensors")];
    assert_ne!(&fs::read(whole.model().join("text_encoder/model.safetensors")).unwrap(), before);
    let names = weights(&whole, "text_encoder", "model.safetensors");
    assert!(names.keys().all(|name| name.starts_with("text_model.")), "{:?}", names.keys());

    let log = whole.log(TrainedPart::Diffusion);
    let series =
        |name| -> Vec<f64> { read_series(&log, name).unwrap().into_iter().map(|(_, value)| value).collect() };
    let (loss, denoising, grounding) = (series("loss"), series("denoising"), series("grounding"));
    for (step, weight) in [(0, 1.0), (loss.len() - 1, 0.2)] {
        assert!((loss[step] - denoising[step] - weight * grounding[step]).abs() < 1e-5, "{step}");
        assert!(grounding[step] > 0.0);
    }
}

#[test]
fn the_layout_has_a_learning_rate_of_its_own_and_so_has_the_text_encoder() {
    let dir = TempDir::new();
    let logged = |name: &str, keys: &str| {
        let keys = format!("train_text_encoder = true\n{keys}\ncaption_dropout = 0.1");
        let recipe = recipe(&[
            ("max_objects = 1", "max_objects = 2"),
            ("caption_dropout = 0.1", &keys),
            ("learning_rate = 1e-3", "learning_rate = 1e-3\nlog_every = 1"),
        ]);
        let run = run(&dir, name);
        DIFFUSION.train(&recipe, session(&run, false)).unwrap();
        run
    };
    let twice = logged("twice", "grounding = {}\nlayout_first = { share = 0.5 }");
    let rates = read_series(&twice.log(TrainedPart::Diffusion), "learning_rate").unwrap();
    let rates: Vec<f64> = rates.into_iter().map(|(_, rate)| rate).collect();
    assert_eq!(rates.len(), 20);
    assert_eq!(rates[..10], rates[10..]);
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(close(rates[0], 1e-3 / 5.0) && close(rates[4], 1e-3) && rates[9] < 2e-4, "{rates:?}");

    // Next to nothing of the rate: next to nothing changes, in the text encoder alone.
    let still = logged("still", "text_learning_rate = 1e-9");
    let moved = |run: &RunFolder, file: &str| {
        let after = safetensors::read(&run.model().join(file)).unwrap();
        let before = dir.join("before.safetensors");
        fs::write(&before, &components(&["text_encoder"])[Path::new(file)]).unwrap();
        let before = safetensors::read(&before).unwrap();
        let pairs = after.iter().flat_map(|(name, tensor)| tensor.values.iter().zip(&before[name].values));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(moved(&still, "text_encoder/model.safetensors") < 1e-6);
    assert!(moved(&twice, "text_encoder/model.safetensors") > 1e-3);
}

#[test]
fn another_training_begins_with_the_text_encoder_of_clip() {
    let dir = TempDir::new();
    let first = run(&dir, "first");
    DIFFUSION.train(&grounded(), session(&first, false)).unwrap();
    let again = run(&dir, "again");
    let text = "text_encoder/model.safetensors";
    fs::copy(first.model().join(text), again.model().join(text)).unwrap();
    DIFFUSION.train(&grounded(), session(&again, false)).unwrap();
    let read = |run: &RunFolder| fs::read(run.model().join(text)).unwrap();
    assert_eq!(read(&first), read(&again));
}

#[test]
fn keys_that_mean_nothing_together_are_refused() {
    let refused = |keys: &str, expected: &str| {
        let text = include_str!("tiny.toml").replace("caption_dropout = 0.1", keys);
        let error = Recipe::parse(Path::new("r.toml"), &text).unwrap_err().to_string();
        assert!(error.contains(expected), "{keys}: {error}");
    };
    let with = |keys: &str| format!("caption_dropout = 0.1\n{keys}");
    refused(&with("layout_first = {}"), "`grounding` beside it");
    refused(&with("grounding = { heads = 0.0 }"), "diffusion.grounding.heads`: expected above 0, at most 1");
    refused(&with("grounding = { weight = -1.0 }"), "diffusion.grounding.weight`: expected at least 0");
    refused(
        &with("grounding = {}\nlayout_first = { share = 1.5 }"),
        "diffusion.layout_first.share`: expected 0 to 1",
    );
    refused(&with("grounding = {}\ngradient_checkpointing = true"), "false with `grounding`");
    refused(&with("grounding = {}\nedm = {}"), "diffusion.grounding`: expected nothing with `edm`");
    refused(
        &with("text_learning_rate = 1e-3"),
        "text_learning_rate`: expected nothing without `train_text_encoder`",
    );
    refused(
        &with("train_text_encoder = true\ntext_learning_rate = 0.0"),
        "text_learning_rate`: expected above 0",
    );
    refused(&with("timestep_shift = 0.0"), "diffusion.timestep_shift`: expected above 0");
    refused(&with("train_text_encoder = true\ncache_text = true"), "false while the text encoder is trained");
    refused(&with("pooled_text = true"), "false without `train_text_encoder`");
    refused(
        &with("train_text_encoder = true\ngrounding = {}\npooled_text = true"),
        "nothing with `pooled_text`",
    );
}
