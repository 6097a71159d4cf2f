//! `/api/evaluations`: models measured by frozen prompts.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::aside;
use crate::answer::{self, Json, Path, Query};
use crate::app::Shared;
use crate::jobs::events::stream_of;
use crate::problem::{Answer, Problem};
use crate::tasks::evaluation::{self, NewEvaluation};

/// `POST /api/evaluations`.
pub async fn start(State(app): State<Shared>, Json(new): Json<NewEvaluation>) -> Answer<Response<Body>> {
    let task = aside(move || evaluation::start(&app, new)).await?;
    Ok(answer::json_with(StatusCode::ACCEPTED, &json!({ "id": task.id })))
}

/// `GET /api/evaluations`.
pub async fn list(State(app): State<Shared>) -> Answer<Response<Body>> {
    let all = aside(move || Ok(evaluation::list(&app))).await?;
    Ok(answer::json(&json!({ "evaluations": all })))
}

/// `DELETE /api/evaluations/ID`: stops one that runs.
pub async fn stop(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    app.evaluations.get(&id)?.stop();
    Ok(answer::nothing())
}

/// `GET /api/evaluations/ID/events`.
pub async fn events(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    Ok(stream_of(app.evaluations.get(&id)?, &headers, app.stopping.subscribe()))
}

/// Which pictures.
#[derive(Deserialize)]
pub struct Wanted {
    kind: Option<String>,
    right: Option<bool>,
}

/// `GET /api/evaluations/ID/pictures`.
pub async fn pictures(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Query(Wanted { kind, right }): Query<Wanted>,
) -> Answer<Response<Body>> {
    let pictures = aside(move || evaluation::pictures(&app, &id, kind.as_deref(), right)).await?;
    Ok(answer::json(&json!({ "pictures": pictures })))
}

/// `GET /api/evaluations/ID/pictures/KIND/INDEX.png`.
pub async fn picture(
    State(app): State<Shared>,
    Path((id, kind, file)): Path<(String, String, String)>,
) -> Answer<Response<Body>> {
    let index = file.strip_suffix(".png").and_then(|index| index.parse().ok());
    let index = index.ok_or_else(|| Problem::not_found("picture", &file))?;
    let png = aside(move || evaluation::picture(&app, &id, &kind, index)).await?;
    Ok(answer::lasting("image/png", png))
}
