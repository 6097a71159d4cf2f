//! Kill -9 at any moment of a training: what is resumed equals what was never stopped, to the last bit of every
//! weight, moment and average, and in every logged line.

use std::collections::HashMap;

use calotype::files::safetensors;
use calotype::rng::{Philox, Purpose};
use calotype::runs::folder::{RunFolder, TrainedPart, files_by_steps};

use super::*;

/// A training long enough to be killed in, which logs every step and validates.
fn with_long_recipe(steps: usize) -> TempDir {
    let dir = with_recipe();
    let recipe = dir.join("tiny.toml");
    let longer = format!("steps = {steps}\nlog_every = 1\nvalidate_every = 20");
    let text = fs::read_to_string(&recipe).unwrap().replace("steps = 20", &longer);
    // Every part names the number that decides what is best.
    let mut best = ["validation_psnr", "validation_recall_at_5_image_to_text", "validation_loss"].into_iter();
    let lines: Vec<String> = text
        .lines()
        .flat_map(|line| {
            if line.starts_with("validate_every") {
                vec![line.to_owned(), format!("best = \"{}\"", best.next().unwrap())]
            } else {
                vec![line.to_owned()]
            }
        })
        .collect();
    fs::write(&recipe, lines.join("\n")).unwrap();
    dir
}

fn train<'a>(part: &'a str, run: &'a str, workers: &'a str) -> Vec<&'a str> {
    vec!["train", part, "--config", "tiny.toml", "--run", run, "--workers", workers]
}

/// A checkpoint: the bits of every tensor, and the metadata.
type State = (BTreeMap<String, Vec<u32>>, BTreeMap<String, String>);

/// What a run has kept: checkpoints as tensors and metadata, logs as lines, models as bytes.
#[derive(PartialEq)]
struct Kept {
    states: BTreeMap<usize, State>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Kept {
    fn of(folder: &Path, part: TrainedPart) -> Self {
        let run = RunFolder::new(folder);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        let state = |(steps, path): (usize, PathBuf)| {
            let tensors = safetensors::read(&path).unwrap().into_iter();
            let metadata: HashMap<String, String> = safetensors::read_metadata(&path).unwrap();
            let tensors = tensors.map(|(name, tensor)| (name, bits(tensor.values))).collect();
            (steps, (tensors, metadata.into_iter().collect()))
        };
        let states = files_by_steps(&run.checkpoints(part)).unwrap().into_iter().map(state).collect();
        let mut files = files(folder);
        // TensorBoard's records have the time of day; caches are no result.
        let result =
            |path: &Path| !["state", "cache", "logs/tensorboard"].iter().any(|other| path.starts_with(other));
        files.retain(|path, _| result(path));
        Self { states, files }
    }

    fn assert_is(&self, reference: &Self, context: &str) {
        assert_eq!(
            self.states.keys().collect::<Vec<_>>(),
            reference.states.keys().collect::<Vec<_>>(),
            "{context}"
        );
        for (steps, (tensors, metadata)) in &self.states {
            let (expected, expected_metadata) = &reference.states[steps];
            for (name, bits) in tensors {
                assert!(*bits == expected[name], "{context}: `{name}` after {steps} steps");
            }
            assert_eq!(tensors.len(), expected.len(), "{context}");
            assert_eq!(metadata, expected_metadata, "{context}");
        }
        let names = |kept: &Self| kept.files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(reference), "{context}");
        for (path, bytes) in &self.files {
            assert!(*bytes == reference.files[path], "{context}: {} differs", path.display());
        }
    }
}

/// Kills a training again and again until it is done, `kills` times at least over as many runs as that takes;
/// `strike` waits for the moment.
fn killed_until_done(
    part: &Part,
    steps: usize,
    kills: usize,
    mut strike: impl FnMut(&Path, &mut Child, Duration),
) {
    let dir = with_long_recipe(steps);
    let begin = |run: &str| write_files(&dir.join(run).join("model"), &components(part.reads));
    begin("reference");
    let started = Instant::now();
    succeeds(&dir, &train(part.name(), "reference", "1"));
    let whole = started.elapsed();
    let reference = Kept::of(&dir.join("reference"), part.trained);
    assert!(reference.files.keys().any(|path| path.starts_with("best")));

    let (mut killed, mut runs) = (0, 0);
    while killed < kills {
        let run = format!("run{runs}");
        begin(&run);
        loop {
            let workers = if killed % 2 == 0 { "1" } else { "4" };
            let args = [train(part.name(), &run, workers), vec!["--resume"]].concat();
            let mut child = command(&dir, &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            strike(&dir.join(&run), &mut child, whole);
            let _ = child.kill();
            if child.wait().unwrap().success() {
                break;
            }
            killed += 1;
        }
        let context = format!("{} after {killed} kills", part.name());
        Kept::of(&dir.join(&run), part.trained).assert_is(&reference, &context);
        runs += 1;
        assert!(runs < 50, "hardly ever killed");
    }
    println!("{}: {killed} kills over {runs} runs", part.name());
}

/// At a random moment of a training that takes about as long as `whole`.
fn at_random(seed: u64) -> impl FnMut(&Path, &mut Child, Duration) {
    let mut rng = Philox::new(seed, Purpose::Evaluation, 0);
    move |_, child, whole| {
        let until = Instant::now() + whole.mul_f64(rng.uniform());
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn killed_at_random_moments() {
    for (seed, part) in [VAE, CLIP, DIFFUSION].iter().enumerate() {
        killed_until_done(part, 60, 2, at_random(seed as u64));
    }
}

/// While the temporary file of a checkpoint is there; not that of the first one, so that the run gets on.
fn while_writing(run: &Path, child: &mut Child, _: Duration) {
    let state = run.join("state/vae");
    let newest = || files_by_steps(&state).unwrap().pop().map(|(steps, _)| steps);
    let first = newest();
    while child.try_wait().unwrap().is_none() {
        let Ok(entries) = fs::read_dir(&state) else { continue };
        let writing = entries.flatten().any(|entry| entry.path().extension().is_some_and(|e| e == "tmp"));
        if writing && newest() != first {
            return;
        }
    }
}

#[test]
fn killed_while_a_checkpoint_is_written() {
    killed_until_done(&VAE, 40, 2, while_writing);
}

/// The proof; some minutes. `cargo test --release --test cli -- --ignored twenty_random_kills --nocapture`
#[test]
#[ignore = "takes minutes"]
fn twenty_random_kills_of_each_training() {
    for (seed, part) in [VAE, CLIP, DIFFUSION].iter().enumerate() {
        killed_until_done(part, 200, 20, at_random(100 + seed as u64));
    }
    killed_until_done(&VAE, 100, 20, while_writing);
}
