//! What there is to choose from.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use calotype::diffusion::SigmaSpacing;
use calotype::machine::memory::available_bytes;
use calotype::sampler::SamplerKind;
use serde_json::{Value, json};

use crate::answer;
use crate::api::models::capital;
use crate::app::Shared;

/// `GET /sdapi/v1/samplers`.
pub async fn samplers() -> Response<Body> {
    let sampler =
        |kind: SamplerKind| json!({ "name": kind.label(), "aliases": [kind.name()], "options": {} });
    answer::json(&SamplerKind::ALL.map(sampler))
}

/// `GET /sdapi/v1/schedulers`.
pub async fn schedulers() -> Response<Body> {
    let scheduler = |name: &str, label: String| json!({ "name": name, "label": label, "aliases": null, "default_rho": -1.0, "need_inner_model": false });
    let automatic = scheduler("automatic", "Automatic".into());
    let own = SigmaSpacing::ALL.map(|spacing| scheduler(spacing.name(), capital(spacing.name())));
    answer::json(&[vec![automatic], own.to_vec()].concat())
}

/// `GET /sdapi/v1/sd-models`. A model's file is its name: where it lies is the server's affair.
pub async fn models(State(app): State<Shared>) -> Response<Body> {
    let model = |name: &String| json!({ "title": name, "model_name": name, "hash": null, "sha256": null, "filename": name, "config": null });
    answer::json(&app.models.names().iter().map(model).collect::<Vec<Value>>())
}

/// `GET /sdapi/v1/scripts`: there are none.
pub async fn scripts() -> Response<Body> {
    answer::json(&json!({ "txt2img": [], "img2img": [] }))
}

/// `GET /sdapi/v1/loras`: there are none to choose.
pub async fn loras() -> Response<Body> {
    answer::json(&json!([]))
}

/// `GET /sdapi/v1/upscalers`: there are none.
pub async fn upscalers() -> Response<Body> {
    answer::json(&json!([]))
}

/// `GET /sdapi/v1/sd-vae`: a model has its own.
pub async fn vaes() -> Response<Body> {
    answer::json(&json!([]))
}

/// `GET /sdapi/v1/embeddings`: there are none to choose.
pub async fn embeddings() -> Response<Body> {
    answer::json(&json!({ "loaded": {}, "skipped": {} }))
}

/// `POST /sdapi/v1/refresh-checkpoints`: folders are read anew whenever models are listed.
pub async fn refresh() -> Response<Body> {
    answer::json(&json!(null))
}

/// `GET /sdapi/v1/memory`.
pub async fn memory() -> Response<Body> {
    answer::json(&json!({ "ram": { "free": available_bytes() }, "cuda": { "error": "not asked" } }))
}
