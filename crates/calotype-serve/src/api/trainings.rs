//! `/api/trainings`: started, watched, stopped.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::{aside, training_allowed};
use crate::answer::{self, Json, Path};
use crate::app::Shared;
use crate::jobs::events::stream_of;
use crate::problem::{Answer, Problem};
use crate::tasks::NewTraining;

/// `POST /api/trainings`.
pub async fn start(State(app): State<Shared>, Json(new): Json<NewTraining>) -> Answer<Response<Body>> {
    if !training_allowed(&app) {
        let problem = Problem::new(StatusCode::FORBIDDEN, "trainings cannot be started on this server");
        return Err(problem
            .hint("--runs-dir names a folder for them; beyond this machine --allow-training is needed"));
    }
    let task = aside(move || new.start(&app)).await?;
    Ok(answer::json_with(StatusCode::ACCEPTED, &json!({ "id": task.id })))
}

/// `GET /api/trainings`.
pub async fn list(State(app): State<Shared>) -> Response<Body> {
    let trainings: Vec<Value> = app.trainings.all().iter().map(|task| task.json()).collect();
    answer::json(&json!({ "trainings": trainings }))
}

/// `GET /api/trainings/ID`.
pub async fn get(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    Ok(answer::json(&app.trainings.get(&id)?.json()))
}

/// `GET /api/trainings/ID/events`.
pub async fn events(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    Ok(stream_of(app.trainings.get(&id)?, &headers, app.stopping.subscribe()))
}

/// `DELETE /api/trainings/ID`: it saves, and stops.
pub async fn stop(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    app.trainings.get(&id)?.stop();
    Ok(answer::nothing())
}
