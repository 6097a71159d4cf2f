//! Frozen prompts put to a model, and what was measured before: of models asked here, and of runs that measured
//! themselves.
//!
//! ```text
//! HISTORY/evaluations/ID/evaluation.json  what is shown, written last
//! HISTORY/evaluations/ID/judged.json      what of each prompt its picture shows
//! HISTORY/evaluations/ID/unseen/00000.png the pictures
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use axum::http::StatusCode;
use calotype::Error;
use calotype::data::emoji_scenes::Noun;
use calotype::evaluate::benchmark::{JudgedPairs, Pairs, PromptSet, SCENE_SEED};
use calotype::evaluate::prompt_accuracy::Proportion;
use calotype::files::atomic;
use calotype::machine::Machine;
use calotype::pipeline::Request;
use calotype::prompt_benchmark::of_model;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Task;
use crate::app::{App, Shared};
use crate::jobs::now;
use crate::problem::{Answer, Problem};

/// Prompts of each kind, at most: as many as the benchmark has.
const MOST_PROMPTS: usize = 500;
/// Evaluations that are kept, the newest.
const MOST_KEPT: usize = 50;
/// Pictures at a time; they do not depend on it.
const BATCH: usize = 8;

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEvaluation {
    #[serde(default)]
    model: Option<String>,
    #[serde(default = "some")]
    prompts: usize,
    #[serde(default)]
    seed: u64,
}

fn some() -> usize {
    64
}

/// Begins.
///
/// # Errors
/// 404 for a model that there is not, 422 for too many prompts; as [`super::Tasks::start`].
pub fn start(app: &Shared, new: NewEvaluation) -> Answer<std::sync::Arc<Task>> {
    if !(2..=MOST_PROMPTS).contains(&new.prompts) {
        return Err(Problem::setting("prompts", format!("2 to {MOST_PROMPTS}"), new.prompts));
    }
    let name = app.models.named(new.model.as_deref())?;
    let shared = app.clone();
    app.evaluations
        .start(app, &name.clone(), move |task| measure(&shared, task, &name, new.prompts, new.seed))
}

fn measure(app: &App, task: &Task, name: &str, prompts: usize, seed: u64) -> calotype::Result<()> {
    let failed =
        |problem: Problem| Error::data(format!("model `{name}`"), "one that can be read", problem.message);
    let usual = app.models.usual(name).map_err(failed)?;
    let folder = folder(app).join(&task.id);
    let prompts =
        PromptSet { nouns: Noun::ALL.to_vec(), max_objects: 2, scene_seed: SCENE_SEED, count: prompts };
    let request = Request {
        model: Some(app.models.path(name).map_err(failed)?),
        steps: Some(usual.steps),
        sampler: usual.sampler,
        guidance: Some(usual.guidance),
        seed: Some(seed),
        ..Request::default()
    };
    let machine = Machine { device: &app.config.device, threads: app.config.threads, progress: task };
    let outcome = of_model(&prompts, &request, BATCH, Some(&folder), machine);
    let outcome = outcome.inspect_err(|_| {
        // Half an evaluation is none.
        let _ = fs::remove_dir_all(&folder);
    })?;
    let judged: Vec<Value> = outcome.pairs.iter().flat_map(judged).collect();
    atomic::write_json(&folder.join("judged.json"), &judged)?;
    let whole = outcome.to_json(&app.config.commit)?;
    let mut metrics = Map::new();
    for pairs in &outcome.pairs {
        let ending = if pairs.pairs == Pairs::Unseen { "" } else { "_seen_pairs" };
        let named = [
            ("prompt_accuracy", Some(pairs.accuracy.prompts)),
            ("noun_accuracy", Some(pairs.accuracy.nouns)),
            ("relation_accuracy", pairs.accuracy.relations),
            ("colour_accuracy", pairs.accuracy.colours),
            ("everything_accuracy", Some(pairs.accuracy.everything)),
        ];
        metrics.extend(
            named.iter().filter_map(|(name, share)| Some((format!("{name}{ending}"), number(&(*share)?)))),
        );
    }
    let mut protocol = whole["protocol"].clone();
    protocol["name"] = whole["benchmark"].clone();
    protocol["source"] =
        json!({ "steps": usual.steps, "sampler": usual.sampler, "guidance": usual.guidance, "seed": seed });
    let shown = json!({
        "id": task.id, "model": name, "when": now(), "kind": "benchmark", "metrics": metrics, "protocol": protocol,
    });
    atomic::write_json(&folder.join("evaluation.json"), &shown)?;
    forget_old(app);
    Ok(())
}

fn number(share: &Proportion) -> Value {
    let (low, high) = share.interval();
    json!({ "value": share.rate(), "low": low, "high": high, "n": share.n() })
}

/// What of each prompt its picture shows.
fn judged(pairs: &JudgedPairs) -> Vec<Value> {
    let all = pairs.scenes.iter().zip(&pairs.readings).zip(&pairs.judgements).enumerate();
    let one = |(index, ((scene, reading), judgement)): (usize, ((&_, &_), &_))| {
        let scene: &calotype::data::emoji_scenes::Scene = scene;
        let judgement: &calotype::evaluate::benchmark::Judgement = judgement;
        let nouns =
            scene.spec.objects.iter().map(|(noun, _)| noun.name()).zip(&judgement.verdict.nouns_found);
        let (found, missing): (Vec<_>, Vec<_>) = nouns.partition(|(_, found)| **found);
        let names =
            |list: Vec<(&'static str, &bool)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        json!({
            "kind": pairs.pairs.to_string(), "index": index, "prompt": scene.caption,
            "right": judgement.verdict.correct, "found": names(found), "missing": names(missing),
            "faults": judgement.faults(reading, scene),
        })
    };
    all.map(one).collect()
}

fn folder(app: &App) -> PathBuf {
    app.config.history.join("evaluations")
}

/// All that is complete, the newest first.
fn complete(app: &App) -> Vec<(PathBuf, Value)> {
    let entries = fs::read_dir(folder(app)).into_iter().flatten().flatten().map(|entry| entry.path());
    let read = |path: PathBuf| Some((path.clone(), atomic::read_json(&path.join("evaluation.json")).ok()?));
    let mut all: Vec<(PathBuf, Value)> = entries.filter_map(read).collect();
    all.sort_by(|(_, one), (_, other)| {
        other["when"].as_f64().unwrap_or(0.0).total_cmp(&one["when"].as_f64().unwrap_or(0.0))
    });
    all
}

fn forget_old(app: &App) {
    for (path, _) in complete(app).into_iter().skip(MOST_KEPT) {
        // What cannot be removed is tried again after the next one.
        let _ = fs::remove_dir_all(path);
    }
}

/// What was measured: here, and by the runs that are shown.
pub fn list(app: &App) -> Vec<Value> {
    let own = complete(app).into_iter().map(|(_, value)| value);
    let runs =
        app.config.runs_dir.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    own.chain(runs.filter_map(|run| of_run(&run.path()))).collect()
}

/// What a run's `metrics.json` says.
fn of_run(run: &Path) -> Option<Value> {
    let path = run.join("metrics.json");
    let metrics: Value = atomic::read_json(&path).ok()?;
    let when = fs::metadata(&path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    let name = format!("run:{}", run.file_name()?.to_str()?);
    let number = |(key, value): (&String, &Value)| {
        let interval = &metrics["intervals_95"][key];
        let value = json!({ "value": value.as_f64()?, "low": interval[0], "high": interval[1] });
        Some((key.clone(), value))
    };
    let numbers: Map<String, Value> = metrics.as_object()?.iter().filter_map(number).collect();
    Some(
        json!({ "id": name, "model": name, "when": when, "kind": "demo", "metrics": numbers, "protocol": metrics["protocol"] }),
    )
}

/// Pictures of an evaluation and what they show; of one kind, or right ones alone.
///
/// # Errors
/// 404.
pub fn pictures(app: &App, id: &str, kind: Option<&str>, right: Option<bool>) -> Answer<Vec<Value>> {
    let path = known(app, id)?;
    let all: Vec<Value> = atomic::read_json(&path.join("judged.json"))?;
    let wanted = |one: &Value| {
        kind.is_none_or(|kind| one["kind"] == kind) && right.is_none_or(|right| one["right"] == right)
    };
    let shown = all.into_iter().filter(wanted).map(|mut one| {
        let (kind, index) = (one["kind"].as_str().unwrap_or_default(), one["index"].as_u64().unwrap_or(0));
        one["image"] = json!(format!("/api/evaluations/{id}/pictures/{kind}/{index}.png"));
        one
    });
    Ok(shown.collect())
}

/// A picture of an evaluation.
///
/// # Errors
/// 404.
pub fn picture(app: &App, id: &str, kind: &str, index: usize) -> Answer<Vec<u8>> {
    let pairs = [Pairs::Unseen, Pairs::Seen].into_iter().find(|pairs| pairs.to_string() == kind);
    let path = pairs.map(|pairs| pairs.file(index));
    let bytes = known(app, id)?.join(path.ok_or_else(|| Problem::not_found("kind of pairs", kind))?);
    fs::read(bytes).map_err(|_| Problem::new(StatusCode::NOT_FOUND, format!("there is no picture {index}")))
}

/// The folder of an evaluation that there is: no text of a request is ever part of a path.
fn known(app: &App, id: &str) -> Answer<PathBuf> {
    let found = complete(app).into_iter().find(|(_, value)| value["id"] == id);
    found.map(|(path, _)| path).ok_or_else(|| Problem::not_found("evaluation", id))
}
