//! The studio's own API.

pub mod data;
pub mod evaluations;
pub mod jobs;
pub mod models;
pub mod pictures;
pub mod recipe_keys;
pub mod records;
pub mod runs;
pub mod series;
pub mod settings;
pub mod trainings;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use calotype::machine::memory::available_bytes;
use serde::Deserialize;
use serde_json::json;

use crate::answer::{self, Json};
use crate::app::Shared;
use crate::jobs::{Asked, Job, bytes, prepare};
use crate::models::{Usual, memory};
use crate::problem::{Answer, Problem};
use crate::security::{Client, is_loopback};

/// `GET /api/status`.
pub async fn status(State(app): State<Shared>) -> Response<Body> {
    let (waiting, running) = app.jobs.counts();
    let config = &app.config;
    let runs = config.runs_dir.as_ref().and_then(|folder| folder.file_name());
    answer::json(&json!({
        "version": env!("CARGO_PKG_VERSION"), "commit": config.commit, "device": config.device_name,
        "threads": config.threads, "memory_free_mib": available_bytes().map(memory::mib),
        "token_required": app.secret.is_some(), "training_allowed": training_allowed(&app),
        "default_model": app.models.default,
        "queue": { "waiting": waiting, "running": running, "most": config.limits.queue },
        "runs_folder": runs.map(|name| name.to_string_lossy()),
    }))
}

/// Whether trainings may be started: on this machine, or where that was asked for.
pub fn training_allowed(app: &Shared) -> bool {
    let wanted = app.config.allow_training || is_loopback(&app.config.host);
    wanted && app.config.runs_dir.is_some()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    token: String,
}

/// `POST /api/session`: a cookie for the token.
pub async fn session(State(app): State<Shared>, Json(given): Json<Session>) -> Answer<Response<Body>> {
    let Some(secret) = &app.secret else { return Ok(answer::nothing()) };
    if !secret.is_token(&given.token) {
        // Guessing is slow, whatever the rate limit.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "this is not the token"));
    }
    let mut response = answer::nothing();
    let cookie = HeaderValue::from_str(&secret.cookie()).map_err(Problem::internal)?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// Runs what takes longer than a moment beside the answering threads.
///
/// # Errors
/// Those of the work; 500 where it panics.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> Answer<T> + Send + 'static) -> Answer<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Problem::internal("a fault of this program: the server goes on")))
}

/// Puts a job into the queue, whichever door it came by. What the model cannot do is refused at once where the model is in
/// memory.
///
/// # Errors
/// 422 for what cannot be made, 413 for what there is no memory for; as [`crate::jobs::Jobs::add`].
pub async fn submit(app: &Shared, client: &Client, mut asked: Asked) -> Answer<(Arc<Job>, usize)> {
    let most = app.config.limits.most_count;
    if !(1..=most).contains(&asked.count()) {
        return Err(Problem::setting("count", format!("1 to {most}"), asked.count()));
    }
    let shared = app.clone();
    let asked = aside(move || {
        if let Some(model) = shared.models.loaded(&asked.model) {
            let usual = Usual::of(&model, shared.models.is_released(&asked.model));
            asked.ready = prepare(&asked, &model, usual, &shared.config.limits)?;
            memory::require(bytes(&asked.ready))?;
        }
        Ok(asked)
    });
    app.jobs.add(client, asked.await?)
}
