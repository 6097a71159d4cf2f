//! `POST /v1/images/generations`.

use std::io::Cursor;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, header};
use calotype::pipeline::Request;
use image::ImageFormat;
use image::codecs::jpeg::JpegEncoder;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{self, Json};
use crate::api::{aside, submit};
use crate::app::Shared;
use crate::given::encoded;
use crate::jobs::{Asked, Job, now};
use crate::problem::{Answer, Problem, shortened};
use crate::security::Client;
use crate::webui::WhileAwaited;

/// Pictures of a request, at most, as at OpenAI's.
const MOST: usize = 10;

/// What a client asks for; OpenAI's fields, then ours. Fields of OpenAI's that mean nothing here are taken and passed over:
/// they choose among prices and looks of its own models.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageRequest {
    pub prompt: String,
    pub model: Option<String>,
    pub n: Option<usize>,
    pub size: Option<String>,
    pub response_format: Option<String>,
    pub output_format: Option<String>,
    pub output_compression: Option<u8>,
    pub stream: Option<bool>,
    #[serde(rename = "quality")]
    pub _quality: Option<String>,
    #[serde(rename = "style")]
    pub _style: Option<String>,
    #[serde(rename = "background")]
    pub _background: Option<String>,
    #[serde(rename = "moderation")]
    pub _moderation: Option<String>,
    #[serde(rename = "user")]
    pub _user: Option<String>,
    #[serde(rename = "input_fidelity")]
    pub _input_fidelity: Option<String>,
    #[serde(rename = "partial_images")]
    pub _partial_images: Option<u8>,
    pub seed: Option<u64>,
    pub steps: Option<usize>,
    pub guidance: Option<f64>,
    pub negative_prompt: Option<String>,
    pub sampler: Option<String>,
    pub strength: Option<f64>,
}

/// How pictures are sent.
pub struct Sent {
    by_address: bool,
    format: ImageFormat,
    /// Of a JPEG.
    quality: u8,
}

/// `POST /v1/images/generations`.
pub async fn generate(
    State(app): State<Shared>,
    client: Client,
    headers: HeaderMap,
    Json(asked): Json<ImageRequest>,
) -> Answer<Response<Body>> {
    if asked.strength.is_some() {
        return Err(Problem::setting("strength", "a picture beside it: /v1/images/edits", "none"));
    }
    let sent = asked.sent(&app)?;
    let job = Asked {
        requests: asked.requests()?,
        model: app.models.named(asked.model.as_deref())?,
        ..Asked::default()
    };
    answered(app, client, &headers, job, sent).await
}

/// Makes the pictures of a job, and sends them.
///
/// # Errors
/// As [`submit`]; why the job has failed.
pub async fn answered(
    app: Shared,
    client: Client,
    headers: &HeaderMap,
    asked: Asked,
    sent: Sent,
) -> Answer<Response<Body>> {
    let (job, _) = submit(&app, &client, asked).await?;
    let awaited = WhileAwaited::wait(app.clone(), job).await?;
    let host =
        headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost").to_owned();
    let job: Arc<Job> = awaited.job.clone();
    let (kind, size) = (format!("{:?}", sent.format).to_lowercase(), size_of(&app, &job));
    let data = aside(move || {
        let one = |id: &String| -> Answer<Value> {
            if sent.by_address {
                return Ok(json!({ "url": format!("http://{host}/api/pictures/{id}.png") }));
            }
            let png = app.history.file(id, "png")?;
            Ok(json!({ "b64_json": encoded(&sent.written(png)?) }))
        };
        job.pictures().iter().map(one).collect::<Answer<Vec<Value>>>()
    });
    let data = data.await?;
    Ok(answer::json(&json!({ "created": now() as u64, "data": data, "output_format": kind, "size": size })))
}

fn size_of(app: &Shared, job: &Job) -> Option<String> {
    let row = app.history.row(job.pictures().first()?).ok()?;
    Some(format!("{}x{}", row.width, row.height))
}

impl Sent {
    /// The bytes of a PNG in the kind that was asked for. A PNG stays as it is, with its record.
    fn written(&self, png: Vec<u8>) -> Answer<Vec<u8>> {
        if self.format == ImageFormat::Png {
            return Ok(png);
        }
        let picture = image::load_from_memory(&png).map_err(Problem::internal)?.into_rgb8();
        let mut bytes = Cursor::new(Vec::new());
        let written = match self.format {
            ImageFormat::Jpeg => {
                picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, self.quality))
            }
            other => picture.write_to(&mut bytes, other),
        };
        written.map_err(Problem::internal)?;
        Ok(bytes.into_inner())
    }
}

impl ImageRequest {
    /// How its pictures are sent.
    ///
    /// # Errors
    /// 422.
    pub fn sent(&self, app: &Shared) -> Answer<Sent> {
        let by_address = match self.response_format.as_deref() {
            None | Some("b64_json") => false,
            Some("url") if app.secret.is_none() => true,
            Some("url") => {
                return Err(Problem::setting("response_format", "b64_json: this server has a token", "url"));
            }
            Some(other) => {
                return Err(Problem::setting("response_format", "b64_json or url", shortened(other)));
            }
        };
        let format = match self.output_format.as_deref() {
            None | Some("png") => ImageFormat::Png,
            Some("jpeg") => ImageFormat::Jpeg,
            Some("webp") => ImageFormat::WebP,
            Some(other) => {
                return Err(Problem::setting("output_format", "png, jpeg or webp", shortened(other)));
            }
        };
        let quality = match self.output_compression {
            None => 95,
            Some(quality @ 1..=100) => quality,
            Some(other) => return Err(Problem::setting("output_compression", "1 to 100", other)),
        };
        if self.stream == Some(true) {
            return Err(Problem::setting("stream", "false; /api/jobs/ID/events streams", "true"));
        }
        Ok(Sent { by_address, format, quality })
    }

    /// The requests of its pictures.
    ///
    /// # Errors
    /// 422.
    pub fn requests(&self) -> Answer<Vec<(Request, usize)>> {
        if self.prompt.is_empty() {
            return Err(Problem::setting("prompt", "what the picture should show", "nothing"));
        }
        let n = self.n.unwrap_or(1);
        if !(1..=MOST).contains(&n) {
            return Err(Problem::setting("n", format!("1 to {MOST}"), n));
        }
        let (width, height) = match self.size.as_deref() {
            None | Some("auto") => (None, None),
            Some(size) => {
                let sides = size.split_once('x');
                let sides =
                    sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
                let wrong =
                    || Problem::setting("size", "WIDTHxHEIGHT, such as 64x64, or auto", shortened(size));
                let (width, height): (usize, usize) = sides.ok_or_else(wrong)?;
                (Some(width), Some(height))
            }
        };
        let seed = match self.seed {
            Some(seed) => seed,
            None => crate::webui::random_seed()?,
        };
        let sampler = match self.sampler.as_deref() {
            Some(name) => Some(name.parse()?),
            None => None,
        };
        let request = Request {
            prompt: self.prompt.clone(),
            negative: self.negative_prompt.clone(),
            seed: Some(seed),
            steps: self.steps,
            guidance: self.guidance,
            strength: self.strength,
            sampler,
            width,
            height,
            ..Request::default()
        };
        Ok(vec![(request, n)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(value: Value) -> Answer<Vec<(Request, usize)>> {
        serde_json::from_value::<ImageRequest>(value).unwrap().requests()
    }

    #[test]
    fn openais_fields_become_a_request() {
        let asked =
            requests(json!({"prompt": "a cat", "n": 2, "size": "64x96", "seed": 7, "quality": "high"}))
                .unwrap();
        let (request, count) = &asked[0];
        assert_eq!((request.width, request.height, request.seed, *count), (Some(64), Some(96), Some(7), 2));
        for (value, setting) in [
            (json!({"prompt": ""}), "prompt"),
            (json!({"prompt": "a", "n": 11}), "n"),
            (json!({"prompt": "a", "size": "large"}), "size"),
            (json!({"prompt": "a", "sampler": "magic"}), "sampler"),
        ] {
            assert_eq!(requests(value).unwrap_err().setting.as_deref(), Some(setting));
        }
        assert!(serde_json::from_value::<ImageRequest>(json!({"prompt": "a", "typo": 1})).is_err());
    }
}
