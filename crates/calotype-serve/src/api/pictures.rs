//! `/api/pictures`: what was made, with its steps and maps; and what people chose between two of them.

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::aside;
use crate::answer::{self, Json, Path, Query};
use crate::app::Shared;
use crate::given::png;
use crate::jobs::thumbnail_of;
use crate::problem::{Answer, Problem};

/// Longest side of a thumbnail, in pixels.
const THUMBNAIL: u32 = 192;
/// Pictures of a page of the list, at most.
const MOST: usize = 500;

/// Which pictures.
#[derive(Deserialize)]
pub struct Page {
    limit: Option<usize>,
    before: Option<String>,
    prompt: Option<String>,
}

/// `GET /api/pictures`.
pub async fn list(State(app): State<Shared>, Query(page): Query<Page>) -> Answer<Response<Body>> {
    let limit = page.limit.unwrap_or(60);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::setting("limit", format!("1 to {MOST}"), limit));
    }
    let (rows, more) = app.history.list(limit, page.before.as_deref(), page.prompt.as_deref())?;
    let pictures: Vec<Value> = rows.iter().map(|row| row.json()).collect();
    Ok(answer::json(&json!({ "pictures": pictures, "more": more })))
}

/// `GET /api/pictures/ID` and `GET /api/pictures/ID.png`.
pub async fn get(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    match id.strip_suffix(".png") {
        Some(id) => Ok(answer::lasting("image/png", app.history.file(id, "png")?)),
        None => Ok(answer::json(&app.history.row(&id)?.json())),
    }
}

/// `DELETE /api/pictures/ID`.
pub async fn delete(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    app.history.delete(&id)?;
    Ok(answer::nothing())
}

/// `GET /api/pictures/ID/thumbnail.png`.
pub async fn thumbnail(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    let small = aside(move || {
        let bytes = app.history.file(&id, "png")?;
        let picture = image::load_from_memory(&bytes).map_err(Problem::internal)?.into_rgb8();
        png(&thumbnail_of(&picture, THUMBNAIL))
    });
    Ok(answer::lasting("image/png", small.await?))
}

/// `GET /api/pictures/ID/strip.png`.
pub async fn strip(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    Ok(answer::lasting("image/png", app.history.file(&id, "strip.png")?))
}

/// `GET /api/pictures/ID/maps`.
pub async fn maps(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    let maps = app.history.row(&id)?.maps.ok_or_else(|| Problem::not_found("maps of picture", &id))?;
    let mut value = json!(maps);
    value["maps"] = json!(format!("/api/pictures/{id}/maps.bin"));
    Ok(answer::json(&value))
}

/// `GET /api/pictures/ID/maps.bin`.
pub async fn map_bytes(State(app): State<Shared>, Path(id): Path<String>) -> Answer<Response<Body>> {
    Ok(answer::lasting("application/octet-stream", app.history.file(&id, "maps")?))
}

/// Which of two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    left: String,
    right: String,
    chosen: String,
}

/// `POST /api/choices`.
pub async fn choose(State(app): State<Shared>, Json(choice): Json<Choice>) -> Answer<Response<Body>> {
    if !["left", "right", "neither"].contains(&choice.chosen.as_str()) {
        let got = crate::problem::shortened(&choice.chosen);
        return Err(Problem::setting("chosen", "left, right or neither", got));
    }
    let models = app.history.choose(&choice.left, &choice.right, &choice.chosen)?;
    Ok(answer::json(&json!({ "models": models })))
}
