//! All doors: what answers where.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use calotype::machine::memory::available_bytes;
use serde_json::json;

use crate::app::Shared;
use crate::problem::Problem;
use crate::{answer, api, openai, openapi, security, studio, webui};

/// Addresses in axum's way of writing, and what answers there. [`openapi::DOORS`] describes each.
fn doors() -> Vec<(&'static str, MethodRouter<Shared>)> {
    [own(), runs(), webuis(), openais(), machines()].into_iter().flatten().collect()
}

fn own() -> Vec<(&'static str, MethodRouter<Shared>)> {
    use api::{jobs, models, pictures, records};
    vec![
        ("/api/status", get(api::status)),
        ("/api/session", post(api::session)),
        ("/api/models", get(models::models)),
        ("/api/samplers", get(models::samplers)),
        ("/api/words", post(models::cut)),
        ("/api/jobs", get(jobs::list).post(jobs::add)),
        ("/api/jobs/{id}", get(jobs::get).delete(jobs::cancel)),
        ("/api/jobs/{id}/events", get(jobs::events)),
        ("/api/jobs/{id}/previews/{picture}", get(jobs::preview)),
        ("/api/pictures", get(pictures::list)),
        ("/api/pictures/{id}", get(pictures::get).merge(delete(pictures::delete))),
        ("/api/pictures/{id}/thumbnail.png", get(pictures::thumbnail)),
        ("/api/pictures/{id}/strip.png", get(pictures::strip)),
        ("/api/pictures/{id}/maps", get(pictures::maps)),
        ("/api/pictures/{id}/maps.bin", get(pictures::map_bytes)),
        ("/api/records", post(records::read)),
        ("/api/choices", post(pictures::choose)),
    ]
}

fn runs() -> Vec<(&'static str, MethodRouter<Shared>)> {
    use api::{data, evaluations, recipe_keys, runs, trainings};
    vec![
        ("/api/runs", get(runs::list)),
        ("/api/runs/{id}", get(runs::get)),
        ("/api/runs/{id}/series", get(runs::curves)),
        ("/api/runs/{id}/samples", get(runs::samples)),
        ("/api/runs/{id}/samples/{part}/{file}", get(runs::sample)),
        ("/api/runs/{id}/report", get(runs::report)),
        ("/api/recipes", get(runs::recipes)),
        ("/api/recipes/keys", get(recipe_keys::keys)),
        ("/api/recipes/check", post(runs::check)),
        ("/api/data/inspect", post(data::look)),
        ("/api/evaluations", get(evaluations::list).post(evaluations::start)),
        ("/api/evaluations/{id}", delete(evaluations::stop)),
        ("/api/evaluations/{id}/events", get(evaluations::events)),
        ("/api/evaluations/{id}/pictures", get(evaluations::pictures)),
        ("/api/evaluations/{id}/pictures/{kind}/{file}", get(evaluations::picture)),
        ("/api/trainings", get(trainings::list).post(trainings::start)),
        ("/api/trainings/{id}", get(trainings::get).delete(trainings::stop)),
        ("/api/trainings/{id}/events", get(trainings::events)),
    ]
}

fn webuis() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/sdapi/v1/txt2img", post(webui::text_to_image)),
        ("/sdapi/v1/img2img", post(webui::image_to_image)),
        ("/sdapi/v1/samplers", get(webui::samplers)),
        ("/sdapi/v1/schedulers", get(webui::schedulers)),
        ("/sdapi/v1/sd-models", get(webui::models)),
        ("/sdapi/v1/options", get(webui::get_options).post(webui::set_options)),
        ("/sdapi/v1/progress", get(webui::progress)),
        ("/sdapi/v1/interrupt", post(webui::interrupt)),
        ("/sdapi/v1/png-info", post(webui::png_info)),
        ("/sdapi/v1/scripts", get(webui::scripts)),
        ("/sdapi/v1/loras", get(webui::loras)),
        ("/sdapi/v1/embeddings", get(webui::embeddings)),
        ("/sdapi/v1/upscalers", get(webui::upscalers)),
        ("/sdapi/v1/sd-vae", get(webui::vaes)),
        ("/sdapi/v1/memory", get(webui::memory)),
        ("/sdapi/v1/refresh-checkpoints", post(webui::refresh)),
    ]
}

fn openais() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![
        ("/v1/images/generations", post(openai::generate)),
        ("/v1/images/edits", post(openai::edit)),
        ("/v1/models", get(openai::models)),
        ("/v1/models/{name}", get(openai::one_model)),
    ]
}

fn machines() -> Vec<(&'static str, MethodRouter<Shared>)> {
    vec![("/openapi.json", get(openapi::document)), ("/health", get(health)), ("/metrics", get(metrics))]
}

/// The doors behind the guard; what is no door is a file of the page, or nothing.
pub fn router(app: Shared) -> Router {
    let router = doors().into_iter().fold(Router::new(), |router, (path, method)| router.route(path, method));
    router
        .fallback(studio::file)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(app.clone(), security::guard))
        .with_state(app)
}

async fn other_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address answers to another method")
        .hint("/openapi.json lists all addresses and methods")
}

/// `GET /health`: 200 while jobs are taken, 503 when the server stops.
async fn health(State(app): State<Shared>) -> Response<Body> {
    let stopping = *app.stopping.borrow();
    let (status, word) =
        if stopping { (StatusCode::SERVICE_UNAVAILABLE, "stopping") } else { (StatusCode::OK, "ok") };
    answer::json_with(status, &json!({ "status": word }))
}

/// `GET /metrics`.
async fn metrics(State(app): State<Shared>) -> Response<Body> {
    let text = app.metrics.text(app.jobs.counts(), available_bytes());
    answer::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_is_described() {
        let doors: Vec<&str> = doors().iter().map(|(path, _)| *path).collect();
        let mut described: Vec<&str> = openapi::DOORS.iter().map(|door| door.path).collect();
        described.dedup();
        for path in &doors {
            assert!(described.contains(path), "{path} is not in the OpenAPI document");
        }
        for path in described {
            assert!(doors.contains(&path), "{path} of the OpenAPI document answers nothing");
        }
    }
}
