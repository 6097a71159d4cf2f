//! Shards from a web server, each downloaded once into a cache folder.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::Agent;

use super::brace_list::expand;
use super::index::is_gzip_name;
use crate::download::{self, Answer, Download, Failure};
use crate::error::{Error, Result};
use crate::files::sha256::hex;

/// Files of the shards that `names` lists: URLs are fetched into `cache`, everything else is a path; brace
/// lists are expanded, as by [`expand`], unless a file has that very name.
///
/// # Errors
/// As [`expand`] and [`fetch`]; no download begins before all names are found usable.
pub fn resolve(names: &[String], cache: &Path) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for name in names {
        if Path::new(name).exists() { all.push(name.clone()) } else { all.extend(expand(name)?) }
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
    let partial = cache.join(format!("{name}.part"));
    let mut file = download::open_partial(&partial)?;
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
    let agent: Agent = download::config(url).build().into();
    let download = Download {
        name: shown(url),
        size: None,
        request: &|| agent.get(url),
        check: &|answer| check(answer, url),
    };
    download.run(&mut file, &partial)?;
    std::fs::rename(&partial, &path).map_err(Error::io("rename", &path))?;
    Ok(path)
}

/// The answer if its status is 200, 206 or 416, and it is no web page.
fn check(
    answer: std::result::Result<Answer, ureq::Error>,
    url: &str,
) -> std::result::Result<Answer, Failure> {
    let answer = answer.map_err(|error| Failure::Unreachable(error.to_string()))?;
    let refused =
        |expected: &str, got: &str| Err(Error::data(format!("`{}`", shown(url)), expected, got).into());
    match answer.status().as_u16() {
        200 if download::text(answer.headers(), "content-type")
            .is_some_and(|kind| kind.starts_with("text/html")) =>
        {
            refused("a tar file", "a web page")
        }
        200 | 206 | 416 => Ok(answer),
        status if download::is_passing(status) => {
            Err(Failure::Unreachable(format!("the server answers with status {status}")))
        }
        status => refused("status 200", &format!("{status}; is the URL right?")),
    }
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
