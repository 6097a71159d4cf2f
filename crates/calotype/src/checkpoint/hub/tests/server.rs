//! A hub of one repository on this machine: list, heads, content with ranges; it can fail on purpose.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::files::sha256::hex;
use crate::testing::web_server::{self, Reply, Request, Site};

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
}

pub type Server = web_server::Server<Hub>;

impl Server {
    pub fn of_files(files: &[(&str, &[u8])]) -> Self {
        Self::start(Hub {
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
        })
    }

    pub fn change(&self, change: impl FnOnce(&mut Hub)) {
        change(&mut self.site());
    }

    /// `METHOD path range=… token=…` of each request since the last call; then `host` if it came to the
    /// content's host.
    pub fn asked(&self) -> Vec<String> {
        let line = |Request { method, path, range, token, host }: Request| {
            let host = if host.starts_with("localhost") { " host" } else { "" };
            format!("{method} {path} range={range} token={token}{host}")
        };
        self.requests().into_iter().map(line).collect()
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Site for Hub {
    fn reply(&mut self, request: &Request, address: &str) -> Reply {
        let path = request.path.as_str();
        if let Some(status) = self.status {
            return Reply::new(status, "", []);
        }
        if let Some(old) = self.old_name.as_ref().filter(|old| path.contains(old.as_str())) {
            let place = path.replace(old.as_str(), "o/m");
            return Reply::new(307, format!("location: {place}\r\n"), []);
        }
        if path.starts_with("/api/models/o/m/revision/") {
            return Reply::new(200, "", self.listing());
        }
        let name = path.split_once(&format!("/resolve/{}/", self.commit)).or(path.split_once("/content/"));
        let name = name.map_or("", |(_, name)| name);
        let Some(bytes) = self.files.get(&name.replace("%20", " ")) else {
            return Reply::new(404, "", []);
        };
        let commit = self.head_commit.as_ref().unwrap_or(&self.commit);
        // Weights are on the content's host, small files here.
        if path.ends_with(".safetensors") && path.contains("/resolve/") {
            let etag = self.etag.clone().unwrap_or_else(|| sha256(bytes));
            let place = format!("{}/content/{name}", address.replace("127.0.0.1", "localhost"));
            let mut headers = format!("location: {place}\r\nx-repo-commit: {commit}\r\n");
            headers += &format!("x-linked-etag: \"{etag}\"\r\n");
            if self.linked_size {
                headers += &format!("x-linked-size: {}\r\n", bytes.len());
            }
            return Reply::new(302, headers, []);
        }
        let etag = self.etag.clone().unwrap_or_else(|| sha256(bytes)[..40].to_owned());
        let mut reply = Reply::of_content(request, bytes, self.ranges);
        reply.headers += &format!("etag: \"{etag}\"\r\nx-repo-commit: {commit}\r\n");
        if request.method == "GET" && !self.cuts.is_empty() {
            reply.cut = Some(self.cuts.remove(0));
        }
        reply
    }
}

impl Hub {
    fn listing(&self) -> String {
        let names = self.files.keys().chain(&self.extra_names);
        let siblings: Vec<_> = names.map(|name| serde_json::json!({ "rfilename": name })).collect();
        serde_json::json!({ "id": "o/m", "sha": self.commit, "siblings": siblings }).to_string()
    }
}
