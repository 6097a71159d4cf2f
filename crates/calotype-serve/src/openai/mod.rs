//! `/v1`: what clients of OpenAI's image API call.
//!
//! `seed`, `steps`, `guidance`, `negative_prompt`, `sampler` and, for edits, `strength` are fields beside OpenAI's.

mod edits;
mod images;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::{Value, json};

use crate::answer::{self, Path};
use crate::app::Shared;
use crate::problem::Answer;

pub use edits::edit;
pub use images::generate;

/// `GET /v1/models`.
pub async fn models(State(app): State<Shared>) -> Response<Body> {
    let models: Vec<Value> = app.models.names().iter().map(|name| model(name)).collect();
    answer::json(&json!({ "object": "list", "data": models }))
}

/// `GET /v1/models/NAME`.
pub async fn one_model(State(app): State<Shared>, Path(name): Path<String>) -> Answer<Response<Body>> {
    Ok(answer::json(&model(&app.models.named(Some(&name))?)))
}

fn model(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": 0, "owned_by": "calotype" })
}
