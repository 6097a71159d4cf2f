//! Downloads over HTTP that go on where they ended.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use ureq::Body;
use ureq::config::ConfigBuilder;
use ureq::http::{HeaderMap, Response, header};
use ureq::typestate::{AgentScope, WithoutBody};

use crate::error::{Error, Result};

/// Attempts in a row that bring nothing new, before a download is given up.
const ATTEMPTS: u32 = 3;
/// Between attempts; longer with each that fails.
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });

pub(crate) type Request = ureq::RequestBuilder<WithoutBody>;
pub(crate) type Answer = Response<Body>;

/// Why there is no usable answer.
pub(crate) enum Failure {
    /// No connection, or a server out of order: another time it may work.
    Unreachable(String),
    /// The server's answer is no, or cannot be used, or the disk refuses.
    Refused(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Refused(error)
    }
}

/// How all our requests are made; a server on this machine is asked without a proxy.
pub(crate) fn config(url: &str) -> ConfigBuilder<AgentScope> {
    let config = ureq::Agent::config_builder()
        .user_agent(concat!("calotype/", env!("CARGO_PKG_VERSION")))
        // Lengths and ranges are of the file, not of a compressed form of it.
        .accept_encoding("identity")
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)));
    let host = url.split_once("://").map_or("", |(_, rest)| rest);
    let is_local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| host.starts_with(local));
    if is_local { config.proxy(None) } else { config }
}

/// A header's value, if it is there and is text.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a server with this status may answer another time.
pub(crate) fn is_passing(status: u16) -> bool {
    status == 429 || status >= 500
}

/// Opens the file that a download is appended to, and makes its folder.
///
/// # Errors
/// `Error::Io`.
pub(crate) fn open_partial(path: &Path) -> Result<File> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("write", path))
}

/// One download.
pub(crate) struct Download<'a> {
    /// What is downloaded, for messages.
    pub name: String,
    /// Bytes of the whole, if that is known without the server of the content.
    pub size: Option<u64>,
    /// A request for the whole; where it goes on, a range is added.
    pub request: &'a dyn Fn() -> Request,
    /// The answer, if its status is 200, 206 or 416 and its content may be what is wanted.
    pub check: &'a dyn Fn(std::result::Result<Answer, ureq::Error>) -> std::result::Result<Answer, Failure>,
}

impl Download<'_> {
    /// Appends to the file at `path`, opened by [`open_partial`], until it is whole, and syncs it. A server
    /// that does not know ranges, or finds ours wrong, makes the file begin anew.
    ///
    /// # Errors
    /// `Error::Data` if three attempts in a row bring nothing new, or if the length is not known; those of
    /// `check`; `Error::Io` if the disk refuses.
    pub fn run(&self, file: &mut File, path: &Path) -> Result<()> {
        Run { download: self, file, path, total: self.size }.run()
    }
}

/// Where a download stands.
struct Run<'a> {
    download: &'a Download<'a>,
    file: &'a mut File,
    path: &'a Path,
    /// Bytes of the whole, once known.
    total: Option<u64>,
}

impl Run<'_> {
    fn run(&mut self) -> Result<()> {
        let (mut most, mut failed, mut reason) = (self.length()?, 0, String::new());
        loop {
            let now = self.length()?;
            if self.total == Some(now) {
                return self.file.sync_all().map_err(Error::io("write", self.path));
            }
            if failed == ATTEMPTS {
                let expected = self.total.map_or("an answer".into(), |total| format!("{total} bytes"));
                let got = format!("{now} bytes ({reason}); run it again to go on from there");
                return Err(self.refused(&expected, &got));
            }
            std::thread::sleep(PAUSE * failed);
            reason = match self.append() {
                Ok(()) => "the connection ended".to_owned(),
                Err(Failure::Unreachable(reason)) => reason,
                Err(Failure::Refused(error)) => return Err(error),
            };
            let now = self.length()?;
            failed = if now > most { 0 } else { failed + 1 };
            most = most.max(now);
        }
    }

    /// Appends what one answer brings.
    fn append(&mut self) -> std::result::Result<(), Failure> {
        let mut start = self.length()?;
        if self.total.is_some_and(|total| start > total) {
            self.cut(0)?;
            start = 0;
        }
        let mut request = (self.download.request)();
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let answer = (self.download.check)(request.call())?;
        let Some((offset, total)) = self.place(start, &answer)? else { return Ok(()) };
        self.total = Some(total);
        let mut body = answer.into_body().into_reader().take(total - offset);
        let mut buffer = vec![0; 1 << 18];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.file.write_all(&buffer[..count]).map_err(Error::io("write", self.path))?;
                }
                Err(error) => return Err(Failure::Unreachable(error.to_string())),
            }
        }
    }

    /// At which byte of how many the answer's content begins; the file is cut to end there. `None` if it is
    /// whole already.
    fn place(&mut self, start: u64, answer: &Answer) -> std::result::Result<Option<(u64, u64)>, Failure> {
        let size = self.download.size;
        let range = text(answer.headers(), "content-range").and_then(content_range);
        let place = match (answer.status().as_u16(), range) {
            (200, _) => {
                let length = text(answer.headers(), "content-length").and_then(|length| length.parse().ok());
                match size.or(length.filter(|&length| length > 0)) {
                    Some(total) => Some((0, total)),
                    None => return Err(self.refused("a length above 0 (Content-Length)", "none").into()),
                }
            }
            (206, Some((Some(from), total))) if from == start => {
                size.or(total).filter(|&total| start < total).map(|total| (start, total))
            }
            // All was there, but the last run ended before the file got its name.
            (416, Some((None, total))) if size.or(total) == Some(start) => {
                self.total = Some(start);
                return Ok(None);
            }
            _ => None,
        };
        // Where the length is another than before, what is in the file is of another whole.
        let place =
            place.filter(|&(offset, total)| offset == 0 || self.total.is_none_or(|known| known == total));
        self.cut(place.map_or(0, |(offset, _)| offset))?;
        match place {
            Some(place) => Ok(Some(place)),
            None => Err(Failure::Unreachable(format!("the server does not go on at byte {start}"))),
        }
    }

    fn length(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(Error::io("read", self.path))?.len())
    }

    fn cut(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(Error::io("write", self.path))
    }

    fn refused(&self, expected: &str, got: &str) -> Error {
        Error::data(format!("`{}`", self.download.name), expected, got)
    }
}

/// First byte and total, each if it is said, of `bytes 7-99/100` or `bytes */100`.
fn content_range(value: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    let first = match range {
        "*" => None,
        range => Some(range.split_once('-')?.0.parse().ok()?),
    };
    let total = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((first, total))
}
