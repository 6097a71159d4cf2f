//! Options that last: which model, and how many layers of CLIP are left out.

use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;
use serde_json::{Map, Value, json};

use crate::answer::{self, Json};
use crate::api::records::model_of;
use crate::app::Shared;
use crate::models::Models;
use crate::problem::{Answer, Problem};

/// Values that clients may set to what they are.
const FIXED: [(&str, &str); 3] =
    [("samples_format", "png"), ("sd_vae", "Automatic"), ("randn_source", "GPU")];

/// What clients have set, for all clients of this door.
#[derive(Debug, Default)]
pub struct Options(Mutex<Chosen>);

/// What may be set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chosen {
    /// The model's name; the server's default where none was set.
    pub model: Option<String>,
    /// Layers left out at the end of the text encoder.
    pub clip_skip: usize,
}

impl Options {
    /// What was set.
    pub fn chosen(&self) -> Chosen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Chosen {
    /// The same with other options.
    ///
    /// # Errors
    /// 404 for a model, 422 for options that there are not, by name.
    pub fn with(mut self, options: &Map<String, Value>, models: &Models) -> Answer<Self> {
        for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
            match (name.as_str(), value) {
                ("sd_model_checkpoint", Value::String(title)) => self.model = Some(model_of(models, title)?),
                // webui counts the last layer as 1.
                ("CLIP_stop_at_last_layers", value) => {
                    let layer = value.as_f64().filter(|layer| (1.0..=12.0).contains(layer));
                    let layer = layer.ok_or_else(|| Problem::setting(name, "1 to 12", value))?;
                    self.clip_skip = layer as usize - 1;
                }
                (name, value)
                    if FIXED.iter().any(|(known, only)| *known == name && *value == json!(only)) => {}
                ("sd_checkpoint_hash", Value::String(hash)) if hash.is_empty() => {}
                _ => {
                    let expected =
                        "sd_model_checkpoint or CLIP_stop_at_last_layers; others cannot be set here";
                    return Err(Problem::setting(
                        name,
                        expected,
                        crate::problem::shortened(&value.to_string()),
                    ));
                }
            }
        }
        Ok(self)
    }
}

/// `GET /sdapi/v1/options`.
pub async fn get_options(State(app): State<Shared>) -> Response<Body> {
    let chosen = app.options.chosen();
    let mut options = Map::from_iter([
        ("sd_model_checkpoint".to_owned(), json!(chosen.model.unwrap_or_else(|| app.models.default.clone()))),
        ("sd_checkpoint_hash".to_owned(), json!("")),
        ("CLIP_stop_at_last_layers".to_owned(), json!(chosen.clip_skip + 1)),
    ]);
    options.extend(FIXED.map(|(name, value)| (name.to_owned(), json!(value))));
    answer::json(&options)
}

/// `POST /sdapi/v1/options`.
pub async fn set_options(
    State(app): State<Shared>,
    Json(options): Json<Map<String, Value>>,
) -> Answer<Response<Body>> {
    let chosen = app.options.chosen().with(&options, &app.models)?;
    *app.options.0.lock().unwrap_or_else(PoisonError::into_inner) = chosen;
    Ok(answer::json(&json!(null)))
}
