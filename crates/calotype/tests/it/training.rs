//! A run's weights depend on the recipe and on nothing else: not on threads, breaks or crashes.

use std::fs;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use burn::tensor::Device;
use calotype::Error;
use calotype::files::{NamedTensor, safetensors};
use calotype::nn::parameters::named_parameters;
use calotype::nn::{Init, Linear};
use calotype::progress::{Progress, Silent};
use calotype::ranks::Ranks;
use calotype::ranks::ordered_sum::Node;
use calotype::rng::{Philox, Purpose};
use calotype::runs::folder::{RunFolder, TrainedPart, files_by_steps};
use calotype::sweep::{Plan, SweepFile};
use calotype::trainer::batch::Batch;
use calotype::trainer::data_parallel::{Logged, ShareSums};
use calotype::trainer::metrics_log::read_series;
use calotype::trainer::objective::{Blind, Input, Objective, ShareLoss};
use calotype::trainer::optimizer::Optimizer;
use calotype::trainer::recipe::TrainingRecipe;
use calotype::trainer::{Recipe, Session, training_loop};

use crate::support::{
    self, CLIP, DIFFUSION, Part, TempDir, VAE, assert_holds, components, recipe, write_files,
};

const PARTS: [Part; 3] = [VAE, CLIP, DIFFUSION];

/// A run that has what `part` reads, and nothing else.
pub fn run_for(dir: &TempDir, name: &str, part: &Part) -> RunFolder {
    let run = RunFolder::new(dir.join(name));
    write_files(&run.model(), &components(part.reads));
    run
}

pub fn session<'a>(run: &'a RunFolder, resume: bool, progress: &'a dyn Progress) -> Session<'a> {
    Session { progress, ..support::session(run, resume) }
}

/// What happens after so many steps of a training.
pub enum Event {
    Nothing,
    Stop(usize),
    Crash(usize),
}

/// Makes the event happen, and notes the steps that were taken.
pub struct Witness {
    event: Event,
    taken: Mutex<Vec<usize>>,
}

impl Witness {
    pub fn of(event: Event) -> Self {
        Self { event, taken: Mutex::default() }
    }

    /// The first and the last step, counted from 1.
    fn range(&self) -> Option<(usize, usize)> {
        let taken = self.taken.lock().unwrap();
        Some((*taken.first()?, *taken.last()?))
    }
}

impl Progress for Witness {
    fn begin(&self, _: &str, _: usize, _: usize) {}
    fn step(&self, step: usize, message: &str) {
        // The latents before a denoiser's training are progress without losses.
        if message.is_empty() {
            return;
        }
        self.taken.lock().unwrap().push(step);
        if let Event::Crash(last) = self.event {
            assert_ne!(step, last, "the crash that this test asks for");
        }
    }
    fn end(&self, _: &str) {}
    fn say(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        let last = self.taken.lock().unwrap().last().copied();
        matches!(self.event, Event::Stop(step) if last == Some(step))
    }
}

fn logged_steps(run: &RunFolder, part: &Part) -> Vec<f64> {
    read_series(&run.log(part.trained), "loss").unwrap().iter().map(|(step, _)| *step).collect()
}

/// Steps and file of the newest checkpoint.
fn newest(run: &RunFolder, part: TrainedPart) -> (usize, PathBuf) {
    let (steps, path) = files_by_steps(&run.checkpoints(part)).unwrap().pop().unwrap();
    assert_eq!(safetensors::read_metadata(&path).unwrap()["steps"], steps.to_string());
    (steps, path)
}

fn saved_steps(run: &RunFolder, part: &Part) -> String {
    newest(run, part.trained).0.to_string()
}

#[test]
fn threads_and_workers_do_not_change_the_weights() {
    let dir = TempDir::new();
    for part in &PARTS {
        for (threads, workers) in [(1, 0), (2, 1), (2, 4)] {
            let run = run_for(&dir, &format!("{}-{threads}-{workers}", part.name()), part);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let session = Session { threads, workers, ..session(&run, false, &Silent) };
            pool.install(|| part.train(&recipe(&[]), session)).unwrap();
            assert_holds(
                &run.model(),
                &components(part.writes),
                &format!("{threads} threads, {workers} workers"),
            );
            assert_eq!(logged_steps(&run, part), [0.0, 10.0, 19.0]);
        }
    }
}

#[test]
fn another_seed_trains_other_weights() {
    let dir = TempDir::new();
    let run = run_for(&dir, "run", &CLIP);
    CLIP.train(&recipe(&[("seed = 3", "seed = 4")]), session(&run, false, &Silent)).unwrap();
    let other = fs::read(run.model().join("clip/model.safetensors")).unwrap();
    assert_ne!(other, components(&["clip"])[Path::new("clip/model.safetensors")]);
}

#[test]
fn a_stopped_run_goes_on_as_if_it_had_not_stopped() {
    let dir = TempDir::new();
    for part in &PARTS {
        let run = run_for(&dir, part.name(), part);
        let stop = Witness::of(Event::Stop(13));
        let error = part.train(&recipe(&[]), session(&run, false, &stop)).unwrap_err();
        assert!(matches!(error, Error::Interrupted { step: 13 }), "{error}");
        assert!(error.hint().unwrap().contains("resume"));
        assert_eq!(saved_steps(&run, part), "13");
        assert!(!run.model().join(part.writes[0]).exists(), "an unfinished {} looks finished", part.name());

        let rest = Witness::of(Event::Nothing);
        part.train(&recipe(&[]), session(&run, true, &rest)).unwrap();
        assert_eq!(rest.range(), Some((14, 20)));
        assert_holds(&run.model(), &components(part.writes), "stopped after 13 steps");
        assert_eq!(logged_steps(&run, part), [0.0, 10.0, 19.0]);
        assert_eq!(saved_steps(&run, part), "20");

        // A finished run has nothing left to do, and does it.
        let rest = Witness::of(Event::Nothing);
        part.train(&recipe(&[]), session(&run, true, &rest)).unwrap();
        assert_eq!(rest.range(), None);
        assert_holds(&run.model(), &components(part.writes), "resumed when done");
        assert_eq!(logged_steps(&run, part), [0.0, 10.0, 19.0]);
    }
}

#[test]
fn a_crash_costs_the_steps_since_the_checkpoint_and_nothing_else() {
    let dir = TempDir::new();
    for part in &PARTS {
        let run = run_for(&dir, part.name(), part);
        let crash = Witness::of(Event::Crash(13));
        let train = || part.train(&recipe(&[]), session(&run, false, &crash));
        assert!(catch_unwind(AssertUnwindSafe(train)).is_err());
        assert_eq!(saved_steps(&run, part), "10");
        // Step 10 was logged before the crash, and will be taken again.
        assert_eq!(logged_steps(&run, part), [0.0, 10.0]);
        // The crash also cut a line.
        let mut log = fs::read(run.log(part.trained)).unwrap();
        log.extend(b"{\"step\": 1");
        fs::write(run.log(part.trained), log).unwrap();

        let rest = Witness::of(Event::Nothing);
        part.train(&recipe(&[]), session(&run, true, &rest)).unwrap();
        assert_eq!(rest.range(), Some((11, 20)));
        assert_holds(&run.model(), &components(part.writes), "crashed in step 13");
        assert_eq!(logged_steps(&run, part), [0.0, 10.0, 19.0]);
    }
}

/// The log of the scale is trained, averaged, logged and kept as the weights are, and is no part of the model.
#[test]
fn a_learned_scale_goes_on_as_if_it_had_not_stopped() {
    let dir = TempDir::new();
    let ldm = recipe(&[("beta = 1e-6", "beta = 1e-6\nobjective = \"ldm\"\nreconstruction = \"l1\"")]);
    let whole = run_for(&dir, "whole", &VAE);
    VAE.train(&ldm, session(&whole, false, &Silent)).unwrap();
    let run = run_for(&dir, "stopped", &VAE);
    let stop = Witness::of(Event::Stop(13));
    VAE.train(&ldm, session(&run, false, &stop)).unwrap_err();
    let error = VAE.train(&recipe(&[]), session(&run, true, &Silent)).unwrap_err();
    assert!(matches!(&error, Error::Config { key, .. } if key == "recipe.part.objective"), "{error}");
    VAE.train(&ldm, session(&run, true, &Silent)).unwrap();

    assert_holds(&run.model(), &support::files(&whole.model()), "with a learned scale");
    let state = |run: &RunFolder| safetensors::read(&newest(run, VAE.trained).1).unwrap();
    let (expected, got) = (state(&whole), state(&run));
    assert_eq!(expected.len(), got.len());
    for (name, tensor) in &expected {
        assert_eq!(got[name].values, tensor.values, "{name}");
    }
    let logged = read_series(&run.log(VAE.trained), "logvar").unwrap();
    assert_eq!(logged, read_series(&whole.log(VAE.trained), "logvar").unwrap());
    assert_eq!(logged[0], (0.0, 0.0));
    // 20 steps at up to 2e-3; the average lags behind.
    let (value, average) = (got["value.logvar"].values[0], got["average.logvar"].values[0]);
    assert!(value != 0.0 && average != 0.0 && value != average, "{value}, {average}");
    assert!(value.abs() < 0.04, "{value}");
}

/// A CLIP run that stopped after 13 steps.
fn stopped_run(dir: &TempDir) -> RunFolder {
    let run = run_for(dir, "run", &CLIP);
    let stop = Witness::of(Event::Stop(13));
    CLIP.train(&recipe(&[]), session(&run, false, &stop)).unwrap_err();
    run
}

#[test]
fn a_resume_with_another_recipe_is_refused() {
    let dir = TempDir::new();
    let run = stopped_run(&dir);
    for change in [("seed = 3", "seed = 4"), ("size = 32", "size = 64"), ("heads = 2", "heads = 4")] {
        let error = CLIP.train(&recipe(&[change]), session(&run, true, &Silent)).unwrap_err();
        assert!(
            matches!(&error, Error::Config { key, .. } if key.starts_with("recipe.")),
            "{change:?}: {error}"
        );
    }
    // What belongs to another part may change.
    let other_part = recipe(&[("beta = 1e-6", "beta = 1e-5")]);
    CLIP.train(&other_part, session(&run, true, &Silent)).unwrap();
}

#[test]
fn a_broken_checkpoint_is_refused_and_kept() {
    let dir = TempDir::new();
    let run = stopped_run(&dir);
    let (_, state) = newest(&run, TrainedPart::Clip);
    let whole = fs::read(&state).unwrap();
    for length in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&state, &whole[..length]).unwrap();
        let error = CLIP.train(&recipe(&[]), session(&run, true, &Silent)).unwrap_err();
        assert!(matches!(&error, Error::Format { path, .. } if *path == state), "{length} bytes: {error}");
        assert_eq!(fs::read(&state).unwrap().len(), length);
        assert_eq!(logged_steps(&run, &CLIP), [0.0, 10.0]);
    }
}

#[test]
fn the_losses_go_down() {
    let dir = TempDir::new();
    for (part, name, factor) in [(VAE, "reconstruction", 0.5), (DIFFUSION, "loss", 0.9)] {
        let run = run_for(&dir, part.name(), &part);
        let longer =
            recipe(&[("steps = 20", "steps = 61"), ("learning_rate = 1e-3", "learning_rate = 4e-3")]);
        part.train(&longer, session(&run, false, &Silent)).unwrap();
        let losses: Vec<f64> =
            read_series(&run.log(part.trained), name).unwrap().iter().map(|p| p.1).collect();
        let last = losses[losses.len() - 3..].iter().sum::<f64>() / 3.0;
        assert!(last < factor * losses[0], "{}: {losses:?}", part.name());
    }
}

/// A small layer whose gradients come from a stream, one of which may be no number.
struct Layer {
    training: TrainingRecipe,
    bad_step: Option<usize>,
}

impl Objective<Linear> for Layer {
    type Share = ();
    type Settings = ();

    fn part(&self) -> TrainedPart {
        TrainedPart::Vae
    }

    fn training(&self) -> &TrainingRecipe {
        &self.training
    }

    fn settings(&self) {}

    fn logged(&self) -> Vec<&'static str> {
        vec!["loss"]
    }

    fn prepare(&self, step: usize, _: Range<usize>) -> calotype::Result<Batch<()>> {
        let items = vec![format!("picture {step}")];
        Ok(Batch { shares: vec![()], first: 0, of: 1, items, captions: vec![], damaged: vec![] })
    }

    fn loss(&self, _: &Linear, _: usize, (): &()) -> calotype::Result<ShareLoss> {
        unreachable!("the gradients are given")
    }

    fn gradients(
        &self,
        layer: &Linear,
        step: usize,
        _: &Batch<()>,
        _: usize,
        _: &dyn Ranks,
    ) -> calotype::Result<ShareSums> {
        let mut rng = Philox::new(0, Purpose::Batch, step as u64);
        let mut gradients: Vec<NamedTensor> = named_parameters(layer);
        gradients.iter_mut().for_each(|g| g.values = rng.normals(g.values.len()));
        if self.bad_step == Some(step) {
            gradients[1].values[1] = f32::NAN;
        }
        let (nodes, logged) = (vec![Node { start: 0, len: 1, sum: gradients }], Logged::Batch(vec![0.0]));
        Ok(ShareSums { nodes, of: 1, average: true, direct: None, logged })
    }

    fn inputs(&self, (): &()) -> calotype::Result<Vec<Input>> {
        Ok(vec![])
    }

    fn save(&self, _: &Linear, _: &Path) -> calotype::Result<()> {
        Ok(())
    }
}

fn train_layer(run: &RunFolder, resume: bool, bad_step: Option<usize>) -> calotype::Result<Optimizer> {
    let training = recipe(&[]).vae().unwrap().training.clone();
    let layer = Linear::new(3, 2, true, &mut Init::random(0, &Device::flex()));
    training_loop::train(session(run, resume, &Silent), Layer { training, bad_step }, layer, &Blind)
}

#[test]
fn a_gradient_that_is_no_number_stops_the_run_and_loses_nothing() {
    let dir = TempDir::new();
    let good = train_layer(&RunFolder::new(dir.join("good")), false, None).unwrap();

    let run = RunFolder::new(dir.join("bad"));
    let error = train_layer(&run, false, Some(17)).unwrap_err();
    assert!(matches!(error, Error::Diverged { step: 17, .. }), "{error}");
    let message = "gradient of `bias` is not finite at step 17: got NaN\n  batch: picture 17";
    assert_eq!(error.to_string(), message);
    assert!(error.hint().unwrap().contains("learning_rate"));
    assert_eq!(newest(&run, TrainedPart::Vae).0, 15);
    assert_eq!(train_layer(&run, true, None).unwrap().state(), good.state());
}

#[test]
fn weights_that_explode_are_never_saved() {
    let dir = TempDir::new();
    for (rate, every) in [("1e30", 1), ("1e30", 5), ("1e39", 1)] {
        let run = run_for(&dir, &format!("{rate}-{every}"), &VAE);
        let changes = [
            ("learning_rate = 2e-3", format!("learning_rate = {rate}")),
            ("checkpoint_every = 5", format!("checkpoint_every = {every}")),
        ];
        let recipe = recipe(&changes.each_ref().map(|(from, to)| (*from, to.as_str())));
        let error = VAE.train(&recipe, session(&run, false, &Silent)).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. } | Error::Diverged { .. }), "{error}");
        assert!(!run.model().exists());
        for (_, path) in files_by_steps(&run.checkpoints(TrainedPart::Vae)).unwrap() {
            let state = safetensors::read(&path).unwrap();
            assert!(state.values().all(|tensor| tensor.values.iter().all(|x| x.is_finite())));
        }
    }
}

#[test]
fn an_autoencoder_whose_latents_are_no_numbers_is_not_written() {
    // One step leaves huge but finite weights: only the latents show it.
    let dir = TempDir::new();
    let run = run_for(&dir, "run", &VAE);
    let recipe = recipe(&[("learning_rate = 2e-3", "learning_rate = 1e30"), ("steps = 20", "steps = 1")]);
    let error = VAE.train(&recipe, session(&run, false, &Silent)).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    assert!(!run.model().exists());
}

#[test]
fn every_published_recipe_can_be_read_and_written() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    let mut count = 0;
    let paths = fs::read_dir(configs).unwrap().map(|entry| entry.unwrap().path());
    for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        if path.ends_with("what-matters.toml") {
            // A sweep: every variant is a recipe, and no two are the same.
            let plan = Plan::new(&SweepFile::read(&path).unwrap()).unwrap();
            assert!(plan.variants().len() > 20);
            continue;
        }
        let recipe = Recipe::read(&path).unwrap();
        let again = Recipe::parse(&path, &recipe.to_toml().unwrap()).unwrap();
        assert_eq!(again, recipe, "{}", path.display());
        count += 1;
    }
    assert!(count >= 4);
}
