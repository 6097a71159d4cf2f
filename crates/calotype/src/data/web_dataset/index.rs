//! The samples of a shard: members grouped by key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::Path;

use super::captions;
use super::members::{Kind, Member, Members, TEXT_LIMIT};
use crate::error::{Error, Result};

/// No encoded picture is larger; a damaged or hostile file may say so.
const PICTURE_LIMIT: u64 = 256 << 20;

const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];
const TEXTS: [&str; 6] = ["txt", "text", "caption", "captions", "json", "cls"];

/// A picture in a shard, and its captions.
#[derive(Debug)]
pub(super) struct Sample {
    /// The picture's name in the shard.
    pub name: String,
    /// Its first byte in the shard.
    pub offset: u64,
    /// Its bytes, at least 1.
    pub length: usize,
    pub captions: Vec<String>,
}

pub(super) struct Indexed {
    pub file: File,
    pub samples: Vec<Sample>,
    pub skipped: Vec<String>,
}

/// Whether a lower-case file name is that of a tar compressed by gzip.
pub(super) fn is_gzip_name(name: &str) -> bool {
    name.ends_with(".tar.gz") || name.ends_with(".tgz")
}

/// The refusal of a compressed shard.
pub(super) fn compressed(path: &Path) -> Error {
    let reason = "it is compressed, and pictures are read by their position: run gunzip on it first";
    Error::format(path, "tar", reason)
}

/// Indexes a shard.
pub(super) fn index(path: &Path) -> Result<Indexed> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let mut members = Members::open(path)?;
    if is_gzip_name(&name) || members.is_gzip()? {
        return Err(compressed(path));
    }
    let mut index = Index { path, keys: HashMap::new(), samples: Vec::new(), skipped: Vec::new() };
    let mut current: Option<Group> = None;
    while let Some(member) = members.next()? {
        match member.kind {
            Kind::Folder => continue,
            Kind::File => {}
            Kind::Other(what) => {
                index.skip(&member.name, format!("it is {what}, which is not read"));
                continue;
            }
        }
        let Some((key, extension)) = split(&member.name) else { continue };
        let group = match &mut current {
            Some(group) if group.key == key => group,
            _ => {
                if let Some(done) = current.take() {
                    index.finish(done);
                }
                index.begin(key, &member)?;
                current.insert(Group::new(key))
            }
        };
        let extension = extension.to_owned();
        group.add(path, &mut members, member, extension)?;
    }
    if let Some(done) = current {
        index.finish(done);
    }
    if index.samples.is_empty() {
        let reason = match index.skipped.first() {
            None => "it holds no sample: no member is called KEY.jpg, KEY.png or the like".to_owned(),
            Some(first) => {
                format!("it holds no sample that can be used; {} were skipped: {first}", index.skipped.len())
            }
        };
        return Err(Error::format(path, "WebDataset shard", reason));
    }
    Ok(Indexed { file: members.into_file(), samples: index.samples, skipped: index.skipped })
}

/// Key and extension: a name is cut at the first dot of its last part. Names without a dot, and those that
/// begin with one, have no key.
fn split(name: &str) -> Option<(&str, &str)> {
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    (dot > base).then(|| (&name[..dot], &name[dot + 1..]))
}

struct Index<'p> {
    path: &'p Path,
    /// The first member of each key: name and byte.
    keys: HashMap<String, (String, u64)>,
    samples: Vec<Sample>,
    skipped: Vec<String>,
}

impl Index<'_> {
    fn begin(&mut self, key: &str, member: &Member) -> Result<()> {
        match self.keys.insert(key.to_owned(), (member.name.clone(), member.header)) {
            None => Ok(()),
            Some((name, at)) => Err(Error::format(
                self.path,
                "WebDataset shard",
                format!(
                    "key `{key}` comes twice: `{name}` at byte {at} and, after other keys, `{}` at byte {}; \
                     the members of a sample must follow one another (tar --sort=name)",
                    member.name, member.header
                ),
            )),
        }
    }

    fn finish(&mut self, group: Group) {
        match group.into_sample() {
            Ok(sample) => self.samples.push(sample),
            Err((key, reason)) => self.skip(&key, reason),
        }
    }

    fn skip(&mut self, what: &str, reason: String) {
        self.skipped.push(format!("{}: `{what}`: {reason}", self.path.display()));
    }
}

/// The members of one key.
struct Group {
    key: String,
    /// Extensions, each with the byte of its member.
    extensions: BTreeMap<String, u64>,
    pictures: Vec<Member>,
    captions: Vec<String>,
    class: Option<String>,
    /// The first text that cannot be read, and why.
    fault: Option<String>,
}

impl Group {
    fn new(key: &str) -> Self {
        let (extensions, pictures, captions) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { key: key.to_owned(), extensions, pictures, captions, class: None, fault: None }
    }

    fn add(&mut self, path: &Path, members: &mut Members, member: Member, extension: String) -> Result<()> {
        let at = member.header;
        if let Some(first) = self.extensions.insert(extension.clone(), at) {
            let reason = format!("`{}` comes twice: at byte {first} and at byte {at}", member.name);
            return Err(Error::format(path, "WebDataset shard", reason));
        }
        let extension = extension.to_ascii_lowercase();
        if PICTURES.contains(&extension.as_str()) {
            self.pictures.push(member);
        } else if TEXTS.contains(&extension.as_str()) {
            if member.length > TEXT_LIMIT {
                let (name, length) = (&member.name, member.length);
                let reason =
                    format!("byte {at}: `{name}`: a text of {length} bytes, at most {TEXT_LIMIT} are read");
                self.fault.get_or_insert(reason);
                return Ok(());
            }
            let text = captions::utf8(members.text(&member)?);
            if let Err(reason) = text.and_then(|text| self.say(&extension, &text)) {
                self.fault.get_or_insert(format!("`{}` at byte {at}: {reason}", member.name));
            }
        }
        Ok(())
    }

    /// What a text says about the picture.
    fn say(&mut self, extension: &str, text: &str) -> std::result::Result<(), String> {
        match extension {
            "json" => self.captions.extend(captions::of_json(text)?),
            "cls" => self.class = captions::class_name(text),
            _ => self.captions.extend(captions::of_lines(text)),
        }
        Ok(())
    }

    /// The sample; key and reason if it has not exactly one picture that can be read, or a text that cannot.
    fn into_sample(mut self) -> std::result::Result<Sample, (String, String)> {
        let fault = match self.pictures.as_slice() {
            [] => {
                let all: Vec<&str> = self.extensions.keys().take(8).map(String::as_str).collect();
                Some(format!("no picture (jpg, jpeg, png, webp), only {}", all.join(", ")))
            }
            [one] if one.length == 0 => Some(format!("`{}` is empty", one.name)),
            [one] if one.length > PICTURE_LIMIT => {
                Some(format!("`{}` has {} bytes, at most {PICTURE_LIMIT} are read", one.name, one.length))
            }
            [_] => self.fault.take(),
            [one, two, ..] => Some(format!("two pictures, `{}` and `{}`", one.name, two.name)),
        };
        match (self.pictures.pop(), fault) {
            (Some(picture), None) => {
                // The same caption often stands in a text and in JSON.
                let mut known = HashSet::new();
                self.captions.retain(|caption| known.insert(caption.clone()));
                if self.captions.is_empty() {
                    self.captions.extend(self.class);
                }
                self.captions.shrink_to_fit();
                let Member { name, offset, length, .. } = picture;
                Ok(Sample { name, offset, length: length as usize, captions: self.captions })
            }
            (_, fault) => Err((self.key, fault.unwrap_or_default())),
        }
    }
}
