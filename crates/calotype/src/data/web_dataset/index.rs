//! The samples of a shard: members grouped by key.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::Path;

use super::captions;
use super::members::{Kind, Member, Members, TEXT_LIMIT};
use crate::data::collection::{Fault, FaultKind};
use crate::data::picture;
use crate::error::{Error, Result};

/// No encoded picture is larger; a damaged or hostile file may say so.
const PICTURE_LIMIT: u64 = 256 << 20;

/// So many of the first of [`picture::ENDINGS`] are a sample's picture before all others: beside one of these, a `.tiff`
/// is often a mask or a depth map.
const PREFERRED: usize = 4;
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
    pub faults: Vec<Fault>,
    /// Members that are no files and belong to no sample, each in a sentence.
    pub left_out: Vec<String>,
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
    let (samples, faults, left_out) = (Vec::new(), Vec::new(), Vec::new());
    let mut index = Index { path, keys: HashMap::new(), samples, faults, left_out };
    let mut current: Option<Group> = None;
    while let Some(member) = members.next()? {
        match member.kind {
            Kind::Folder => continue,
            Kind::File => {}
            Kind::Other(what) => {
                index.pass_over(&member.name, what);
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
    let Index { samples, faults, left_out, .. } = index;
    if samples.is_empty() && faults.is_empty() {
        let reason = "it holds no sample: no member is called KEY.jpg, KEY.png or the like";
        return Err(Error::format(path, "WebDataset shard", reason));
    }
    Ok(Indexed { file: members.into_file(), samples, faults, left_out })
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
    faults: Vec<Fault>,
    left_out: Vec<String>,
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
            Err(unusable) => self.fault(unusable),
        }
    }

    fn fault(&mut self, Unusable { kind, part, reason }: Unusable) {
        let file = format!("{}: {part}", self.path.display());
        self.faults.push(Fault { kind, file, line: None, reason });
    }

    /// A member that is no file: a fault if it is called as a part of a sample.
    fn pass_over(&mut self, name: &str, what: &str) {
        let extension = split(name).map(|(_, extension)| extension.to_ascii_lowercase());
        let known = |list: &[&str]| extension.as_deref().is_some_and(|found| list.contains(&found));
        if known(&picture::ENDINGS) || known(&TEXTS) {
            let reason = format!("it is {what}, which is not read");
            self.fault(Unusable { kind: FaultKind::Unreadable, part: name.to_owned(), reason });
        } else {
            self.left_out.push(format!("`{}: {name}` is {what}, which is not read", self.path.display()));
        }
    }
}

/// Why a sample cannot be used.
struct Unusable {
    kind: FaultKind,
    /// The member that is at fault, or the sample's key.
    part: String,
    reason: String,
}

/// The members of one key.
struct Group {
    key: String,
    /// Extensions, each with the byte of its member.
    extensions: BTreeMap<String, u64>,
    /// Those of [`PREFERRED`] endings.
    pictures: Vec<Member>,
    other_pictures: Vec<Member>,
    captions: Vec<String>,
    class: Option<String>,
    /// The first text that cannot be read, and why.
    fault: Option<Unusable>,
}

impl Group {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            extensions: BTreeMap::new(),
            pictures: Vec::new(),
            other_pictures: Vec::new(),
            captions: Vec::new(),
            class: None,
            fault: None,
        }
    }

    fn add(&mut self, path: &Path, members: &mut Members, member: Member, extension: String) -> Result<()> {
        let at = member.header;
        if let Some(first) = self.extensions.insert(extension.clone(), at) {
            let reason = format!("`{}` comes twice: at byte {first} and at byte {at}", member.name);
            return Err(Error::format(path, "WebDataset shard", reason));
        }
        let extension = extension.to_ascii_lowercase();
        if let Some(rank) = picture::ENDINGS.iter().position(|&ending| ending == extension) {
            let pictures = if rank < PREFERRED { &mut self.pictures } else { &mut self.other_pictures };
            pictures.push(member);
        } else if TEXTS.contains(&extension.as_str()) {
            if member.length > TEXT_LIMIT {
                let length = member.length;
                let reason = format!("at byte {at}: a text of {length} bytes, at most {TEXT_LIMIT} are read");
                self.unreadable_text(member.name, reason);
                return Ok(());
            }
            let text = captions::utf8(members.text(&member)?);
            if let Err(reason) = text.and_then(|text| self.say(&extension, &text)) {
                self.unreadable_text(member.name, format!("at byte {at}: {reason}"));
            }
        }
        Ok(())
    }

    fn unreadable_text(&mut self, member: String, reason: String) {
        self.fault.get_or_insert(Unusable { kind: FaultKind::Caption, part: member, reason });
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

    /// The sample, if it has exactly one picture that can be read, and no text that cannot.
    fn into_sample(mut self) -> std::result::Result<Sample, Unusable> {
        let Member { name, offset, length, .. } = self.picture()?;
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        // The same caption often stands in a text and in JSON.
        let mut known = HashSet::new();
        self.captions.retain(|caption| known.insert(caption.clone()));
        if self.captions.is_empty() {
            self.captions.extend(self.class);
        }
        self.captions.shrink_to_fit();
        Ok(Sample { name, offset, length: length as usize, captions: self.captions })
    }

    fn picture(&mut self) -> std::result::Result<Member, Unusable> {
        let mut pictures = std::mem::take(&mut self.pictures);
        if pictures.is_empty() {
            pictures = std::mem::take(&mut self.other_pictures);
        }
        let unusable = |kind, part: &str, reason| Err(Unusable { kind, part: part.to_owned(), reason });
        match (pictures.pop(), pictures.pop()) {
            (None, _) => unusable(FaultKind::Missing, &self.key, self.without_picture()),
            (Some(two), Some(one)) => {
                let reason = format!("two pictures, `{}` and `{}`", one.name, two.name);
                unusable(FaultKind::Repeated, &self.key, reason)
            }
            (Some(one), None) if one.length == 0 => {
                unusable(FaultKind::Unreadable, &one.name, "it is empty".into())
            }
            (Some(one), None) if one.length > PICTURE_LIMIT => {
                let reason = format!("it has {} bytes, at most {PICTURE_LIMIT} are read", one.length);
                unusable(FaultKind::Unreadable, &one.name, reason)
            }
            (Some(one), None) => Ok(one),
        }
    }

    /// What there is in place of a picture.
    fn without_picture(&self) -> String {
        const SHOWN: usize = 8;
        let all: Vec<&str> = self.extensions.keys().take(SHOWN).map(String::as_str).collect();
        let unread = self.extensions.keys().find(|extension| picture::is_unread_kind(extension));
        let more = unread.map_or(String::new(), |extension| format!("; {}", picture::unread_kind(extension)));
        format!("no picture ({}), only {}{more}", picture::ENDINGS.join(", "), all.join(", "))
    }
}
