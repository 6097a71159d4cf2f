//! What went wrong with a request: one shape for every door, and the status that goes with it.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use calotype::{Error, ErrorKind};
use serde_json::{Value, json};

/// The handlers' result.
pub type Answer<T> = std::result::Result<T, Problem>;

/// Characters of a message, at most.
const LONGEST: usize = 1000;

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Of the answer.
    pub status: StatusCode,
    /// What, where, expected, got.
    pub message: String,
    /// The setting that it is about, in snake_case.
    pub setting: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Seconds after which the same may do.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// Without setting and hint.
    pub fn new(status: StatusCode, message: impl ToString) -> Self {
        // It may say what was sent, whatever its length.
        let message = cut(&message.to_string(), LONGEST);
        Self { status, message, setting: None, hint: None, retry_after: None }
    }

    /// A value that cannot be used.
    pub fn setting(name: &str, expected: impl ToString, got: impl ToString) -> Self {
        let message = format!("{name}: expected {}, got {}", expected.to_string(), got.to_string());
        Self { setting: Some(name.to_owned()), ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, message) }
    }

    /// There is no such thing.
    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what} `{}`", shortened(name)))
    }

    /// The server's own fault, or its disk's.
    pub fn internal(message: impl ToString) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The same with what to do next.
    pub fn hint(self, hint: impl ToString) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// The same, to be tried again after so many seconds.
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// As clients read it: `error.message`, `error.setting`, `error.hint` is ours; `type`, `param` and `code` are
    /// OpenAI's, `detail` is stable-diffusion-webui's.
    pub fn json(&self) -> Value {
        let Self { status, message, setting, hint, .. } = self;
        let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
        json!({
            "error": {
                "message": message, "setting": setting, "hint": hint,
                "type": kind, "param": setting, "code": code(*status),
            },
            "detail": message,
        })
    }
}

/// OpenAI's names of what went wrong.
fn code(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::UNAUTHORIZED => Some("invalid_api_key"),
        StatusCode::NOT_FOUND => Some("not_found"),
        StatusCode::TOO_MANY_REQUESTS => Some("rate_limit_exceeded"),
        _ => None,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Argument | ErrorKind::Data | ErrorKind::Diverged => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::Interrupted => StatusCode::CONFLICT,
            ErrorKind::System => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let setting = match &error {
            Error::Argument { name, .. } => Some(name.replace([' ', '-'], "_")),
            Error::Config { key, .. } => Some(key.clone()),
            _ => None,
        };
        Self { hint: error.hint(), setting, ..Self::new(status, error) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = crate::answer::json_with(self.status, &self.json());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The beginning of what a client has sent, for messages.
pub fn shortened(text: &str) -> String {
    cut(text, 80)
}

fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_library_name_their_setting() {
        let problem = Problem::from(Error::argument("guidance-rescale", "0 to 1", 7));
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY);
        let json = problem.json();
        assert_eq!(json["error"]["setting"], "guidance_rescale");
        assert_eq!(json["detail"], "guidance-rescale: expected 0 to 1, got 7");
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        let problem = Problem::from(Error::io("read", "x")(gone));
        assert!(problem.status.is_server_error() && problem.hint.is_some());
    }
}
