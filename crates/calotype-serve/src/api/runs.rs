//! `/api/runs` and `/api/recipes`: trainings on disk, read and not touched; recipes of the program.

use std::fs;
use std::path::{Path as FilePath, PathBuf};

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use calotype::demo;
use calotype::runs::folder::{RunFolder, TrainedPart};
use calotype::runs::scan::{self, RunSummary};
use calotype::trainer::Recipe;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{aside, series};
use crate::answer::{self, Json, Path, Query};
use crate::app::Shared;
use crate::problem::{Answer, Problem};
use crate::tasks::require_no_paths;

/// A larger file of a run is not shown, in bytes.
const LARGEST: u64 = 64 << 20;

/// A run below the folder of runs.
struct Found {
    /// Its path below that folder, with `:` between folders.
    id: String,
    summary: RunSummary,
}

impl Found {
    fn json(&self, app: &Shared) -> Value {
        let RunSummary { path, parts, bytes, changed, has_best, .. } = &self.summary;
        let has = |name: &str| path.join(name).is_file();
        json!({
            "id": self.id, "path": self.id.replace(':', "/"), "changed": changed, "bytes": bytes, "parts": parts,
            "model": has("model/model_index.json"), "metrics": has("metrics.json"), "report": has("report.html"),
            "best": has_best, "training": app.trainings.on(&self.id),
        })
    }

    fn run(&self) -> RunFolder {
        RunFolder::new(&self.summary.path)
    }

    /// Bytes of one of its files.
    fn file(&self, name: &str) -> Option<Vec<u8>> {
        small_file(&self.summary.path.join(name))
    }
}

fn small_file(path: &FilePath) -> Option<Vec<u8>> {
    let size = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
    if size > LARGEST { None } else { fs::read(path).ok() }
}

/// All runs, and what could not be read.
fn all(app: &Shared) -> Answer<(Vec<Found>, Vec<String>)> {
    let Some(folder) = app.config.runs_dir.as_deref().filter(|folder| folder.is_dir()) else {
        return Ok((vec![], vec![]));
    };
    let listing = scan::list(folder)?;
    let found = listing.runs.into_iter().filter_map(|summary| {
        let below = summary.path.strip_prefix(folder).ok()?;
        let names: Vec<&str> = below.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
        Some(Found { id: names.join(":"), summary })
    });
    Ok((found.collect(), listing.warnings))
}

/// The run of this id: one of those that there are, never a path of the request.
fn found(app: &Shared, id: &str) -> Answer<Found> {
    let (runs, _) = all(app)?;
    runs.into_iter().find(|run| run.id == id).ok_or_else(|| Problem::not_found("run", id))
}

/// `GET /api/runs`.
pub async fn list(State(app): State<Shared>) -> Answer<Response<Body>> {
    let shared = app.clone();
    let (runs, warnings) = aside(move || all(&shared)).await?;
    let runs: Vec<Value> = runs.iter().map(|run| run.json(&app)).collect();
    Ok(answer::json(&json!({ "runs": runs, "warnings": warnings })))
}

/// `GET /api/runs/ID`.
pub async fn get(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    let run = aside(move || {
        let run = found(&app, &id)?;
        let mut value = run.json(&app);
        let text = |name: &str| run.file(name).and_then(|bytes| String::from_utf8(bytes).ok());
        value["recipe"] = json!(text("recipe.toml"));
        let metrics = text("metrics.json").and_then(|text| serde_json::from_str::<Value>(&text).ok());
        value["metrics"] = json!(metrics);
        Ok(value)
    });
    Ok(answer::json(&run.await?))
}

/// Which part, and from which step on.
#[derive(Deserialize)]
pub struct Part {
    part: String,
    since: Option<f64>,
}

/// `GET /api/runs/ID/series?part=PART&since=STEP`.
pub async fn curves(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Query(asked): Query<Part>,
) -> Answer<Response<Body>> {
    let series = aside(move || {
        let part: TrainedPart = asked.part.parse()?;
        let log = found(&app, &id)?.run().log(part);
        series::read(&log, part.name(), asked.since.unwrap_or(f64::NEG_INFINITY))
    });
    Ok(answer::json(&series.await?))
}

/// A picture of a validation: `001000-NAME.png`, after so many steps.
struct Sample {
    step: u64,
    name: String,
    file: String,
    path: PathBuf,
}

/// A part's samples, by step.
fn sample_files(run: &RunFolder, part: TrainedPart) -> Vec<Sample> {
    let entries = fs::read_dir(run.samples(part)).into_iter().flatten().flatten();
    let sample = |path: PathBuf| {
        let file = path.file_name()?.to_str()?.to_owned();
        let (step, name) = file.strip_suffix(".png")?.split_once('-')?;
        Some(Sample { step: step.parse().ok()?, name: name.to_owned(), file: file.clone(), path })
    };
    let mut found: Vec<Sample> = entries.filter_map(|entry| sample(entry.path())).collect();
    found.sort_by(|one, other| (one.step, &one.name).cmp(&(other.step, &other.name)));
    found
}

/// `GET /api/runs/ID/samples?part=PART`.
pub async fn samples(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Query(asked): Query<Part>,
) -> Answer<Response<Body>> {
    let samples = aside(move || {
        let part: TrainedPart = asked.part.parse()?;
        let run = found(&app, &id)?;
        let shown = |Sample { step, name, file, .. }: &Sample| json!({ "step": step, "name": name, "image": format!("/api/runs/{}/samples/{part}/{file}", run.id) });
        Ok(sample_files(&run.run(), part).iter().map(shown).collect::<Vec<Value>>())
    });
    Ok(answer::json(&json!({ "samples": samples.await? })))
}

/// `GET /api/runs/ID/samples/PART/FILE`.
pub async fn sample(
    State(app): State<Shared>,
    Path((id, part, file)): Path<(String, String, String)>,
) -> Answer<Response<Body>> {
    let png = aside(move || {
        let part: TrainedPart = part.parse()?;
        let files = sample_files(&found(&app, &id)?.run(), part);
        let known = files.into_iter().find(|sample| sample.file == file);
        let png = known.and_then(|sample| small_file(&sample.path));
        png.ok_or_else(|| Problem::not_found("sample", &file))
    });
    Ok(answer::with_type(StatusCode::OK, "image/png", png.await?))
}

/// `GET /api/runs/ID/report`.
pub async fn report(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    let page = aside(move || {
        found(&app, &id)?.file("report.html").ok_or_else(|| Problem::not_found("report of run", &id))
    });
    Ok(answer::with_type(StatusCode::OK, "text/html; charset=utf-8", page.await?))
}

/// `GET /api/recipes`: those of the program.
pub async fn recipes() -> Response<Body> {
    let recipe = |name: &'static str| {
        let text = demo::built_in(name).unwrap_or_default();
        let about = text.lines().next().and_then(|line| line.strip_prefix('#')).unwrap_or_default();
        json!({ "name": name, "text": text, "about": about.trim() })
    };
    let recipes: Vec<Value> = demo::built_in_names().map(recipe).collect();
    answer::json(&json!({ "recipes": recipes }))
}

/// A recipe's text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeText {
    recipe: String,
}

/// `POST /api/recipes/check`.
pub async fn check(Json(RecipeText { recipe }): Json<RecipeText>) -> Response<Body> {
    let parsed = Recipe::parse(FilePath::new("recipe.toml"), &recipe).map_err(Problem::from);
    match require_no_paths(&recipe).and(parsed) {
        Ok(_) => answer::json(&json!({ "ok": true })),
        Err(problem) => answer::json(&json!({ "ok": false, "error": problem.json()["error"] })),
    }
}
