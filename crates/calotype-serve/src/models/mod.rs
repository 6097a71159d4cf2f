//! The models that may be asked for by name, those in memory, and what is known of each.

mod facts;
pub mod memory;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::http::StatusCode;
use calotype::checkpoint::{Checkpoint, find, released};
use calotype::machine::Machine;
use calotype::model::Model;
use calotype::nn::{Compute, Precision};
use calotype::progress::Silent;

use crate::config::Config;
use crate::problem::{Answer, Problem, shortened};
pub use facts::{Facts, Usual};
pub use words::words;

/// Endings of weight files in the models' folder.
const ENDINGS: [&str; 3] = ["safetensors", "ckpt", "gguf"];
/// What a run's model is called: `run:NAME`.
const RUN: &str = "run:";

/// Who looks at models.
pub struct Models {
    /// What requests get that name none.
    pub default: String,
    default_path: PathBuf,
    models_dir: Option<PathBuf>,
    runs_dir: Option<PathBuf>,
    device: burn::tensor::Device,
    threads: usize,
    /// The last used at the end.
    loaded: Mutex<Vec<(String, Arc<Model>)>>,
    facts: Mutex<BTreeMap<(PathBuf, Option<SystemTime>), Facts>>,
}

impl Models {
    /// Those of a server.
    pub fn new(config: &Config) -> Self {
        let name = config.model.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        // A folder may have a dot in its name; a file's ending is none of its name's.
        let whole = config.model.file_name().map(|name| name.to_string_lossy().into_owned());
        let default = if config.model.is_file() { name } else { whole };
        Self {
            default: default.unwrap_or_else(|| released::NAME.to_owned()),
            default_path: config.model.clone(),
            models_dir: config.models_dir.clone(),
            runs_dir: config.runs_dir.clone(),
            device: config.device.clone(),
            threads: config.threads,
            loaded: Mutex::default(),
            facts: Mutex::default(),
        }
    }

    /// All names, the default first.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![self.default.clone()];
        names.extend(self.others().into_keys().filter(|name| *name != self.default));
        names
    }

    /// Where models lie, by name: those of the folder, the released one, and those of runs. Read anew each time, for
    /// trainings make new ones.
    fn others(&self) -> BTreeMap<String, PathBuf> {
        let mut found = BTreeMap::from([(released::NAME.to_owned(), PathBuf::from(released::NAME))]);
        for path in self.models_dir.iter().flat_map(|folder| entries(folder)) {
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            let is_model = if path.is_dir() { is_model_folder(&path) } else { ENDINGS.contains(&ending) };
            let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
            if let (true, Some(name)) = (is_model, name.and_then(|name| name.to_str())) {
                found.insert(name.to_owned(), path);
            }
        }
        for run in self.runs_dir.iter().flat_map(|folder| entries(folder)) {
            let model = run.join("model");
            if let (true, Some(name)) =
                (is_model_folder(&model), run.file_name().and_then(|name| name.to_str()))
            {
                found.insert(format!("{RUN}{name}"), model);
            }
        }
        found
    }

    /// The name of a model that there is; the default where none is asked for.
    ///
    /// # Errors
    /// 404, with the names.
    pub fn named(&self, name: Option<&str>) -> Answer<String> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(self.default.clone()) };
        let names = self.names();
        if names.iter().any(|known| known == name) {
            return Ok(name.to_owned());
        }
        let message = format!("model: expected one of {}, got `{}`", names.join(", "), shortened(name));
        Err(Problem { setting: Some("model".into()), ..Problem::new(StatusCode::NOT_FOUND, message) })
    }

    /// Where a model lies: a path, or the name of the released one.
    ///
    /// # Errors
    /// 404.
    pub fn path(&self, name: &str) -> Answer<PathBuf> {
        let path =
            if name == self.default { Some(self.default_path.clone()) } else { self.others().remove(name) };
        path.ok_or_else(|| Problem::not_found("model", name))
    }

    /// The model, if it is in memory.
    pub fn loaded(&self, name: &str) -> Option<Arc<Model>> {
        self.lock().iter().find(|(known, _)| known == name).map(|(_, model)| model.clone())
    }

    /// The model, read if need be; others leave the memory where it would not be enough for both. `room`: bytes that
    /// the work with it takes.
    ///
    /// # Errors
    /// 404; those of reading it; 413 where the memory is not enough with no other in it.
    pub fn load(&self, name: &str, room: u64) -> Answer<Arc<Model>> {
        let mut loaded = self.lock();
        if let Some(at) = loaded.iter().position(|(known, _)| known == name) {
            let entry = loaded.remove(at);
            loaded.push(entry);
            let model = loaded[loaded.len() - 1].1.clone();
            while !memory::is_enough(room) && loaded.len() > 1 {
                loaded.remove(0);
            }
            return Ok(model);
        }
        drop(loaded);
        let path = find(&self.path(name)?, &Silent)?;
        let needed = room + memory::bytes_of(&path);
        while !memory::is_enough(needed) && !self.lock().is_empty() {
            self.lock().remove(0);
        }
        memory::require(needed)?;
        let model = Arc::new(self.read(&path)?);
        self.lock().push((name.to_owned(), model.clone()));
        Ok(model)
    }

    /// Reads a run's model anew when it is next asked for: its training has gone on.
    pub fn forget_run(&self, run: &str) {
        self.lock().retain(|(name, _)| name.strip_prefix(RUN) != Some(run));
    }

    fn read(&self, path: &Path) -> calotype::Result<Model> {
        let request = calotype::pipeline::Request { model: Some(path.to_owned()), ..Default::default() };
        request.load(Machine { device: &self.device, threads: self.threads, progress: &Silent })
    }

    /// What is sampled where nobody says.
    ///
    /// # Errors
    /// As [`Models::load`].
    pub fn usual(&self, name: &str) -> Answer<Usual> {
        Ok(Usual::of(&*self.load(name, 0)?, self.is_released(name)))
    }

    /// What is known of a model; what is not in memory is opened for it, once for each time that it changes.
    pub fn facts(&self, name: &str) -> Facts {
        if let Some(model) = self.loaded(name) {
            return self.of_model(name, &model).in_memory();
        }
        let path = match self.path(name).and_then(|path| Ok(find(&path, &Silent)?)) {
            Ok(path) => path,
            Err(problem) => return Facts::broken(name, &problem.message),
        };
        let changed = fs::metadata(&path).and_then(|facts| facts.modified()).ok();
        let known = || self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = known().get(&(path.clone(), changed)) {
            return facts.clone();
        }
        // On the processor: networks of mapped weights take next to no memory there.
        let compute = Compute::new(&burn::tensor::Device::flex(), Precision::F32.products());
        let facts = match Checkpoint::open(&path).and_then(|checkpoint| checkpoint.into_model(&compute)) {
            Ok(model) => self.of_model(name, &model),
            Err(error) => Facts::broken(name, &error.to_string()),
        };
        known().insert((path, changed), facts.clone());
        facts
    }

    fn of_model(&self, name: &str, model: &Model) -> Facts {
        let bytes = self
            .path(name)
            .ok()
            .and_then(|path| find(&path, &Silent).ok())
            .map(|path| memory::bytes_of(&path));
        Facts::of(name, model, self.is_released(name), bytes.unwrap_or(0))
    }

    /// Whether this is the model of the program.
    pub fn is_released(&self, name: &str) -> bool {
        let default = self.default_path == Path::new(released::NAME);
        name == released::NAME && (default || name != self.default)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Arc<Model>)>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_model_folder(path: &Path) -> bool {
    path.join("model_index.json").is_file()
}

/// What lies in a folder, hidden files left out; nothing where it cannot be read.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let visible = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| !name.starts_with('.'))
    };
    let found = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    found.filter(visible).collect()
}
