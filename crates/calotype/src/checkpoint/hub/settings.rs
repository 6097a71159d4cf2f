//! Where models come from and where they go: the environment variables of `huggingface_hub`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Settings of the Hub. Not `Debug`: the token must not end up in a log.
#[derive(Clone)]
pub struct HubSettings {
    /// The cache, which holds one folder `models--owner--name` per repository.
    pub cache: PathBuf,
    /// The server, without a slash at the end.
    pub endpoint: String,
    /// Sent to `endpoint` and to nobody else.
    pub token: Option<String>,
    /// Use the cache only.
    pub offline: bool,
}

impl HubSettings {
    /// As the environment says. An empty variable counts as not set.
    ///
    /// | variable | meaning | default |
    /// |---|---|---|
    /// | `HF_HOME` | the folder of all | `$XDG_CACHE_HOME/huggingface`, else `~/.cache/huggingface` |
    /// | `HF_HUB_CACHE` (older: `HUGGINGFACE_HUB_CACHE`) | the cache | `$HF_HOME/hub` |
    /// | `HF_TOKEN` (older: `HUGGING_FACE_HUB_TOKEN`) | access token | content of the token file |
    /// | `HF_TOKEN_PATH` | the token file | `$HF_HOME/token` |
    /// | `HF_ENDPOINT` | server | `https://huggingface.co` |
    /// | `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE` | 1, on, yes or true: no network | off |
    ///
    /// # Errors
    /// `Error::Argument` that names the variable if it cannot be used, or if the home folder is not known and
    /// no variable says where the cache is.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(&|name| std::env::var_os(name))
    }

    /// As [`HubSettings::from_env`], of `variable(name)`.
    ///
    /// # Errors
    /// As [`HubSettings::from_env`].
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self> {
        let set = |names: &[&str]| names.iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
        let text = |names: &[&str]| match set(names).map(OsString::into_string) {
            Some(Err(_)) => Err(Error::argument(names[0], "UTF-8 text", "other bytes")),
            Some(Ok(value)) => Ok(Some(value.trim().to_owned())),
            None => Ok(None),
        };
        let user = set(&["HOME"]).map(PathBuf::from).or_else(std::env::home_dir);
        let path = |names: &[&str]| set(names).map(|value| expand_home(value.into(), user.as_deref()));

        let home = path(&["HF_HOME"])
            .or_else(|| path(&["XDG_CACHE_HOME"]).map(|cache| cache.join("huggingface")))
            .or_else(|| user.as_ref().map(|user| user.join(".cache/huggingface")));
        let cache = path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
            .or_else(|| home.as_ref().map(|home| home.join("hub")))
            .ok_or_else(|| Error::argument("HF_HOME", "the folder of the cache", "nothing, and no home"))?;

        let token_file = path(&["HF_TOKEN_PATH"]).or_else(|| home.map(|home| home.join("token")));
        let token = match text(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])? {
            Some(token) => Some(token),
            // No file is no token; whoever needs one is told by the server's answer.
            None => token_file.and_then(|file| std::fs::read_to_string(file).ok()),
        };
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::argument(
                "HF_TOKEN",
                "letters, digits and signs in one word",
                "something else",
            ));
        }

        let endpoint = text(&["HF_ENDPOINT"])?.unwrap_or_else(|| "https://huggingface.co".into());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(Error::argument("HF_ENDPOINT", "http://… or https://…", format!("`{endpoint}`")));
        }
        let offline = |name| {
            let value = text(&[name])?.unwrap_or_default().to_ascii_lowercase();
            Ok(["1", "on", "yes", "true"].contains(&value.as_str()))
        };
        let offline = offline("HF_HUB_OFFLINE")? || offline("TRANSFORMERS_OFFLINE")?;
        Ok(Self { cache, endpoint: endpoint.trim_end_matches('/').to_owned(), token, offline })
    }
}

/// `~` and `~/…` with the home folder in its place.
fn expand_home(path: PathBuf, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), user) {
        (Ok(rest), Some(user)) => user.join(rest),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn settings_of_the_environment() {
        let folder = TempDir::new();
        folder.write("token", "from_file\n");
        let home = folder.to_str().unwrap();
        let of = |variables: &[(&str, &str)]| {
            let find =
                |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            HubSettings::from_variables(&find)
        };
        let plain = of(&[("HOME", "/h")]).unwrap();
        assert_eq!(plain.cache, Path::new("/h/.cache/huggingface/hub"));
        assert_eq!((plain.endpoint.as_str(), plain.offline), ("https://huggingface.co", false));
        assert_eq!(
            of(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]).unwrap().cache,
            Path::new("/x/huggingface/hub")
        );
        let found = of(&[("HOME", "/h"), ("HF_HOME", home), ("HF_ENDPOINT", "http://mirror/")]).unwrap();
        assert_eq!((found.cache, found.endpoint.as_str()), (folder.join("hub"), "http://mirror"));
        assert_eq!(found.token.as_deref(), Some("from_file"));
        let both = [
            ("HF_HOME", home),
            ("HF_HUB_CACHE", "~/c"),
            ("HF_ENDPOINT", ""),
            ("HOME", "/h"),
            ("HF_TOKEN", " own "),
        ];
        let found = of(&both).unwrap();
        assert_eq!((found.cache.as_path(), found.token.as_deref()), (Path::new("/h/c"), Some("own")));
        for (value, offline) in [("1", true), ("True", true), ("ON", true), ("0", false), ("", false)] {
            assert_eq!(of(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)]).unwrap().offline, offline, "{value}");
        }
        let error = |variable: (&str, &str)| of(&[("HOME", "/h"), variable]).err().unwrap().to_string();
        assert!(error(("HF_ENDPOINT", "ftp://x")).contains("HF_ENDPOINT"));
        let secret = error(("HF_TOKEN", "two words"));
        assert!(secret.contains("HF_TOKEN") && !secret.contains("two words"));
    }
}
