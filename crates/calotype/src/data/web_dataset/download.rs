//! Shards from a web server, each downloaded once into a cache folder.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, header};
use ureq::{Agent, Body};

use super::brace_list::expand;
use super::index::is_gzip_name;
use crate::error::{Error, Result};
use crate::files::sha256::hex;

/// Attempts in a row that bring nothing new, before a download is given up.
const ATTEMPTS: u32 = 3;
/// Between attempts; longer with each that fails.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });

/// Files of the shards that `names` lists: URLs are fetched into `cache`, everything else is a path; brace
/// lists are expanded, as by [`expand`], unless a file has that very name.
///
/// # Errors
/// As [`expand`] and [`fetch`]; no download begins before all names are found usable.
pub fn resolve(names: &[String], cache: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for name in names {
        match Path::new(name).exists() {
            true => all.push(name.clone()),
            false => all.extend(expand(name)?),
        }
    }
    all.iter().filter(|name| is_url(name)).try_for_each(|url| file_name(url).map(|_| ()))?;
    let file = |name: &String| if is_url(name) { fetch(name, cache) } else { Ok(PathBuf::from(name)) };
    all.iter().map(file).collect()
}

/// Whether `name` is a URL that [`fetch`] takes.
pub fn is_url(name: &str) -> bool {
    name.starts_with("http://") || name.starts_with("https://")
}

/// Downloads a shard into the folder `cache`, unless it is there: its file is the URL's last part with a hash
/// of the URL. A download that was cut short goes on where it ended (`.part`), if the server knows ranges; a
/// URL must therefore always mean the same bytes. Several processes may ask for the same shard at once.
///
/// # Errors
/// `Error::Argument` for a URL without a file name, or of a compressed tar; `Error::Data` if the server's
/// answer is no, or three attempts in a row bring nothing; `Error::Io` if the disk refuses.
pub fn fetch(url: &str, cache: &Path) -> Result<PathBuf> {
    let name = file_name(url)?;
    let path = cache.join(&name);
    if path.is_file() {
        return Ok(path);
    }
    std::fs::create_dir_all(cache).map_err(Error::io("create", cache))?;
    let partial = cache.join(format!("{name}.part"));
    let file =
        OpenOptions::new().create(true).append(true).open(&partial).map_err(Error::io("write", &partial))?;
    match file.lock() {
        Err(error) if error.kind() != ErrorKind::Unsupported => {
            return Err(Error::io("write", &partial)(error));
        }
        _ if path.is_file() => {
            // Another process finished meanwhile; what was opened here may be a new, empty file.
            let _ = std::fs::remove_file(&partial);
            return Ok(path);
        }
        _ => {}
    }
    let mut download = Download { url, agent: agent(url), partial: &partial, file, total: None };
    download.run()?;
    std::fs::rename(&partial, &path).map_err(Error::io("rename", &path))?;
    Ok(path)
}

/// Why an attempt ended early.
enum Failure {
    /// Another attempt may go on.
    Unreachable(String),
    /// It may not.
    Refused(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Refused(error)
    }
}

struct Download<'a> {
    url: &'a str,
    agent: Agent,
    partial: &'a Path,
    /// Appends to `partial`.
    file: File,
    /// Bytes of the whole shard, once the server has said it.
    total: Option<u64>,
}

impl Download<'_> {
    /// Attempts until the file is whole.
    fn run(&mut self) -> Result<()> {
        let (mut most, mut failed) = (self.length()?, 0);
        loop {
            let reason = match self.append() {
                Ok(()) => "the connection ended".to_owned(),
                Err(Failure::Unreachable(reason)) => reason,
                Err(Failure::Refused(error)) => return Err(error),
            };
            let now = self.length()?;
            if self.total == Some(now) {
                return self.file.sync_all().map_err(Error::io("write", self.partial));
            }
            failed = if now > most { 0 } else { failed + 1 };
            most = most.max(now);
            if failed == ATTEMPTS {
                let expected = self.total.map_or("an answer".into(), |total| format!("{total} bytes"));
                let got = format!("{now} bytes ({reason}); run it again to go on from there");
                return Err(Error::argument(format!("`{}`", shown(self.url)), expected, got).of_data());
            }
            std::thread::sleep(PAUSE * failed);
        }
    }

    /// Appends what one answer brings.
    fn append(&mut self) -> std::result::Result<(), Failure> {
        let start = self.length()?;
        let mut request = self.agent.get(self.url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let answer = self.answered(request.call())?;
        let Some((offset, total)) = self.place(start, &answer)? else { return Ok(()) };
        self.total = Some(total);
        let mut body = answer.into_body().into_reader().take(total - offset);
        let mut buffer = vec![0; 1 << 18];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.file.write_all(&buffer[..count]).map_err(Error::io("write", self.partial))?;
                }
                Err(error) => return Err(Failure::Unreachable(error.to_string())),
            }
        }
    }

    /// At which byte of how many the answer's content begins; the file is cut to end there. `None` if it is
    /// whole already.
    fn place(
        &mut self,
        start: u64,
        answer: &Response<Body>,
    ) -> std::result::Result<Option<(u64, u64)>, Failure> {
        let range = text(answer.headers(), "content-range").and_then(content_range);
        let place = match (answer.status().as_u16(), range) {
            (200, _) => {
                let length = text(answer.headers(), "content-length").and_then(|length| length.parse().ok());
                match length {
                    Some(length) if length > 0 => Some((0, length)),
                    _ => return Err(self.refused("a length above 0 (Content-Length)", "none").into()),
                }
            }
            (206, Some((Some(from), total))) if from == start && start < total => Some((start, total)),
            // All was there, but the last run ended before the file got its name.
            (416, Some((None, total))) if total == start => {
                self.total = Some(total);
                return Ok(None);
            }
            _ => None,
        };
        // Where the shard's length is another than before, what is in the file is of another shard.
        let place =
            place.filter(|&(offset, total)| offset == 0 || self.total.is_none_or(|known| known == total));
        self.file.set_len(place.map_or(0, |(offset, _)| offset)).map_err(Error::io("write", self.partial))?;
        match place {
            Some(place) => Ok(Some(place)),
            None => Err(Failure::Unreachable(format!("the server does not go on at byte {start}"))),
        }
    }

    /// The answer if its status is 200, 206 or 416.
    fn answered(
        &self,
        answer: std::result::Result<Response<Body>, ureq::Error>,
    ) -> std::result::Result<Response<Body>, Failure> {
        let answer = answer.map_err(|error| Failure::Unreachable(error.to_string()))?;
        match answer.status().as_u16() {
            200 if text(answer.headers(), "content-type")
                .is_some_and(|kind| kind.starts_with("text/html")) =>
            {
                Err(self.refused("a tar file", "a web page").into())
            }
            200 | 206 | 416 => Ok(answer),
            status if status == 429 || status >= 500 => {
                Err(Failure::Unreachable(format!("the server answers with status {status}")))
            }
            status => Err(self.refused("status 200", &format!("{status}; is the URL right?")).into()),
        }
    }

    fn refused(&self, expected: &str, got: &str) -> Error {
        Error::argument(format!("`{}`", shown(self.url)), expected, got).of_data()
    }

    fn length(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(Error::io("read", self.partial))?.len())
    }
}

fn agent(url: &str) -> Agent {
    let mut config = Agent::config_builder()
        .user_agent(concat!("calotype/", env!("CARGO_PKG_VERSION")))
        // Lengths and ranges are of the file, not of a compressed form of it.
        .accept_encoding("identity")
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)));
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    if ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| host.starts_with(local)) {
        config = config.proxy(None);
    }
    config.build().into()
}

/// First byte, if there is one, and total of `bytes 7-99/100` or `bytes */100`.
fn content_range(value: &str) -> Option<(Option<u64>, u64)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let first = match range {
        "*" => None,
        range => Some(range.split_once('-')?.0.parse().ok()?),
    };
    Some((first, total.parse().ok()?))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The file of a URL in the cache: its last part, so that people know it, and twelve digits of its sha256.
fn file_name(url: &str) -> Result<String> {
    let wrong = |expected: &str| Error::argument("URL of a shard", expected, format!("`{}`", shown(url)));
    let rest = is_url(url).then(|| url.split_once("://")).flatten();
    let (_, rest) = rest.ok_or_else(|| wrong("http:// or https://"))?;
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let last = path.rsplit_once('/').map(|(_, last)| last).filter(|last| !last.is_empty());
    let last = last.ok_or_else(|| wrong("a file's name at its end"))?;
    if is_gzip_name(&last.to_ascii_lowercase()) {
        return Err(wrong("a tar that is not compressed (pictures are read by position; gunzip it first)"));
    }
    let stem = last.strip_suffix(".tar").unwrap_or(last).trim_start_matches('.');
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let stem: String = stem.chars().take(80).map(|c| if fits(c) { c } else { '_' }).collect();
    let hash = hex(&Sha256::digest(url)[..6]);
    Ok(format!("{stem}-{hash}.tar"))
}

/// A URL as messages show it: without the password or the key that it may carry.
pub(super) fn shown(url: &str) -> String {
    let public = url.split(['?', '#']).next().unwrap_or_default();
    match public.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => public.to_owned(),
    }
}

#[cfg(test)]
mod tests;
