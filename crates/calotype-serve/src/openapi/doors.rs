//! All doors: what each takes and gives.

use serde_json::Value;

use super::schemas::{
    choice, data, edit, evaluation, image, job, object, png_info, recipe, session, training, webui, words,
};
use Gives::{Accepted, File};
use Takes::{Form, Png};

/// A method of an address.
pub struct Door {
    /// In small letters.
    pub(super) method: &'static str,
    /// With `{names}` where a part is to be filled in.
    pub path: &'static str,
    pub(super) about: &'static str,
    /// (name, type, whether it must be there).
    pub(super) query: &'static [(&'static str, &'static str, bool)],
    pub(super) takes: Takes,
    pub(super) gives: Gives,
}

/// What a body is.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    Json(fn() -> Value),
    Png,
    Form(fn() -> Value),
}

/// What an answer is.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    Json,
    Accepted,
    Nothing,
    File(&'static str),
}

const fn door(
    method: &'static str,
    path: &'static str,
    about: &'static str,
    takes: Takes,
    gives: Gives,
) -> Door {
    Door { method, path, about, query: &[], takes, gives }
}

const fn get(path: &'static str, about: &'static str) -> Door {
    door("get", path, about, Takes::Nothing, Gives::Json)
}

const fn file(path: &'static str, about: &'static str, kind: &'static str) -> Door {
    door("get", path, about, Takes::Nothing, File(kind))
}

const fn post(path: &'static str, about: &'static str, body: fn() -> Value) -> Door {
    door("post", path, about, Takes::Json(body), Gives::Json)
}

/// What [`PAGE`] of pictures is asked for.
const PAGE: &[(&str, &str, bool)] =
    &[("limit", "integer", false), ("before", "string", false), ("prompt", "string", false)];
const PART: &[(&str, &str, bool)] = &[("part", "string", true), ("since", "number", false)];
const JUDGED: &[(&str, &str, bool)] = &[("kind", "string", false), ("right", "boolean", false)];
const STEP: &[(&str, &str, bool)] = &[("step", "integer", false)];

/// All doors; several methods of an address stand one after the other.
pub const DOORS: &[Door] = &[
    get("/api/status", "What runs, and how much waits"),
    door("post", "/api/session", "A cookie for the token", Takes::Json(session), Gives::Nothing),
    get("/api/models", "Models, and what each is asked for where nobody says"),
    get("/api/samplers", "Samplers and spacings of noise levels"),
    post("/api/words", "A prompt in words, as a model reads it", words),
    get("/api/jobs", "Jobs that are remembered, the newest first"),
    door("post", "/api/jobs", "Ask for pictures, or for the maps of a given one", Takes::Json(job), Accepted),
    get("/api/jobs/{id}", "A job"),
    door("delete", "/api/jobs/{id}", "Stop a job", Takes::Nothing, Gives::Nothing),
    file("/api/jobs/{id}/events", "What happens to a job; Last-Event-ID goes on", "text/event-stream"),
    Door {
        query: STEP,
        ..file("/api/jobs/{id}/previews/{picture}", "What a picture looks like after a step", "image/png")
    },
    Door { query: PAGE, ..get("/api/pictures", "Pictures that were made, the newest first") },
    get("/api/pictures/{id}", "A picture's settings; with `.png` behind the id the picture"),
    door("delete", "/api/pictures/{id}", "Take a picture away", Takes::Nothing, Gives::Nothing),
    file("/api/pictures/{id}/thumbnail.png", "The picture, small", "image/png"),
    file("/api/pictures/{id}/strip.png", "The picture after each step, side by side", "image/png"),
    get("/api/pictures/{id}/maps", "What the bytes of its words' maps mean"),
    file("/api/pictures/{id}/maps.bin", "The maps: of all steps, then of each", "application/octet-stream"),
    door("post", "/api/records", "The settings that a PNG records", Png, Gives::Json),
    post("/api/choices", "Which of two pictures is better", choice),
    get("/api/runs", "Trainings on disk"),
    get("/api/runs/{id}", "A training, with its recipe and its numbers"),
    Door { query: PART, ..get("/api/runs/{id}/series", "Its curves") },
    Door { query: PART, ..get("/api/runs/{id}/samples", "Pictures of its validations") },
    file("/api/runs/{id}/samples/{part}/{file}", "One of these", "image/png"),
    file("/api/runs/{id}/report", "Its report", "text/html"),
    get("/api/recipes", "Recipes of the program"),
    get("/api/recipes/keys", "Every key of a recipe, with its default, range and meaning"),
    post("/api/recipes/check", "Whether a recipe can be used", recipe),
    post("/api/data/inspect", "What a training would see of a folder of pictures", data),
    get("/api/evaluations", "What was measured, here and by runs"),
    door("post", "/api/evaluations", "Put frozen prompts to a model", Takes::Json(evaluation), Accepted),
    door("delete", "/api/evaluations/{id}", "Stop one that runs", Takes::Nothing, Gives::Nothing),
    file("/api/evaluations/{id}/events", "What happens to an evaluation", "text/event-stream"),
    Door { query: JUDGED, ..get("/api/evaluations/{id}/pictures", "Its pictures, and what they show") },
    file("/api/evaluations/{id}/pictures/{kind}/{file}", "One of these", "image/png"),
    get("/api/trainings", "Trainings that were started here, the newest first"),
    door("post", "/api/trainings", "Start or resume a training", Takes::Json(training), Accepted),
    get("/api/trainings/{id}", "A training"),
    door("delete", "/api/trainings/{id}", "Save, and stop", Takes::Nothing, Gives::Nothing),
    file("/api/trainings/{id}/events", "What happens to a training", "text/event-stream"),
    post("/sdapi/v1/txt2img", "AUTOMATIC1111: pictures of a text", webui),
    post("/sdapi/v1/img2img", "AUTOMATIC1111: pictures of a text and a picture", webui),
    get("/sdapi/v1/samplers", "AUTOMATIC1111: samplers"),
    get("/sdapi/v1/schedulers", "AUTOMATIC1111: spacings of noise levels"),
    get("/sdapi/v1/sd-models", "AUTOMATIC1111: models"),
    get("/sdapi/v1/options", "AUTOMATIC1111: options that last"),
    post("/sdapi/v1/options", "AUTOMATIC1111: sets them", object),
    get("/sdapi/v1/progress", "AUTOMATIC1111: how far the client's own job is"),
    door(
        "post",
        "/sdapi/v1/interrupt",
        "AUTOMATIC1111: stops the client's own jobs",
        Takes::Nothing,
        Gives::Json,
    ),
    post("/sdapi/v1/png-info", "AUTOMATIC1111: what a PNG records", png_info),
    get("/sdapi/v1/scripts", "AUTOMATIC1111: none"),
    get("/sdapi/v1/loras", "AUTOMATIC1111: none to choose"),
    get("/sdapi/v1/embeddings", "AUTOMATIC1111: none to choose"),
    get("/sdapi/v1/upscalers", "AUTOMATIC1111: none"),
    get("/sdapi/v1/sd-vae", "AUTOMATIC1111: none to choose"),
    get("/sdapi/v1/memory", "AUTOMATIC1111: memory that is free"),
    door("post", "/sdapi/v1/refresh-checkpoints", "AUTOMATIC1111: does nothing", Takes::Nothing, Gives::Json),
    post("/v1/images/generations", "OpenAI: pictures of a text", image),
    door("post", "/v1/images/edits", "OpenAI: a picture changed", Form(edit), Gives::Json),
    get("/v1/models", "OpenAI: models"),
    get("/v1/models/{name}", "OpenAI: a model"),
    get("/openapi.json", "This document"),
    get("/health", "Whether the server takes jobs"),
    file("/metrics", "Counters for Prometheus", "text/plain"),
];
