//! A hub of one repository on this machine: list, heads, content with ranges; it can fail on purpose.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::files::sha256::hex;

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server has and how it behaves; tests change it while it runs.
#[derive(Clone)]
pub struct Hub {
    pub files: BTreeMap<String, Vec<u8>>,
    /// Names that the list has besides `files`.
    pub extra_names: Vec<String>,
    pub commit: String,
    /// The commit that heads of files name, if another.
    pub head_commit: Option<String>,
    /// Answers every request with this status.
    pub status: Option<u16>,
    /// Ends the next contents after so many bytes.
    pub cuts: Vec<usize>,
    pub ranges: bool,
    /// Whether redirects to the content's host say its size.
    pub linked_size: bool,
    /// In place of each file's etag.
    pub etag: Option<String>,
    /// `owner/name` that redirects to `o/m`.
    pub old_name: Option<String>,
    /// `METHOD path range=… token=…` of each request; then `host` if it came to the content's host.
    pub log: Vec<String>,
}

pub struct Server {
    pub endpoint: String,
    pub hub: Arc<Mutex<Hub>>,
}

impl Server {
    pub fn start(files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hub = Arc::new(Mutex::new(Hub {
            files: files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect(),
            extra_names: Vec::new(),
            commit: COMMIT.into(),
            head_commit: None,
            status: None,
            cuts: Vec::new(),
            ranges: true,
            linked_size: true,
            etag: None,
            old_name: None,
            log: Vec::new(),
        }));
        let shared = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hub = shared.clone();
                std::thread::spawn(move || answer(stream, &hub, port));
            }
        });
        Self { endpoint: format!("http://127.0.0.1:{port}"), hub }
    }

    pub fn change(&self, change: impl FnOnce(&mut Hub)) {
        change(&mut self.hub.lock().unwrap());
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.hub.lock().unwrap().log)
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn answer(mut stream: TcpStream, hub: &Mutex<Hub>, port: u16) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let (mut range, mut token, mut host) = (None, String::new(), "");
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => range = Some(value.to_owned()),
            "authorization" => token = value.to_owned(),
            "host" if value.starts_with("localhost") => host = " host",
            _ => {}
        }
    }
    let mut words = first.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let reply = {
        let mut hub = hub.lock().unwrap();
        hub.log.push(format!("{method} {path} range={} token={token}{host}", range.as_deref().unwrap_or("")));
        reply(&mut hub, method, path, range.as_deref(), port)
    };
    let (status, headers, body, cut) = reply;
    let head = format!("HTTP/1.1 {status} x\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if method != "HEAD" {
        stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())]).ok()?;
    }
    Some(())
}

/// Status, headers, body, and where the body breaks off.
fn reply(
    hub: &mut Hub,
    method: &str,
    path: &str,
    range: Option<&str>,
    port: u16,
) -> (u16, String, Vec<u8>, Option<usize>) {
    let plain = |status: u16, headers: String, body: Vec<u8>| {
        (status, format!("{headers}content-length: {}\r\n", body.len()), body, None)
    };
    if let Some(status) = hub.status {
        return plain(status, String::new(), Vec::new());
    }
    if let Some(old) = hub.old_name.as_ref().filter(|old| path.contains(old.as_str())) {
        return plain(307, format!("location: {}\r\n", path.replace(old.as_str(), "o/m")), Vec::new());
    }
    if path.starts_with("/api/models/o/m/revision/") {
        let names = hub.files.keys().chain(&hub.extra_names);
        let siblings: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
        let json = serde_json::json!({ "id": "o/m", "sha": hub.commit, "siblings": siblings });
        return plain(200, String::new(), json.to_string().into_bytes());
    }
    let name = path.split_once(&format!("/resolve/{}/", hub.commit)).or(path.split_once("/content/"));
    let Some(bytes) = name.and_then(|(_, name)| hub.files.get(&name.replace("%20", " "))) else {
        return plain(404, String::new(), Vec::new());
    };
    let commit = hub.head_commit.as_ref().unwrap_or(&hub.commit).clone();
    // Weights are on the content's host, small files here.
    if path.ends_with(".safetensors") && path.contains("/resolve/") {
        let etag = hub.etag.clone().unwrap_or_else(|| sha256(bytes));
        let place = format!("http://localhost:{port}/content/{}", name.unwrap_or_default().1);
        let mut headers = format!("location: {place}\r\nx-repo-commit: {commit}\r\n");
        headers += &format!("x-linked-etag: \"{etag}\"\r\n");
        if hub.linked_size {
            headers += &format!("x-linked-size: {}\r\n", bytes.len());
        }
        return plain(302, headers, Vec::new());
    }
    let etag = hub.etag.clone().unwrap_or_else(|| sha256(bytes)[..40].to_owned());
    let mut headers = format!("etag: \"{etag}\"\r\nx-repo-commit: {commit}\r\n");
    let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (status, body) = match start.filter(|_| hub.ranges) {
        Some(start) => {
            headers += &format!("content-range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            (206, bytes[start..].to_vec())
        }
        None => (200, bytes.clone()),
    };
    let cut = if method == "GET" && !hub.cuts.is_empty() { Some(hub.cuts.remove(0)) } else { None };
    (status, format!("{headers}content-length: {}\r\n", body.len()), body, cut)
}
