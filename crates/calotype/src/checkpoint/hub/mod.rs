//! Models of the Hugging Face Hub by name, kept in the cache that Python's `huggingface_hub` uses.
//!
//! It holds `models--owner--name/` with `blobs/<etag>`, `snapshots/<commit>/<file>` (links to blobs) and
//! `refs/<revision>` (the commit). What either of the two has downloaded, the other finds.

mod cache;
mod client;
mod pipeline_files;
mod settings;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use client::Client;
pub use pipeline_files::wanted_for_pipeline;
pub use settings::HubSettings;

use crate::download::Failure;
use crate::error::{Error, Result};

/// Whether `name` can be a repository of the Hub: `owner/name`, or `owner/name@revision`.
///
/// Owner and name are of `A-Z a-z 0-9 . _ -`, with no `..` and no `--` (which the Hub forbids and the cache
/// uses in place of `/`), and begin and end with a letter, digit or `_`. A relative path such as `runs/demo`
/// fits too: look for a folder of that name first.
pub fn looks_like_repo(name: &str) -> bool {
    Repo::parse(name).is_ok()
}

/// Downloads the files of a repository for which `wanted` holds and that the cache lacks; gives the
/// snapshot's folder. [`HubSettings::from_env`] says where from and where to. `on_file` hears the name and the
/// size in bytes of each file before its download.
///
/// Offline, or if the server cannot be reached, the cached snapshot of the revision (`main` if `name` has
/// none) is taken if it holds the wanted files. Nothing is downloaded twice: an interrupted file goes on
/// where it stopped. Where the server gives a file's sha256 (all weights), it is checked.
///
/// # Errors
/// `Error::Argument` if `name` is not `owner/name[@revision]`; `Error::Data` if the server refuses or the
/// cache lacks files, with what to do; `Error::Format` for answers that cannot be used, among them file names
/// that lead out of the folder; `Error::Io`.
pub fn fetch(
    name: &str,
    wanted: &dyn Fn(&str) -> bool,
    on_file: &mut dyn FnMut(&str, u64),
) -> Result<PathBuf> {
    let choose = |files: &[String]| files.iter().filter(|file| wanted(file)).cloned().collect();
    fetch_with(&HubSettings::from_env()?, name, &choose, on_file)
}

/// As [`fetch`], of a diffusers pipeline the files that [`wanted_for_pipeline`] lists.
///
/// # Errors
/// As [`fetch`]; `Error::Data` if a component that `model_index.json` names has no weights.
pub fn fetch_pipeline(name: &str, on_file: &mut dyn FnMut(&str, u64)) -> Result<PathBuf> {
    fetch_pipeline_with(&HubSettings::from_env()?, name, on_file)
}

/// As [`fetch_pipeline`], with settings of one's own.
///
/// # Errors
/// As [`fetch_pipeline`].
pub fn fetch_pipeline_with(
    settings: &HubSettings,
    name: &str,
    on_file: &mut dyn FnMut(&str, u64),
) -> Result<PathBuf> {
    let folder = fetch_with(settings, name, &wanted_for_pipeline, on_file)?;
    pipeline_files::require_complete(name, &folder, &cache::files_in(&folder))?;
    Ok(folder)
}

/// As [`fetch`], with settings of one's own; `choose` picks from the names of all files.
///
/// # Errors
/// As [`fetch`].
pub fn fetch_with(
    settings: &HubSettings,
    name: &str,
    choose: &dyn Fn(&[String]) -> Vec<String>,
    on_file: &mut dyn FnMut(&str, u64),
) -> Result<PathBuf> {
    let repo = Repo::parse(name)?;
    let cached = |why: &str| repo.cached(settings, choose, why);
    if settings.offline {
        return cached("HF_HUB_OFFLINE is set");
    }
    let client = Client::new(settings);
    let listing = match client.list(&repo) {
        Ok(listing) => listing,
        Err(Failure::Unreachable(why)) => return cached(&why),
        Err(Failure::Refused(error)) => return Err(error),
    };
    let root = repo.folder(settings);
    let snapshot = root.join("snapshots").join(&listing.commit);
    let mut chosen = choose(&listing.files);
    if chosen.is_empty() {
        return Err(repo.lacks("at least one file of those wanted", "none among the files of the repository"));
    }
    // A pipeline's folder without its index is not finished, here as everywhere.
    chosen.sort_by_key(|file| file == "model_index.json");
    repo.remember_files(settings, &listing);
    for file in chosen.iter().filter(|file| !snapshot.join(file).is_file()) {
        let remote = client.head(&repo, &listing.commit, file)?;
        let blob = root.join("blobs").join(&remote.etag);
        let _lock = cache::lock(settings, &root, &remote.etag)?;
        if !blob.is_file() {
            on_file(file, remote.size);
            client.download(&remote, &blob)?;
        }
        cache::link(&root, &blob, &snapshot.join(file), file)?;
    }
    // Only now, so that offline an older snapshot is used until this one is complete.
    repo.remember_commit(settings, &listing.commit)?;
    Ok(snapshot)
}

/// A model repository at a revision.
struct Repo {
    /// `owner/name`.
    id: String,
    /// Branch, tag or commit.
    revision: String,
}

impl Repo {
    fn parse(name: &str) -> Result<Self> {
        let (id, revision) = name.split_once('@').unwrap_or((name, "main"));
        let part = |text: &str| {
            let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
            let inner = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            end(text.chars().next())
                && end(text.chars().last())
                && text.chars().all(inner)
                && !text.contains("..")
                && !text.contains("--")
                && text.len() <= 96
        };
        let fits = id.split_once('/').is_some_and(|(owner, model)| part(owner) && part(model));
        if fits && revision.split('/').all(part) {
            Ok(Self { id: id.to_owned(), revision: revision.to_owned() })
        } else {
            Err(Error::argument("model", "a folder, or `owner/name` or `owner/name@revision`", name))
        }
    }
}

/// A full commit hash.
fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a file name of the server stays inside the folder it is joined to, on every system.
fn is_safe_name(name: &str) -> bool {
    let forbidden = |c: char| c == '\\' || c == ':' || c.is_control();
    !name.contains(forbidden) && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}
