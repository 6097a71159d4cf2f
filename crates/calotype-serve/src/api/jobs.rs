//! `/api/jobs`: asked for, watched, stopped.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode};
use calotype::pipeline::GivenPictures;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{aside, settings, submit};
use crate::answer::{self, Json, Path, Query};
use crate::app::Shared;
use crate::given::{Bounds, decoded};
use crate::jobs::events::stream_of;
use crate::jobs::{Asked, Job, JobKind};
use crate::problem::{Answer, Problem};
use crate::security::Client;

/// What a job is asked with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    #[serde(default = "generate")]
    kind: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    request: Map<String, Value>,
    #[serde(default = "one")]
    count: usize,
    #[serde(default)]
    word_maps: bool,
    #[serde(default)]
    previews: bool,
    #[serde(default)]
    init_image: Option<String>,
    #[serde(default)]
    mask: Option<String>,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    explain_image: Option<String>,
    #[serde(default)]
    parent: Option<String>,
}

fn generate() -> String {
    "generate".to_owned()
}

fn one() -> usize {
    1
}

impl NewJob {
    fn asked(self, app: &Shared) -> Answer<Asked> {
        let kind = if self.explain_image.is_some() { JobKind::Explain } else { JobKind::Generate };
        let known = match kind {
            JobKind::Explain => self.kind == "explain" || self.kind == "generate",
            JobKind::Generate => self.kind == "generate",
        };
        if !known {
            let expected = "generate, or explain with an explain_image";
            return Err(Problem::setting("kind", expected, crate::problem::shortened(&self.kind)));
        }
        if let Some(parent) = &self.parent {
            app.history.row(parent)?;
        }
        if kind == JobKind::Explain && self.count != 1 {
            return Err(Problem::setting("count", "1 with an explain_image", self.count));
        }
        let bounds = Bounds { pixels: app.config.limits.given_pixels };
        let picture = |name: &str, text: &Option<String>| match text {
            Some(text) => bounds.picture(name, &decoded(name, text)?).map(Some),
            None => Ok(None),
        };
        let mask = match &self.mask {
            Some(text) => Some(bounds.mask("mask", &decoded("mask", text)?)?),
            None => None,
        };
        Ok(Asked {
            model: app.models.named(self.model.as_deref())?,
            requests: vec![(settings::request(&self.request)?, self.count)],
            given: GivenPictures {
                init: picture("init_image", &self.init_image)?,
                mask,
                reference: picture("reference", &self.reference)?,
            },
            explain: picture("explain_image", &self.explain_image)?,
            word_maps: self.word_maps,
            previews: self.previews,
            parent: self.parent,
            ready: vec![],
        })
    }
}

/// `POST /api/jobs`.
pub async fn add(
    State(app): State<Shared>,
    client: Client,
    Json(new): Json<NewJob>,
) -> Answer<Response<Body>> {
    let shared = app.clone();
    let asked = aside(move || new.asked(&shared)).await?;
    let (job, position) = submit(&app, &client, asked).await?;
    Ok(answer::json_with(StatusCode::ACCEPTED, &json!({ "id": job.id, "position": position })))
}

/// `GET /api/jobs`.
pub async fn list(State(app): State<Shared>) -> Response<Body> {
    let jobs: Vec<Value> = app.jobs.all().iter().map(|job| job.json()).collect();
    answer::json(&json!({ "jobs": jobs }))
}

/// `GET /api/jobs/ID`.
pub async fn get(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    Ok(answer::json(&found(&app, &id)?.json()))
}

/// `DELETE /api/jobs/ID`.
pub async fn cancel(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    app.jobs.cancel(&found(&app, &id)?);
    Ok(answer::nothing())
}

/// `GET /api/jobs/ID/events`.
pub async fn events(
    State(app): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Response<Body>> {
    Ok(stream_of(found(&app, &id)?, &headers, app.stopping.subscribe()))
}

/// Which step's preview.
#[derive(Deserialize)]
pub struct At {
    step: Option<usize>,
}

/// `GET /api/jobs/ID/previews/I?step=N`.
pub async fn preview(
    State(app): State<Shared>,
    Path((id, picture)): Path<(String, usize)>,
    Query(At { step }): Query<At>,
) -> Answer<Response<Body>> {
    let png = found(&app, &id)?.preview(picture, step);
    let png = png.ok_or_else(|| Problem::not_found("preview of picture", &picture.to_string()))?;
    Ok(match step {
        Some(_) => answer::lasting("image/png", png.to_vec()),
        None => answer::with_type(StatusCode::OK, "image/png", png.to_vec()),
    })
}

fn found(app: &Shared, id: &str) -> Answer<Arc<Job>> {
    app.jobs.get(id).ok_or_else(|| Problem::not_found("job", id))
}
