//! Pictures, made while the client waits; how far they are; and what a PNG records.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use calotype::files::png_text;
use calotype::pipeline::generation_parameters;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::asked::{Understood, WebuiRequest};
use super::info;
use crate::answer::{self, Json};
use crate::api::{aside, submit};
use crate::app::Shared;
use crate::given::{decoded, encoded};
use crate::jobs::{Job, State as JobState, now};
use crate::problem::{Answer, Problem};
use crate::security::Client;

/// Stops a job whose client has gone.
pub struct WhileAwaited {
    app: Shared,
    /// The job.
    pub job: Arc<Job>,
}

impl WhileAwaited {
    /// Waits for a job's end; a client that goes away stops it.
    ///
    /// # Errors
    /// Why it has failed.
    pub async fn wait(app: Shared, job: Arc<Job>) -> Answer<Self> {
        let awaited = Self { app, job };
        awaited.job.ended().await;
        match awaited.job.problem() {
            Some(problem) => Err(problem),
            None => Ok(awaited),
        }
    }
}

impl Drop for WhileAwaited {
    fn drop(&mut self) {
        if !self.job.state().is_end() {
            self.app.jobs.cancel(&self.job);
        }
    }
}

/// `POST /sdapi/v1/txt2img`.
pub async fn text_to_image(
    State(app): State<Shared>,
    client: Client,
    Json(asked): Json<Value>,
) -> Answer<Response<Body>> {
    make(app, client, asked, false).await
}

/// `POST /sdapi/v1/img2img`.
pub async fn image_to_image(
    State(app): State<Shared>,
    client: Client,
    Json(asked): Json<Value>,
) -> Answer<Response<Body>> {
    make(app, client, asked, true).await
}

async fn make(app: Shared, client: Client, asked: Value, to_image: bool) -> Answer<Response<Body>> {
    let mut parameters = asked.clone();
    let request: WebuiRequest =
        serde_json::from_value(asked).map_err(|e| Problem::setting("body", "webui's fields", e))?;
    let sends = request.send_images.unwrap_or(true);
    let shared = app.clone();
    let understood = aside(move || request.understood(&shared, to_image)).await?;
    let Understood { asked, mut warnings, first } = understood;
    let (job, _) = submit(&app, &client, asked).await?;
    let awaited = WhileAwaited::wait(app.clone(), job).await?;
    let job = awaited.job.clone();
    warnings.extend(job.warnings());
    let pngs: Vec<Vec<u8>> =
        job.pictures().iter().map(|id| app.history.file(id, "png")).collect::<Answer<Vec<_>>>()?;
    let info = info::of(&app, &job, &first, &pngs, &warnings);
    let images: Vec<String> = if sends { pngs.iter().map(|png| encoded(png)).collect() } else { vec![] };
    if let Some(parameters) = parameters.as_object_mut() {
        // As webui: what was sent is not sent back.
        parameters.retain(|name, _| !["init_images", "mask"].contains(&name.as_str()));
    }
    Ok(answer::json(&json!({ "images": images, "parameters": parameters, "info": info })))
}

/// The job of a client that runs, or that waits first.
fn current(app: &Shared, client: &Client) -> Option<Arc<Job>> {
    let jobs = app.jobs.all();
    let mut own = jobs.iter().rev().filter(|job| job.client == *client && !job.state().is_end());
    let running = own.clone().find(|job| job.state() == JobState::Running);
    running.or(own.next()).cloned()
}

/// `GET /sdapi/v1/progress`: of the client's own job.
pub async fn progress(State(app): State<Shared>, client: Client) -> Response<Body> {
    let job = current(&app, &client);
    let (step, steps) = job.as_ref().map_or((0, 0), |job| job.steps());
    let share = if steps > 0 { step as f64 / steps as f64 } else { 0.0 };
    let image = job.as_ref().and_then(|job| job.look()).map(|png| encoded(&png));
    answer::json(&json!({
        "progress": share, "eta_relative": 0.0,
        "state": {
            "skipped": false, "interrupted": false, "stopping_generation": false,
            "job": job.as_ref().map_or("", |job| job.id.as_str()), "job_count": i32::from(job.is_some()),
            "job_timestamp": format!("{}", now() as u64), "job_no": 0,
            "sampling_step": step, "sampling_steps": steps,
        },
        "current_image": image, "textinfo": null,
    }))
}

/// `POST /sdapi/v1/interrupt`: the client's own jobs, after their step.
pub async fn interrupt(State(app): State<Shared>, client: Client) -> Response<Body> {
    let jobs = app.jobs.all();
    let own = jobs.iter().filter(|job| job.client == client && !job.state().is_end());
    own.for_each(|job| app.jobs.cancel(job));
    answer::json(&json!({}))
}

/// A PNG.
#[derive(Deserialize)]
pub struct PngInfo {
    image: String,
}

/// `POST /sdapi/v1/png-info`.
pub async fn png_info(Json(PngInfo { image }): Json<PngInfo>) -> Answer<Response<Body>> {
    let png = decoded("image", &image)?;
    let texts = png_text::read(&png).map_err(|reason| Problem::setting("image", "a whole PNG", reason))?;
    let own = texts.iter().find(|(keyword, _)| keyword == "parameters").map(|(_, text)| text.clone());
    let parameters = own.as_deref().map(generation_parameters::parse).unwrap_or_default();
    let mut named =
        Map::from_iter(parameters.fields.iter().map(|(name, value)| (name.clone(), json!(value))));
    if own.is_some() {
        named.insert("Prompt".into(), json!(parameters.prompt));
        named.insert("Negative prompt".into(), json!(parameters.negative_prompt));
    }
    let items: Map<String, Value> = texts.into_iter().map(|(keyword, text)| (keyword, json!(text))).collect();
    Ok(answer::json(&json!({ "info": own.unwrap_or_default(), "items": items, "parameters": named })))
}
