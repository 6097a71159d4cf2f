//! What is asked of a job.

use std::sync::Arc;

use calotype::pipeline::{Generation, GivenPictures, Request};
use image::RgbImage;
use serde::Serialize;
use serde_json::Value;

use crate::api::settings::{ALLOWED, STRENGTH};

/// What is asked of a job.
#[derive(Clone, Default)]
pub struct Asked {
    /// The model's name.
    pub model: String,
    /// Requests of one size and way, each with its number of pictures.
    pub requests: Vec<(Request, usize)>,
    /// What they begin with.
    pub given: GivenPictures,
    /// A picture to explain; nothing is sampled then.
    pub explain: Option<RgbImage>,
    /// Whether words have maps.
    pub word_maps: bool,
    /// Whether each step is shown; else from when on somebody looks ([`Job::look`](super::Job::look)).
    pub previews: bool,
    /// The picture that was edited.
    pub parent: Option<String>,
    /// The requests made ready, where that was done already; in their order.
    pub ready: Vec<Arc<Generation>>,
}

impl Asked {
    /// Pictures in all.
    pub fn count(&self) -> usize {
        self.requests.iter().map(|(_, count)| count).sum()
    }

    /// Generate, or explain.
    pub fn kind(&self) -> JobKind {
        if self.explain.is_some() { JobKind::Explain } else { JobKind::Generate }
    }
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Makes pictures.
    Generate,
    /// Shows what the words of a prompt lit in a given picture.
    Explain,
}

/// A request as the API shows it and takes it again: what a client may choose and has a value, in snake_case.
pub fn settings(request: &Request) -> Value {
    let named = |(name, value): (String, Value)| {
        let name = if name == "recorded-prompt" { "prompt" } else { &name };
        let chosen = name == STRENGTH || ALLOWED.contains(&name);
        chosen.then(|| (name.replace('-', "_"), value))
    };
    Value::Object(request.settings().into_iter().filter_map(named).collect())
}
