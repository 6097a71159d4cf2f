//! What every request passes before anything else hears of it. docs/security.md has each threat and its test.

mod headers;
mod hosts;
pub mod rate;
pub mod secret;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse;
use futures_util::StreamExt;

use crate::app::Shared;
use crate::problem::{Answer, Problem};
pub use hosts::{Hosts, is_loopback};
pub use secret::Secret;

/// Bytes of a refused request that are read before its answer, and for how long.
const HEARD: usize = 1 << 20;
const HEARD_FOR: Duration = Duration::from_secs(2);

/// Header by which programs on one machine tell that they are several.
const CLIENT: &str = "x-calotype-client";

/// Whose address a connection has.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Who asks: turns go round among clients. An address is one client for each door (own API, webui's, OpenAI's), and
/// for each name that it gives itself in `X-Calotype-Client`; rate limits are of the address alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let door = parts.uri.path().split('/').nth(1).unwrap_or_default();
        let name = parts.headers.get(CLIENT).and_then(|name| name.to_str().ok()).unwrap_or_default();
        if name.len() > 64 {
            return Err(Problem::setting(CLIENT, "at most 64 characters", name.len()));
        }
        Ok(Self(format!("{} {door} {name}", address(&parts.extensions))))
    }
}

fn address(extensions: &axum::http::Extensions) -> IpAddr {
    extensions.get::<Peer>().map_or(IpAddr::from([127, 0, 0, 1]), |peer| peer.0.ip().to_canonical())
}

/// Lets a request through, or says why not; every answer gets the headers that browsers heed.
pub async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut response = match allowed(&app, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            hear_out(request).await;
            problem.into_response()
        }
    };
    headers::add(&path, response.headers_mut());
    app.metrics.answered(response.status());
    response
}

/// Reads what a refused client is still sending, if it is little and comes soon, and keeps none of it: a connection
/// that is closed over an unread body is reset, and the answer may be lost.
async fn hear_out(request: Request) {
    let mut parts = request.into_body().into_data_stream();
    let all = async {
        let mut bytes = 0;
        while let Some(Ok(part)) = parts.next().await {
            bytes += part.len();
            if bytes > HEARD {
                break;
            }
        }
    };
    // Who takes longer finds the connection closed.
    let _ = tokio::time::timeout(HEARD_FOR, all).await;
}

fn allowed(app: &Shared, request: &Request) -> Answer<()> {
    let headers = request.headers();
    app.hosts.require(headers, request.uri())?;
    if let Some(wait) = app.rates.too_many(address(request.extensions())) {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many requests from your address");
        return Err(problem.retry_after(wait));
    }
    if changes(request.method()) {
        require_own_page(headers)?;
    }
    match &app.secret {
        Some(secret) if needs_token(request.uri().path()) && !secret.is_known(headers) => {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "this server asks for its token");
            Err(problem.hint("`Authorization: Bearer TOKEN`, the token that it was started with"))
        }
        _ => Ok(()),
    }
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The page's own files say nothing; the exchange of the token for a cookie looks at the token itself.
fn needs_token(path: &str) -> bool {
    let open = ["/api/session", "/health", "/openapi.json"];
    let doors = ["/api/", "/sdapi/", "/v1/", "/metrics"];
    !open.contains(&path) && doors.iter().any(|door| path.starts_with(door))
}

/// Refuses what another page's script sends with this user's browser.
fn require_own_page(headers: &HeaderMap) -> Answer<()> {
    let foreign = |from: &str| {
        let message =
            format!("origin: expected this server's own page, got {}", crate::problem::shortened(from));
        Err(Problem::new(StatusCode::FORBIDDEN, message))
    };
    let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or("?"));
    if text(header::HeaderName::from_static("sec-fetch-site")) == Some("cross-site") {
        return foreign("a page of another site");
    }
    match text(header::ORIGIN) {
        None => Ok(()),
        Some(origin) => {
            let host = text(header::HOST).unwrap_or_default();
            let own = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
            if own.is_some_and(|own| own.eq_ignore_ascii_case(host)) { Ok(()) } else { foreign(origin) }
        }
    }
}
