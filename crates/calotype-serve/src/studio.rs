//! The page: its files, in the binary.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};

use crate::answer;
use crate::problem::{Answer, Problem};

macro_rules! files_of_the_page {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../studio/", $name)) as &[u8])),*]
    };
}

/// The files of the page, by their addresses.
const FILES: &[(&str, &[u8])] = files_of_the_page![
    "develop.css",
    "favicon.svg",
    "icons.svg",
    "index.html",
    "js/api.js",
    "js/chart/line.js",
    "js/chart/ticks.js",
    "js/chart/whiskers.js",
    "js/develop/align.js",
    "js/develop/caption.js",
    "js/develop/gallery.js",
    "js/develop/heat.js",
    "js/develop/job.js",
    "js/develop/keys.js",
    "js/develop/maps.js",
    "js/develop/mask.js",
    "js/develop/origin.js",
    "js/develop/print.js",
    "js/develop/prompt.js",
    "js/develop/request.js",
    "js/develop/room.js",
    "js/develop/scrubber.js",
    "js/develop/settings.js",
    "js/develop/tray.js",
    "js/develop/view.js",
    "js/develop/words.js",
    "js/dialogs.js",
    "js/dom.js",
    "js/judge/duel.js",
    "js/judge/evaluations.js",
    "js/judge/names.js",
    "js/judge/numbers.js",
    "js/judge/room.js",
    "js/judge/wilson.js",
    "js/main.js",
    "js/shortcuts.js",
    "js/store.js",
    "js/theme.js",
    "js/train/curves.js",
    "js/train/data.js",
    "js/train/form.js",
    "js/train/key_field.js",
    "js/train/room.js",
    "js/train/run.js",
    "js/train/samples.js",
    "js/train/toml.js",
    "rooms.css",
    "studio.css",
];

/// Types by the endings of names.
const TYPES: [(&str, &str); 4] = [
    ("html", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("svg", "image/svg+xml"),
];

/// A file of the page, or what there is at no other address.
///
/// # Errors
/// 404; 405 for another method than GET and HEAD.
pub async fn file(request: Request) -> Answer<Response<Body>> {
    let path = request.uri().path();
    let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
    let Some((_, bytes)) = FILES.iter().find(|(known, _)| *known == name) else {
        return Err(Problem::not_found("page", path));
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "a page can only be read"));
    }
    let tag = tag(bytes);
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    let mut response = if known == Some(tag.as_str()) {
        answer::with_type(StatusCode::NOT_MODIFIED, kind(name), Body::empty())
    } else {
        answer::with_type(StatusCode::OK, kind(name), *bytes)
    };
    // Another release has other files under the same names.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

fn kind(name: &str) -> &'static str {
    let ending = name.rsplit('.').next().unwrap_or_default();
    TYPES.iter().find(|(known, _)| *known == ending).map_or("application/octet-stream", |(_, kind)| kind)
}

fn tag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths of all files of a folder below `crates/calotype-serve/studio/`.
    fn listed(folder: &str) -> Vec<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("studio").join(folder);
        let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let of = |entry: std::fs::DirEntry| {
            let name = format!("{folder}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() { listed(&format!("{name}/")) } else { vec![name] }
        };
        entries.flat_map(of).collect()
    }

    #[test]
    fn the_files_are_those_of_the_folder() {
        let mut found = listed("");
        found.sort();
        let mut known: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(found, known);
    }

    #[test]
    fn every_file_has_a_type_and_the_page_is_small() {
        assert!(FILES.iter().all(|(name, _)| kind(name) != "application/octet-stream"));
        let bytes: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes < 300 << 10, "{bytes} bytes");
    }
}
