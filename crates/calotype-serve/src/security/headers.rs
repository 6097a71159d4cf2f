//! What browsers are told to allow: this server's own scripts and pictures, and nobody to frame or read them.

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};

/// The page: its own files, pictures that it makes itself, and no inline script.
const PAGE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                    connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; \
                    form-action 'none'; frame-ancestors 'none'";
/// A run's report: one file with its styles and pictures in it; scripts have no part in it.
const REPORT: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; sandbox allow-same-origin";

const ALWAYS: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// Adds them to the answer about `path`.
pub(super) fn add(path: &str, headers: &mut HeaderMap) {
    for (name, value) in ALWAYS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let policy = if path.starts_with("/api/runs/") && path.ends_with("/report") { REPORT } else { PAGE };
    headers.insert("content-security-policy", HeaderValue::from_static(policy));
    // Unless the handler knows better, what a server says is of now.
    if !headers.contains_key("cache-control") {
        headers.insert("cache-control", HeaderValue::from_static("no-store"));
    }
}
