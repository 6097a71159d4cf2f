//! `/api/models`, `/api/samplers`, `/api/words`: what there is to ask, and how it will be read.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use calotype::diffusion::SigmaSpacing;
use calotype::sampler::SamplerKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::aside;
use crate::answer::{self, Json};
use crate::app::Shared;
use crate::models::{Facts, words};
use crate::problem::Answer;

/// `GET /api/models`.
pub async fn models(State(app): State<Shared>) -> Answer<Response<Body>> {
    let all = aside(move || {
        Ok(app.models.names().iter().map(|name| app.models.facts(name)).collect::<Vec<Facts>>())
    });
    Ok(answer::json(&json!({ "models": all.await? })))
}

/// `GET /api/samplers`.
pub async fn samplers() -> Response<Body> {
    let sampler = |kind: SamplerKind| json!({ "name": kind.name(), "label": kind.label() });
    let schedule =
        |spacing: SigmaSpacing| json!({ "name": spacing.name(), "label": capital(spacing.name()) });
    let samplers: Vec<Value> = SamplerKind::ALL.into_iter().map(sampler).collect();
    let schedules: Vec<Value> = SigmaSpacing::ALL.into_iter().map(schedule).collect();
    answer::json(&json!({ "samplers": samplers, "schedules": schedules }))
}

/// With a capital, as people write names.
pub fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    #[serde(default)]
    model: Option<String>,
    prompt: String,
}

/// `POST /api/words`. Reads the model if it is not in memory.
pub async fn cut(State(app): State<Shared>, Json(asked): Json<Asked>) -> Answer<Response<Body>> {
    let cut = aside(move || {
        let name = app.models.named(asked.model.as_deref())?;
        words(&*app.models.load(&name, 0)?, &asked.prompt)
    });
    Ok(answer::json(&cut.await?))
}
