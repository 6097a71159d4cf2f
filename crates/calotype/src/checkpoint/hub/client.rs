//! The Hub's HTTP interface, as far as downloads need it: list of files, a file's head, its content.

use std::path::{Path, PathBuf};

use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::header;

use super::{HubSettings, Repo, is_commit, is_safe_name};
use crate::download::{self, Answer, Download, Failure, Request, text};
use crate::error::{Error, Result};
use crate::files::sha256;

const MAX_REDIRECTS: usize = 5;

/// A repository at one commit.
pub(super) struct Listing {
    pub commit: String,
    /// Names with `/` between parts; all stay inside the folder.
    pub files: Vec<String>,
}

/// A file of a repository.
pub(super) struct Remote {
    url: String,
    /// Name of the blob: git's hash, or the sha256 of a large file.
    pub etag: String,
    /// Bytes.
    pub size: u64,
}

pub(super) struct Client<'s> {
    settings: &'s HubSettings,
    agent: Agent,
}

impl<'s> Client<'s> {
    pub fn new(settings: &'s HubSettings) -> Self {
        let config = download::config(&settings.endpoint)
            // A file's content comes from another host, which must not see the token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost);
        Self { settings, agent: config.build().into() }
    }

    /// The repository's commit and files.
    pub fn list(&self, repo: &Repo) -> std::result::Result<Listing, Failure> {
        let url =
            format!("{}/api/models/{}/revision/{}", self.settings.endpoint, repo.id, encode(&repo.revision));
        let mut answer = self.answered(&url, self.authorized(self.agent.get(&url)).call(), &[200])?;
        let bytes =
            answer.body_mut().read_to_vec().map_err(|e| Failure::Unreachable(format!("`{url}`: {e}")))?;
        let unusable = |reason: String| Error::format(&url, "list of a repository's files", reason);
        let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| unusable(e.to_string()))?;
        let commit = json["sha"].as_str().filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| unusable("`sha` is no commit hash".into()))?.to_owned();
        let siblings = json["siblings"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut files = Vec::with_capacity(siblings.len());
        for sibling in siblings {
            let name =
                sibling["rfilename"].as_str().ok_or_else(|| unusable("a file without a name".into()))?;
            if !is_safe_name(name) {
                return Err(
                    unusable(format!("refused: the file name {name:?} leads out of the folder")).into()
                );
            }
            files.push(name.to_owned());
        }
        Ok(Listing { commit, files })
    }

    /// Size and blob name of a file.
    pub fn head(&self, repo: &Repo, commit: &str, file: &str) -> Result<Remote> {
        let path: Vec<String> = file.split('/').map(encode).collect();
        let mut url = format!("{}/{}/resolve/{commit}/{}", self.settings.endpoint, repo.id, path.join("/"));
        for _ in 0..MAX_REDIRECTS {
            let request = self.authorized(self.agent.head(&url)).config().max_redirects(0).build();
            let answer =
                self.answered(&url, request.call(), &[200, 301, 302, 303, 307, 308]).map_err(into_error)?;
            let text = |name: &str| text(answer.headers(), name);
            let moved = answer.status().is_redirection();
            match text("location") {
                // A renamed repository; the answer about the file comes from its new place.
                Some(place) if moved && text("x-linked-etag").is_none() && place.starts_with('/') => {
                    url = format!("{}{place}", origin(&url));
                }
                _ => return remote(url, &answer, commit),
            }
        }
        Err(Error::format(&url, "file of the Hub", format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Downloads to `blob`, over `blob.incomplete`, from where that ends; checks size and, if known, sha256.
    pub fn download(&self, remote: &Remote, blob: &Path) -> Result<()> {
        let mut name = blob.as_os_str().to_owned();
        name.push(".incomplete");
        let partial = PathBuf::from(name);
        let mut file = download::open_partial(&partial)?;
        let download = Download {
            name: remote.url.clone(),
            size: Some(remote.size),
            request: &|| self.authorized(self.agent.get(&remote.url)),
            check: &|answer| self.answered(&remote.url, answer, &[200, 206, 416]),
        };
        download.run(&mut file, &partial)?;
        if let Err(error) = check_sha256(&partial, &remote.etag) {
            std::fs::remove_file(&partial).map_err(Error::io("remove", &partial))?;
            return Err(error);
        }
        std::fs::rename(&partial, blob).map_err(Error::io("rename", blob))
    }

    fn authorized(&self, request: Request) -> Request {
        match &self.settings.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    /// The answer if its status is one of `usable`.
    fn answered(
        &self,
        url: &str,
        answer: std::result::Result<Answer, ureq::Error>,
        usable: &[u16],
    ) -> std::result::Result<Answer, Failure> {
        let answer = answer.map_err(|e| Failure::Unreachable(format!("`{url}`: {e}")))?;
        let status = answer.status().as_u16();
        if usable.contains(&status) {
            return Ok(answer);
        }
        if download::is_passing(status) {
            return Err(Failure::Unreachable(format!("`{url}` answers with status {status}")));
        }
        let advice = match (status, &self.settings.token) {
            (401, None) => "no such repository, or one that needs a token: check the name, or set HF_TOKEN",
            (401, Some(_)) => "no such repository, or the token in HF_TOKEN or the token file is not valid",
            (403, _) => {
                "accept the licence on the model's page, and set HF_TOKEN to a token that may read it"
            }
            (404, _) => "no such repository, revision or file: check the name",
            _ => "is HF_ENDPOINT right?",
        };
        Err(Error::data(format!("`{url}`"), "status 200", format!("{status}; {advice}")).into())
    }
}

/// What an answer's headers say about a file of `commit`.
fn remote(url: String, answer: &Answer, commit: &str) -> Result<Remote> {
    let headers = answer.headers();
    let unusable = |reason: &str| Error::format(&url, "file of the Hub", reason);
    if text(headers, "x-repo-commit").is_some_and(|other| other != commit) {
        return Err(unusable("x-repo-commit is another commit than the one asked for"));
    }
    let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag")).unwrap_or_default();
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"').to_owned();
    // It becomes a file name.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if etag.is_empty() || etag.len() > 128 || !etag.bytes().all(fits) {
        return Err(unusable("expected an etag of letters, digits, - and _"));
    }
    // A redirect's own length is not the file's.
    let length = text(headers, "content-length").filter(|_| answer.status() == 200);
    let size = text(headers, "x-linked-size").or(length);
    let size = size.and_then(|size| size.parse().ok()).ok_or_else(|| unusable("the size is not given"))?;
    Ok(Remote { url, etag, size })
}

/// Where a hash of 64 digits names the blob, it must be the content's.
fn check_sha256(path: &Path, etag: &str) -> Result<()> {
    if etag.len() != 64 {
        return Ok(());
    }
    let got = sha256::of_file(path)?;
    if got.eq_ignore_ascii_case(etag) {
        Ok(())
    } else {
        Err(Error::format(
            path,
            "download",
            format!("its sha256 is {got}, not {etag}; it was deleted, run it again"),
        ))
    }
}

fn into_error(failure: Failure) -> Error {
    match failure {
        Failure::Refused(error) => error,
        Failure::Unreachable(why) => {
            Error::data("download", "an answer", format!("{why}; run it again to go on"))
        }
    }
}

/// Scheme and host of a URL.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |slash| &url[..host + slash])
}

/// One part of a URL's path (RFC 3986).
fn encode(part: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    part.bytes().map(byte).collect()
}
