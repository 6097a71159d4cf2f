//! What a recipe will take on this machine, from a few steps of the training of each of its parts.

use std::fs;
use std::io::ErrorKind::AlreadyExists;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use super::stopwatch::{Phase, Stopwatch};
use crate::demo;
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::machine::memory::{forget_peak, mib, peak_bytes};
use crate::ranks::Alone;
use crate::runs::folder::{RunFolder, TrainedPart};
use crate::trainer::{Recipe, Session};
use crate::training::train_on_scenes;

/// Steps that each part is trained for.
const STEPS: usize = 8;
/// Pictures whose latents are computed, for each thread.
const PICTURES: usize = 64;
/// What the encoding of pictures is called, in the progress and here.
const LATENTS: &str = "latents";

/// What a recipe will take.
#[derive(Debug, Clone, Serialize)]
pub struct RecipeEstimate {
    /// Its name, or its file.
    pub recipe: String,
    /// In the order in which they run.
    pub parts: Vec<PartEstimate>,
    /// Of all parts together; none where one of them cannot be estimated.
    pub seconds: Option<f64>,
    /// Most memory that this process had while it trained these parts, and so at least what an earlier recipe has left
    /// in it; where the system tells.
    pub peak_rss_mib: Option<f64>,
    /// What is not in these numbers.
    pub not_estimated: Vec<Unknown>,
}

/// What a part of a recipe will take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartEstimate {
    /// `vae`, `clip`, `latents` or `diffusion`.
    pub part: String,
    /// Steps of the recipe; pictures, for `latents`.
    pub steps: usize,
    /// Of these that were done here.
    pub done_steps: usize,
    /// Samples in a step; none for `latents`.
    pub batch_size: Option<usize>,
    /// Of a step, the median of those done after the first.
    pub ms_per_step: f64,
    /// Of all steps and what comes once: estimated.
    pub seconds: f64,
}

/// What cannot be estimated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unknown {
    /// A part, or other work.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// The recipes in the program, the smallest first, and the one at `file`; each with its name.
///
/// # Errors
/// As [`Recipe::read`].
pub fn recipes(file: Option<&Path>) -> Result<Vec<(String, Recipe)>> {
    let mut all = Vec::new();
    for name in demo::built_in_names() {
        all.push((name.to_owned(), demo::recipe(name)?));
    }
    if let Some(file) = file {
        all.push((file.display().to_string(), Recipe::read(file)?));
    }
    Ok(all)
}

impl RecipeEstimate {
    /// Trains each part of the recipe for a few steps on the embedded scenes, in a folder that is removed again, and
    /// reckons from them. A part that cannot be trained so is named with the reason.
    ///
    /// # Errors
    /// `Error::Io` for the folder; `Error::Interrupted`.
    pub fn measure(name: &str, recipe: &Recipe, machine: Machine) -> Result<Self> {
        let folder = Scratch::new()?;
        let short = recipe.shortened(STEPS, PICTURES * machine.threads.max(1));
        let timing = Timing { name, recipe, short, run: RunFolder::new(&folder.0), machine };
        let tells = forget_peak();
        let (mut parts, mut not_estimated, mut failed) = (Vec::new(), Vec::new(), false);
        for part in TrainedPart::ALL.into_iter().filter(|&part| recipe.training(part).is_ok()) {
            match timing.part(part) {
                Ok(estimates) => parts.extend(estimates),
                Err(error @ Error::Interrupted { .. }) => return Err(error),
                Err(error) => {
                    failed = true;
                    not_estimated.push(Unknown::new(part, error));
                }
            }
        }
        let peak_rss_mib = peak_bytes().filter(|_| tells).map(mib);
        if peak_rss_mib.is_none() {
            not_estimated.push(Unknown::new("memory", "the system does not tell"));
        }
        not_estimated.extend(beyond(recipe));
        let seconds = (!failed).then(|| parts.iter().map(|part: &PartEstimate| part.seconds).sum());
        Ok(Self { recipe: name.to_owned(), parts, seconds, peak_rss_mib, not_estimated })
    }
}

/// What is done for a recipe beside the steps that are timed.
fn beyond(recipe: &Recipe) -> impl Iterator<Item = Unknown> {
    let diffusion = recipe.diffusion().ok();
    let validates = |&part: &TrainedPart| recipe.training(part).is_ok_and(|part| part.validate_every > 0);
    let encodes = diffusion.is_some_and(|own| own.cache_latents && own.cached_scenes.is_none());
    let all = [
        (
            encodes,
            LATENTS,
            "without `cached_scenes` each step encodes its scenes; pictures of your own are encoded once, before",
        ),
        (
            diffusion.is_some_and(|own| own.cache_text),
            "captions",
            "how many different ones `cache_text` will meet is not known before",
        ),
        (TrainedPart::ALL.iter().any(validates), "validation", "it is left out of the steps that are timed"),
        (recipe.evaluation().is_ok(), "evaluation", "what `demo` measures and draws after the training"),
    ];
    all.into_iter().filter(|(there, ..)| *there).map(|(_, what, why)| Unknown::new(what, why))
}

impl Unknown {
    fn new(what: impl ToString, why: impl ToString) -> Self {
        Self { what: what.to_string(), why: why.to_string() }
    }
}

/// A recipe on its way to an estimate.
struct Timing<'a> {
    name: &'a str,
    recipe: &'a Recipe,
    /// The same with a few steps and pictures.
    short: Recipe,
    run: RunFolder,
    machine: Machine<'a>,
}

impl Timing<'_> {
    /// Trains a part, and estimates it and what comes before its first step.
    fn part(&self, part: TrainedPart) -> Result<Vec<PartEstimate>> {
        self.require_base(part)?;
        let scenes = self.short.scenes()?;
        let watch = Stopwatch::new(self.name, self.machine.progress);
        let session = Session {
            run: &self.run,
            threads: self.machine.threads,
            workers: 1,
            resume: false,
            preflight: false,
            device: self.machine.device,
            progress: &watch,
            ranks: &Alone,
        };
        train_on_scenes(part, &self.short, &scenes, session)?;
        let taken = watch.seconds();
        let latents = watch.phase(LATENTS);
        let encoding = latents.as_ref().map_or(0.0, Phase::seconds);
        let latents = latents.zip(self.pictures()).map(|(phase, [short, all])| {
            let pictures = phase.steps * all / short.max(1);
            PartEstimate::of(LATENTS, &phase, pictures, None, encoding)
        });
        let training = self.recipe.training(part)?;
        let steps = watch.phase(part.name()).map(|phase| {
            PartEstimate::of(part.name(), &phase, training.steps, Some(training.batch_size), taken - encoding)
        });
        Ok(latents.into_iter().chain(steps).collect())
    }

    /// Scenes that are encoded once: here, and by the recipe.
    fn pictures(&self) -> Option<[usize; 2]> {
        let [short, all] = [&self.short, self.recipe].map(|recipe| recipe.diffusion().ok()?.cached_scenes);
        Some([short?, all?])
    }

    /// The denoiser stands on the other parts, if not on a model.
    fn require_base(&self, part: TrainedPart) -> Result<()> {
        let trained = |part: TrainedPart| self.run.model().join(part.name()).is_dir();
        let missing = [TrainedPart::Vae, TrainedPart::Clip].into_iter().find(|&part| !trained(part));
        match missing.filter(|_| part == TrainedPart::Diffusion && self.recipe.model.is_none()) {
            Some(missing) => Err(Error::data("diffusion", format!("a {missing} that it stands on"), "none")),
            None => Ok(()),
        }
    }
}

impl PartEstimate {
    /// Of `steps` steps, where the first of them have `taken` so many seconds together with what comes once.
    fn of(part: &str, done: &Phase, steps: usize, batch_size: Option<usize>, taken: f64) -> Self {
        let per_step = done.seconds_per_step();
        Self {
            part: part.to_owned(),
            steps,
            done_steps: done.steps,
            batch_size,
            ms_per_step: 1e3 * per_step,
            seconds: taken + steps.saturating_sub(done.steps) as f64 * per_step,
        }
    }
}

/// A folder of its own among the system's temporary ones, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("calotype-bench-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Of a process that was killed and had the same number.
                Err(error) if error.kind() == AlreadyExists => {}
                Err(error) => return Err(Error::io("create", path)(error)),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::progress::Silent;

    #[test]
    fn steps_that_were_not_done_take_the_median_and_what_comes_once_counts_once() {
        let done = Phase::of("clip", 10.0, &[(1, 14.0), (2, 14.5), (3, 15.0), (4, 18.0)]);
        // 2 seconds before the work, 1 after it: 11 in all for 4 of 100 steps.
        let estimate = PartEstimate::of("clip", &done, 100, Some(64), 11.0);
        assert_eq!((estimate.steps, estimate.done_steps, estimate.ms_per_step), (100, 4, 500.0));
        assert_eq!(estimate.seconds, 11.0 + 96.0 * 0.5);
        // A recipe that is as short as what is timed takes what it has taken.
        assert_eq!(PartEstimate::of("clip", &done, 4, Some(64), 11.0).seconds, 11.0);
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = demo::built_in("smoke").unwrap();
        let (clip, rest) = (text.find("[clip]").unwrap(), text.find("[diffusion]").unwrap());
        let text =
            [&text[..clip], &text[rest..]].concat().replace("cached_scenes = 256\n", "cache_text = true\n");
        let recipe = Recipe::parse(Path::new("mine.toml"), &text).unwrap();
        let machine = Machine { device: &Device::flex(), threads: 1, progress: &Silent };
        let estimate = RecipeEstimate::measure("mine.toml", &recipe, machine).unwrap();
        assert_eq!(estimate.parts.iter().map(|part| &*part.part).collect::<Vec<_>>(), ["vae"]);
        let vae = &estimate.parts[0];
        assert_eq!((vae.steps, vae.done_steps, vae.batch_size), (150, STEPS, Some(8)));
        assert!(vae.ms_per_step > 0.0 && vae.seconds > 0.1 * vae.ms_per_step, "{vae:?}");
        assert_eq!(estimate.seconds, None);
        let missing = |what: &str| estimate.not_estimated.iter().find(|unknown| unknown.what == what);
        assert!(missing("diffusion").unwrap().why.contains("clip"), "{estimate:?}");
        assert!(
            ["latents", "captions", "evaluation"].iter().all(|what| missing(what).is_some()),
            "{estimate:?}"
        );
        assert!(missing("validation").is_none());
    }

    #[test]
    fn whoever_watches_may_stop_it() {
        struct Stopped;
        impl crate::progress::Progress for Stopped {
            fn begin(&self, _: &str, _: usize, _: usize) {}
            fn step(&self, _: usize, _: &str) {}
            fn end(&self, _: &str) {}
            fn say(&self, _: &str) {}
            fn interrupted(&self) -> bool {
                true
            }
        }
        let (name, recipe) = recipes(None).unwrap().remove(0);
        let machine = Machine { device: &Device::flex(), threads: 1, progress: &Stopped };
        let stopped = RecipeEstimate::measure(&name, &recipe, machine);
        assert!(matches!(stopped, Err(Error::Interrupted { step: 1 })), "{stopped:?}");
    }
}
