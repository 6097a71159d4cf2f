//! What a training is asked with, and what it may not name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::StatusCode;
use calotype::data::parquet::Columns;
use calotype::machine::Machine;
use calotype::ranks::Alone;
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::trainer::Recipe;
use calotype::training::Training;
use calotype::training::data::DataSource;
use serde::Deserialize;
use toml::{Table, Value};

use super::Task;
use crate::app::{App, Shared};
use crate::problem::{Answer, Problem, shortened};

/// Keys of recipes that name files: those of a request name none.
const PATHS: [&str; 4] = ["model", "inception", "backbone", "linear"];

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTraining {
    run: String,
    recipe: String,
    parts: Vec<String>,
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    resume: bool,
}

/// Trainings of the parts of a run, in their order.
struct Asked {
    run: String,
    trainings: Vec<Training<'static>>,
}

/// Trains the parts one after the other.
fn work(app: &App, task: &Task, asked: &Asked) -> calotype::Result<()> {
    let machine = Machine { device: &app.config.device, threads: app.config.threads, progress: task };
    let trained = asked.trainings.iter().try_for_each(|training| {
        task.begin_part(training.part);
        training.open(false, machine)?.train(machine)
    });
    // Its model is another now, also where it was stopped.
    app.models.forget_run(&asked.run);
    trained
}

impl NewTraining {
    /// Begins.
    ///
    /// # Errors
    /// As [`NewTraining::asked`] and [`super::Tasks::start`].
    pub fn start(self, app: &Shared) -> Answer<Arc<Task>> {
        let asked = self.asked(app)?;
        let shared = app.clone();
        app.trainings.start(app, &asked.run.clone(), move |task| work(&shared, task, &asked))
    }

    /// What it means on this server.
    ///
    /// # Errors
    /// 403 where no training may be started; 422 for a recipe that cannot be used or names files, a name that is none, or a
    /// run that has begun and is not to go on; 404 for data that there are not.
    fn asked(self, app: &App) -> Answer<Asked> {
        let Some(runs) = &app.config.runs_dir else {
            let problem = Problem::new(StatusCode::FORBIDDEN, "this server has no folder of runs");
            return Err(problem.hint("--runs-dir names one"));
        };
        require_name(&self.run)?;
        require_no_paths(&self.recipe)?;
        let recipe = Recipe::parse(Path::new("recipe.toml"), &self.recipe)?;
        let run = RunFolder::new(runs.join(&self.run));
        let data: Vec<String> = match &self.data {
            Some(name) => vec![data_folder(app, name)?.display().to_string()],
            None => vec![],
        };
        let mut parts: Vec<TrainedPart> =
            self.parts.iter().map(|part| Ok(part.parse()?)).collect::<Answer<_>>()?;
        parts.sort();
        parts.dedup();
        if parts.is_empty() {
            return Err(Problem::setting("parts", TrainedPart::names(), "none"));
        }
        let training = |part: TrainedPart| {
            recipe.training(part)?;
            if run.has_begun(part)? && !self.resume {
                let expected = format!("a run without a trained {part}, or resume to go on");
                return Err(Problem::setting("run", expected, &self.run));
            }
            Ok(Training {
                part,
                recipe: recipe.clone(),
                run: run.clone(),
                source: DataSource {
                    data: data.clone(),
                    validation: vec![],
                    columns: Columns::default(),
                    cache: run.cache(),
                },
                resume: self.resume,
                workers: 1,
                preflight: true,
                ranks: &Alone,
            })
        };
        let trainings = parts.into_iter().map(training).collect::<Answer<Vec<_>>>()?;
        Ok(Asked { run: self.run, trainings })
    }
}

/// Refuses what is more than a name: no text of a request leads out of a folder.
fn require_name(name: &str) -> Answer<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= 64 && name.chars().all(plain) {
        return Ok(());
    }
    let expected = "1 to 64 letters, digits, - and _, the first a letter or digit";
    Err(Problem::setting("run", expected, format!("`{}`", shortened(name))))
}

/// A folder of this name among those of the data.
///
/// # Errors
/// 404.
pub fn data_folder(app: &App, name: &str) -> Answer<PathBuf> {
    let entries =
        app.config.data_dir.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
    let mut folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|known| known == name) && !name.starts_with('.');
    folders.find(named).ok_or_else(|| {
        Problem::not_found("folder of data", name).hint("--data-dir names the folder that they lie in")
    })
}

/// Refuses a recipe that names files of the server.
///
/// # Errors
/// 422 that names the key.
pub fn require_no_paths(recipe: &str) -> Answer<()> {
    // What is no TOML is refused where the recipe is read, with its line.
    let Ok(table) = recipe.parse::<Table>() else { return Ok(()) };
    match path_in("", &table) {
        None => Ok(()),
        Some(key) => Err(Problem::setting(&key, "no file: recipes of requests name none", "a path")
            .hint("`calotype train` takes it on the command line")),
    }
}

fn path_in(above: &str, table: &Table) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let dotted = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        match value {
            Value::Table(inner) => path_in(&dotted, inner),
            Value::String(_) if PATHS.contains(&key.as_str()) => Some(dotted),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_of_requests_name_no_files() {
        assert!(require_no_paths(calotype::demo::built_in("demo").unwrap()).is_ok());
        for (recipe, key) in [
            ("model = \"/etc/passwd\"", "model"),
            ("[vae]\ninception = \"x\"", "vae.inception"),
            ("[vae.perceptual]\nbackbone = \"x\"", "vae.perceptual.backbone"),
            ("[vae.perceptual]\nlinear = \"x\"", "vae.perceptual.linear"),
        ] {
            assert_eq!(require_no_paths(recipe).unwrap_err().setting.as_deref(), Some(key));
        }
    }

    #[test]
    fn runs_have_plain_names() {
        assert!(["my-run", "a", "Run_2"].iter().all(|name| require_name(name).is_ok()));
        for name in ["", "..", "../x", "a/b", "-x", ".x", "a\0", "ä", &"x".repeat(65)] {
            assert!(require_name(name).is_err(), "{name}");
        }
    }
}
