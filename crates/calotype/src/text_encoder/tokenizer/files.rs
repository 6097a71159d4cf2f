//! The tokenizer folder, as transformers 4 and 5 read and write it.

use super::definition::{Definition, Roles};
use super::{END, END_OF_WORD, SHORTEST, START};
use crate::files::atomic;
use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use tokenizers::AddedToken;

/// Tokens per text of every published CLIP: for folders that do not say.
const CLIP_MAX_LENGTH: usize = 77;
/// No text encoder takes more; a larger `model_max_length` is a damaged file.
const LONGEST: f64 = 65536.0;
/// What transformers writes for "no limit" (10³⁰), or anything like it.
const NO_LIMIT: f64 = 1e29;

/// `tokenizer_config.json`, as far as it changes ids.
#[derive(Deserialize)]
struct ConfigFile {
    model_max_length: Option<f64>,
    added_tokens_decoder: Option<BTreeMap<u32, TokenObject>>,
    #[serde(flatten)]
    roles: RolesFile,
}

/// `special_tokens_map.json`; the same keys stand in `tokenizer_config.json`.
#[derive(Deserialize, Default)]
struct RolesFile {
    bos_token: Option<TokenEntry>,
    eos_token: Option<TokenEntry>,
    unk_token: Option<TokenEntry>,
    pad_token: Option<TokenEntry>,
}

/// `tokenizer.json`, as far as CLIP's may differ from each other.
#[derive(Deserialize)]
struct TokenizerFile {
    added_tokens: Vec<NumberedToken>,
    model: ModelFile,
}

#[derive(Deserialize)]
struct ModelFile {
    end_of_word_suffix: Option<String>,
    vocab: HashMap<String, u32>,
    merges: Vec<MergeEntry>,
}

#[derive(Deserialize)]
struct NumberedToken {
    id: u32,
    #[serde(flatten)]
    token: TokenObject,
}

/// Older files hold `"a b"`, newer ones `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum MergeEntry {
    Line(String),
    Pair(String, String),
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum TokenEntry {
    Text(String),
    Object(TokenObject),
}

#[derive(Deserialize, Clone)]
struct TokenObject {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default = "yes")]
    special: bool,
}

fn yes() -> bool {
    true
}

impl From<TokenObject> for AddedToken {
    fn from(object: TokenObject) -> Self {
        let TokenObject { content, single_word, lstrip, rstrip, normalized, special } = object;
        AddedToken { content, single_word, lstrip, rstrip, normalized, special }
    }
}

impl TokenEntry {
    /// A bare string is matched in the text before lower-casing (`normalized: false`).
    fn token(&self) -> AddedToken {
        match self {
            TokenEntry::Text(content) => AddedToken::from(content.clone(), true),
            TokenEntry::Object(object) => object.clone().into(),
        }
    }
}

impl RolesFile {
    fn contain(&self, content: &str) -> bool {
        let roles = [&self.bos_token, &self.eos_token, &self.unk_token, &self.pad_token];
        roles.into_iter().flatten().any(|entry| entry.token().content == content)
    }

    /// `self`, with what `stronger` says instead.
    fn overridden_by(self, stronger: RolesFile) -> RolesFile {
        RolesFile {
            bos_token: stronger.bos_token.or(self.bos_token),
            eos_token: stronger.eos_token.or(self.eos_token),
            unk_token: stronger.unk_token.or(self.unk_token),
            pad_token: stronger.pad_token.or(self.pad_token),
        }
    }
}

impl Definition {
    /// Reads a folder; see [`super::ClipTokenizer::load`].
    pub fn read(dir: &Path) -> Result<Self> {
        let config_path = dir.join("tokenizer_config.json");
        let config: ConfigFile = read_json(&config_path)?;
        let max_length = max_length(&config_path, config.model_max_length)?;
        let (tokens, merges, listed) = read_model(dir)?;
        let mut definition =
            Self { tokens, merges, added: BTreeMap::new(), roles: Roles::default(), max_length };
        let mut roles = config.roles;
        match config.added_tokens_decoder {
            Some(decoder) => {
                definition.added = decoder.into_iter().map(|(id, token)| (id, token.into())).collect();
            }
            None => {
                definition.added = listed;
                if let Some(stronger) = read_json_if_present(&dir.join("special_tokens_map.json"))? {
                    roles = roles.overridden_by(stronger);
                }
                let extra: Option<BTreeMap<String, u32>> =
                    read_json_if_present(&dir.join("added_tokens.json"))?;
                for (content, id) in extra.unwrap_or_default() {
                    let token = AddedToken::from(content.as_str(), roles.contain(&content));
                    definition.added.entry(id).or_insert(token);
                }
            }
        }
        definition.assign_roles(roles, &config_path)?;
        Ok(definition)
    }

    /// Fills [`Self::roles`], and makes each role's token a special one unless it is listed already. Of two
    /// roles with one token the later decides how it is matched, as in transformers.
    fn assign_roles(&mut self, file: RolesFile, path: &Path) -> Result<()> {
        let listed: HashSet<String> = self.added.values().map(|token| token.content.clone()).collect();
        let entries = [
            (file.bos_token, START, &mut self.roles.start),
            (file.eos_token, END, &mut self.roles.end),
            (file.unk_token, END, &mut self.roles.unknown),
            (file.pad_token, END, &mut self.roles.pad),
        ];
        let ids: HashMap<&String, u32> = self.tokens.iter().map(|(&id, token)| (token, id)).collect();
        for (entry, default, role) in entries {
            let token = entry.unwrap_or_else(|| TokenEntry::Text(default.to_owned())).token();
            role.clone_from(&token.content);
            if !listed.contains(&token.content) {
                let id = *ids.get(&token.content).ok_or_else(|| {
                    let reason = format!("special token `{}` is not in the vocabulary", token.content);
                    Error::format(path, "CLIP tokenizer", reason)
                })?;
                self.added.insert(id, token);
            }
        }
        Ok(())
    }

    /// Writes the folder; see [`super::ClipTokenizer::save`].
    pub fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let mut merges = String::from("#version: 0.2\n");
        for (left, right) in &self.merges {
            writeln!(merges, "{left} {right}").expect("a String takes any text");
        }
        let Roles { start, end, unknown, pad } = &self.roles;
        let roles = json!({ "bos_token": start, "eos_token": end, "unk_token": unknown, "pad_token": pad });
        atomic::write(&dir.join("vocab.json"), self.vocab_json().to_string().as_bytes())?;
        atomic::write(&dir.join("merges.txt"), merges.as_bytes())?;
        atomic::write(&dir.join("special_tokens_map.json"), format!("{roles:#}\n").as_bytes())?;
        atomic::write(&dir.join("tokenizer.json"), self.tokenizer_json().to_string().as_bytes())?;
        atomic::write(&dir.join("tokenizer_config.json"), format!("{:#}\n", self.config_json()).as_bytes())
    }
}

type Model = (BTreeMap<u32, String>, Vec<(String, String)>, BTreeMap<u32, AddedToken>);

/// Vocabulary, merges, and the added tokens that `tokenizer.json` lists.
fn read_model(dir: &Path) -> Result<Model> {
    let path = dir.join("tokenizer.json");
    let Some(file) = read_json_if_present::<TokenizerFile>(&path)? else {
        let vocab_path = dir.join("vocab.json");
        let tokens = by_id(read_json(&vocab_path)?, &vocab_path)?;
        return Ok((tokens, read_merges(&dir.join("merges.txt"))?, BTreeMap::new()));
    };
    if file.model.end_of_word_suffix.as_deref() != Some(END_OF_WORD) {
        let got = file.model.end_of_word_suffix.unwrap_or_default();
        let reason = format!("`end_of_word_suffix` is `{got}`, CLIP's is `{END_OF_WORD}`");
        return Err(Error::format(&path, "CLIP tokenizer", reason));
    }
    let merges = file.model.merges.into_iter().enumerate().map(|(rank, entry)| match entry {
        MergeEntry::Pair(left, right) => Ok((left, right)),
        MergeEntry::Line(line) => merge_of_line(&line, rank + 1, &path),
    });
    let merges = merges.collect::<Result<_>>()?;
    let added = file.added_tokens.into_iter().map(|added| (added.id, added.token.into())).collect();
    Ok((by_id(file.model.vocab, &path)?, merges, added))
}

fn read_merges(path: &Path) -> Result<Vec<(String, String)>> {
    let text = read_text(path)?;
    let lines =
        text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty());
    lines.map(|(index, line)| merge_of_line(line, index + 1, path)).collect()
}

fn merge_of_line(line: &str, number: usize, path: &Path) -> Result<(String, String)> {
    match line.split(' ').collect::<Vec<_>>()[..] {
        [left, right] if !left.is_empty() && !right.is_empty() => Ok((left.to_owned(), right.to_owned())),
        _ => Err(Error::format(
            path,
            "BPE merges",
            format!("line {number}: expected two tokens, got `{line}`"),
        )),
    }
}

fn by_id(vocab: HashMap<String, u32>, path: &Path) -> Result<BTreeMap<u32, String>> {
    let count = vocab.len();
    let tokens: BTreeMap<u32, String> = vocab.into_iter().map(|(token, id)| (id, token)).collect();
    if tokens.len() < count {
        return Err(Error::format(path, "CLIP vocabulary", "two tokens have the same id"));
    }
    Ok(tokens)
}

fn max_length(path: &Path, stated: Option<f64>) -> Result<usize> {
    match stated {
        Some(length) if length >= NO_LIMIT => Ok(CLIP_MAX_LENGTH),
        None => Ok(CLIP_MAX_LENGTH),
        Some(length) if (SHORTEST as f64..=LONGEST).contains(&length) && length.fract() == 0.0 => {
            Ok(length as usize)
        }
        Some(length) => {
            let expected = format!("an integer from {SHORTEST} to {LONGEST}");
            Err(Error::config(path, "model_max_length", expected, length))
        }
    }
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io("read", path))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&read_text(path)?).map_err(|e| Error::format(path, "JSON", e))
}

fn read_json_if_present<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if path.exists() { read_json(path).map(Some) } else { Ok(None) }
}
