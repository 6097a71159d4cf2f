//! Bodies of answers and of requests: JSON both ways, within bounds.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::Shared;
use crate::problem::{Answer, Problem};

/// How long a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(60);

/// 200 with JSON.
pub fn json(value: &impl Serialize) -> Response<Body> {
    json_with(StatusCode::OK, value)
}

/// JSON with another status.
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(status, "application/json", bytes),
        // A map whose keys are no strings: none of ours.
        Err(_) => with_type(StatusCode::INTERNAL_SERVER_ERROR, "application/json", Vec::new()),
    }
}

/// Bytes of a type.
pub fn with_type(status: StatusCode, kind: &'static str, bytes: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// What never changes under its address, such as a picture: the browser may keep it.
pub fn lasting(kind: &'static str, bytes: impl Into<Body>) -> Response<Body> {
    let mut response = with_type(StatusCode::OK, kind, bytes);
    let kept = HeaderValue::from_static("private, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, kept);
    response
}

/// 204.
pub fn nothing() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The bytes of a body, within the server's limit.
///
/// # Errors
/// 413 for more, announced or sent; 408 for one that does not arrive; 400 for one that breaks off.
pub async fn body(request: Request, most: usize) -> Answer<Bytes> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let too_large = || {
        let message = format!("body: expected at most {most} bytes, got more");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    };
    if announced.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(ARRIVAL, axum::body::to_bytes(request.into_body(), most)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => Err(too_large()),
        Ok(Err(error)) => Err(Problem::new(StatusCode::BAD_REQUEST, format!("body: it breaks off: {error}"))),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body: it has not arrived in a minute")),
    }
}

/// Whether a body was longer than what was asked for, by what axum says.
fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains("length limit") {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Parts of an address.
///
/// # Errors
/// 400 for what is no such thing.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(|e| Problem::new(e.status(), e.body_text()))
    }
}

/// What stands behind an address's question mark.
///
/// # Errors
/// 400 for what is no such thing.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|e| Problem::new(e.status(), e.body_text()))
    }
}

/// A body of JSON.
///
/// # Errors
/// As [`body`]; 415 for another type, 400 for what is no JSON, 422 for JSON of another shape.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Answer<Self> {
        require_json(request.headers())?;
        let bytes = body(request, app.config.limits.body_bytes).await?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes).map(Self).map_err(|error| {
            let status = match error.classify() {
                serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_REQUEST,
            };
            let setting = named(&error.to_string());
            Problem {
                setting,
                ..Problem::new(status, format!("body: not the JSON that belongs here: {error}"))
            }
        })
    }
}

/// What stands in the first backticks of serde's message, if that is about a field.
fn named(message: &str) -> Option<String> {
    let about_field = message.starts_with("unknown field") || message.starts_with("missing field");
    about_field.then(|| message.split('`').nth(1)).flatten().map(str::to_owned)
}

fn require_json(headers: &HeaderMap) -> Answer<()> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let kind = kind.to_str().unwrap_or_default();
    let is_json =
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if is_json {
        return Ok(());
    }
    let message = format!("content-type: expected application/json, got {}", crate::problem::shortened(kind));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
        .hint("curl: -H 'Content-Type: application/json'"))
}
