//! `POST /v1/images/edits`: a picture, and perhaps a mask, as parts of a form.

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request as HttpRequest, State};
use axum::http::{HeaderMap, Response, StatusCode};
use calotype::pipeline::GivenPictures;
use serde_json::{Map, Value, json};

use super::images::{ImageRequest, answered};
use crate::api::aside;
use crate::app::Shared;
use crate::given::Bounds;
use crate::jobs::Asked;
use crate::problem::{Answer, Problem, shortened};
use crate::security::Client;

/// Fields that are numbers; a form knows texts alone.
const NUMBERS: [&str; 7] =
    ["n", "seed", "steps", "guidance", "strength", "output_compression", "partial_images"];

/// Parts of a form, at most.
const MOST_PARTS: usize = 64;

/// The parts of a form.
#[derive(Default)]
struct Form {
    texts: Map<String, Value>,
    image: Option<Vec<u8>>,
    mask: Option<Vec<u8>>,
}

/// `POST /v1/images/edits`.
pub async fn edit(
    State(app): State<Shared>,
    client: Client,
    headers: HeaderMap,
    request: HttpRequest,
) -> Answer<Response<Body>> {
    let bytes = crate::answer::body(request, app.config.limits.body_bytes).await?;
    let form = read(&headers, bytes.into()).await?;
    let asked: ImageRequest = serde_json::from_value(Value::Object(form.texts))
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("form: {error}")))?;
    let sent = asked.sent(&app)?;
    let image = form.image.ok_or_else(|| Problem::setting("image", "a picture", "none"))?;
    let (requests, model) = (asked.requests()?, app.models.named(asked.model.as_deref())?);
    let bounds = Bounds { pixels: app.config.limits.given_pixels };
    let given = aside(move || given(bounds, &image, form.mask.as_deref())).await?;
    answered(app, client, &headers, Asked { model, requests, given, ..Asked::default() }, sent).await
}

/// Reads a form whose bytes are within bounds.
async fn read(headers: &HeaderMap, body: Body) -> Answer<Form> {
    let mut request = HttpRequest::new(body);
    *request.headers_mut() = headers.clone();
    let form = Multipart::from_request(request, &()).await;
    let mut parts = form.map_err(|e| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, e.body_text()))?;
    let mut form = Form::default();
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        count += 1;
        if count > MOST_PARTS {
            return Err(Problem::setting("form", format!("at most {MOST_PARTS} parts"), "more"));
        }
        take(&mut form, part).await?;
    }
    Ok(form)
}

async fn take(form: &mut Form, part: Field<'_>) -> Answer<()> {
    let name = part.name().unwrap_or_default().to_owned();
    match name.as_str() {
        "image" | "image[]" if form.image.is_some() => {
            Err(Problem::setting("image", "one picture", "several"))
        }
        "image" | "image[]" => {
            form.image = Some(part.bytes().await.map_err(broken)?.to_vec());
            Ok(())
        }
        "mask" => {
            form.mask = Some(part.bytes().await.map_err(broken)?.to_vec());
            Ok(())
        }
        _ => {
            let text = part.text().await.map_err(broken)?;
            form.texts.insert(name.clone(), value(&name, text)?);
            Ok(())
        }
    }
}

fn value(name: &str, text: String) -> Answer<Value> {
    if name == "stream" {
        return Ok(json!(text.eq_ignore_ascii_case("true")));
    }
    if !NUMBERS.contains(&name) {
        return Ok(Value::String(text));
    }
    let number = serde_json::from_str::<Value>(text.trim()).ok().filter(Value::is_number);
    number.ok_or_else(|| Problem::setting(name, "a number", shortened(&text)))
}

fn broken(error: MultipartError) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("form: {}", error.body_text()))
}

/// The picture, and what of it is painted: where the mask is transparent, or the picture itself without one.
fn given(bounds: Bounds, image: &[u8], mask: Option<&[u8]>) -> Answer<GivenPictures> {
    let painted = match mask {
        Some(mask) => {
            let transparency = bounds.transparency("mask", mask)?;
            let expected = "a picture with transparency: what is transparent is painted";
            Some(transparency.ok_or_else(|| Problem::setting("mask", expected, "one without"))?)
        }
        None => bounds.transparency("image", image)?,
    };
    // A picture that is opaque everywhere has no hole: all of it is changed.
    let painted = painted.filter(|mask| mask.pixels().any(|pixel| pixel[0] > 0));
    Ok(GivenPictures { init: Some(bounds.picture("image", image)?), mask: painted, reference: None })
}
