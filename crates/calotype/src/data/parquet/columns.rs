//! Which columns of a file hold pictures and captions.

use ::parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use ::parquet::schema::types::{SchemaDescriptor, Type};

/// Names of the columns to read; `None`: find it. A name may reach into structs: `sentences.raw`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// The pictures. Found: the only struct that has a binary `bytes` (the feature `Image` of Hugging Face);
    /// else the only binary column called `image`, `jpg`, `jpeg`, `png` or `webp`.
    pub image: Option<String>,
    /// The captions: strings, lists of strings, or a class whose name is the caption. Found: the only string
    /// column called `text`, `caption`, `captions`, `txt`, `prompt` or `sentences`, the first of the first four if
    /// there is none of the other two; else the only string column or `ClassLabel` whose name does not begin with
    /// `__`. If there is none of them, the pictures have no captions.
    pub text: Option<String>,
}

const IMAGE_NAMES: [&str; 5] = ["image", "jpg", "jpeg", "png", "webp"];
/// As in metadata and in tar shards, the first that is there counts.
const CAPTION_NAMES: [&str; 4] = ["text", "caption", "captions", "txt"];
/// Which of these is the caption where there are captions too is not clear.
const OTHER_NAMES: [&str; 2] = ["prompt", "sentences"];

/// A column of values, that is a leaf of the schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Leaf {
    /// Its place among the leaves.
    pub index: usize,
    /// Its path without the levels that only make lists: `captions`, not `captions.list.element`.
    pub name: String,
    /// Inside of a list.
    listed: bool,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Binary,
    Int64,
    Other(&'static str),
}

/// Where captions come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Text {
    /// A column of strings.
    Strings(Leaf),
    /// A column of classes; the names of the classes.
    Classes(Leaf, Vec<String>),
}

impl Text {
    pub(super) fn leaf(&self) -> &Leaf {
        match self {
            Text::Strings(leaf) | Text::Classes(leaf, _) => leaf,
        }
    }
}

/// Class names by column: what the file's metadata `huggingface` says of each `ClassLabel`.
///
/// # Errors
/// If it is not JSON.
pub(super) fn class_names(metadata: &str) -> Result<Vec<(String, Vec<String>)>, serde_json::Error> {
    let metadata: serde_json::Value = serde_json::from_str(metadata)?;
    let Some(features) = metadata["info"]["features"].as_object() else { return Ok(Vec::new()) };
    let names = |feature: &serde_json::Value| {
        let names = feature["names"].as_array().filter(|_| feature["_type"] == "ClassLabel")?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
    };
    Ok(features.iter().filter_map(|(column, feature)| Some((column.clone(), names(feature)?))).collect())
}

/// The leaves of a schema, in its order.
pub(super) fn leaves(schema: &SchemaDescriptor) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for field in schema.root_schema().get_fields() {
        collect(field, "", false, &mut leaves);
    }
    leaves
}

fn collect(node: &Type, parent: &str, listed: bool, leaves: &mut Vec<Leaf>) {
    let name = if parent.is_empty() { node.name().to_owned() } else { format!("{parent}.{}", node.name()) };
    collect_named(node, name, listed || repeated(node), leaves);
}

fn collect_named(node: &Type, name: String, listed: bool, leaves: &mut Vec<Leaf>) {
    if node.is_primitive() {
        leaves.push(Leaf { index: leaves.len(), name, listed, kind: kind(node) });
        return;
    }
    match node.get_fields() {
        // list<element>: the repeated level and, where it wraps just one value, that value's level.
        [list] if is_list(node) && repeated(list) => match list {
            list if list.is_group() && list.get_fields().len() == 1 => {
                collect_named(&list.get_fields()[0], name, true, leaves);
            }
            list => collect_named(list, name, true, leaves),
        },
        fields => fields.iter().for_each(|field| collect(field, &name, listed, leaves)),
    }
}

fn repeated(node: &Type) -> bool {
    let info = node.get_basic_info();
    info.has_repetition() && info.repetition() == ::parquet::basic::Repetition::REPEATED
}

fn is_list(node: &Type) -> bool {
    let info = node.get_basic_info();
    info.converted_type() == ConvertedType::LIST || matches!(info.logical_type_ref(), Some(LogicalType::List))
}

fn kind(leaf: &Type) -> Kind {
    let info = leaf.get_basic_info();
    let string = info.converted_type() == ConvertedType::UTF8
        || matches!(info.logical_type_ref(), Some(LogicalType::String));
    match leaf.get_physical_type() {
        Physical::BYTE_ARRAY if string => Kind::String,
        Physical::BYTE_ARRAY => Kind::Binary,
        Physical::INT64 => Kind::Int64,
        Physical::INT32 => Kind::Other("int32"),
        Physical::BOOLEAN => Kind::Other("bool"),
        Physical::FLOAT => Kind::Other("float32"),
        Physical::DOUBLE => Kind::Other("float64"),
        Physical::INT96 => Kind::Other("int96"),
        Physical::FIXED_LEN_BYTE_ARRAY => Kind::Other("fixed-size binary"),
    }
}

/// All columns with their types, for messages.
fn listing(leaves: &[Leaf], classes: &[(String, Vec<String>)]) -> String {
    let one = |leaf: &Leaf| {
        let kind = match leaf.kind {
            Kind::String => "string",
            Kind::Binary => "binary",
            Kind::Int64 if names_of(leaf, classes).is_some() => "class",
            Kind::Int64 => "int64",
            Kind::Other(name) => name,
        };
        format!("`{}` ({}{kind})", leaf.name, if leaf.listed { "list of " } else { "" })
    };
    leaves.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn names_of<'a>(leaf: &Leaf, classes: &'a [(String, Vec<String>)]) -> Option<&'a Vec<String>> {
    let mut of = classes.iter().filter(|(column, _)| *column == leaf.name && !leaf.listed);
    of.next().filter(|_| leaf.kind == Kind::Int64).map(|(_, names)| names)
}

/// The leaf of the pictures, and the name of its column.
///
/// # Errors
/// Why it is not clear, with all columns.
pub(super) fn image(leaves: &[Leaf], wanted: Option<&str>) -> Result<(Leaf, String), String> {
    let column = |leaf: &Leaf| leaf.name.strip_suffix(".bytes").unwrap_or(&leaf.name).to_owned();
    let binary = || leaves.iter().filter(|leaf| leaf.kind == Kind::Binary && !leaf.listed);
    let found: Vec<&Leaf> = match wanted {
        Some(name) => binary().filter(|leaf| leaf.name == name || column(leaf) == name).collect(),
        None => {
            let structs: Vec<&Leaf> = binary()
                .filter(|leaf| leaf.name.ends_with(".bytes") && !column(leaf).contains('.'))
                .collect();
            let plain = binary().filter(|leaf| IMAGE_NAMES.contains(&leaf.name.as_str()));
            if structs.is_empty() { plain.collect() } else { structs }
        }
    };
    match (&found[..], wanted) {
        ([leaf], _) => Ok(((*leaf).clone(), column(leaf))),
        ([], Some(name)) => Err(format!(
            "expected `{name}` to be a struct with binary `bytes`, or binary; the columns are {}",
            listing(leaves, &[])
        )),
        ([], None) => Err(format!(
            "no column is clearly the picture's; name it (`image-column`). The columns are {}",
            listing(leaves, &[])
        )),
        _ => Err(format!(
            "several columns may be the picture's, name one: {} (`image-column`)",
            list_names(found.iter().map(|leaf| column(leaf)))
        )),
    }
}

/// Where the captions of a file come from, if it has any.
///
/// # Errors
/// Why it is not clear, with all columns.
pub(super) fn text(
    leaves: &[Leaf],
    classes: &[(String, Vec<String>)],
    wanted: Option<&str>,
) -> Result<Option<Text>, String> {
    let source = |leaf: &Leaf| match names_of(leaf, classes) {
        Some(names) => Text::Classes(leaf.clone(), names.clone()),
        None => Text::Strings(leaf.clone()),
    };
    if let Some(name) = wanted {
        let below = format!("{name}.");
        let exact = leaves.iter().find(|leaf| leaf.name == name).filter(|leaf| {
            // Some writers do not mark strings as such; a caption that is none fails when it is read.
            matches!(leaf.kind, Kind::String | Kind::Binary) || names_of(leaf, classes).is_some()
        });
        let mut inside =
            leaves.iter().filter(|leaf| leaf.kind == Kind::String && leaf.name.starts_with(&below));
        let only = inside.next().filter(|_| inside.next().is_none());
        return exact.or(only).map(|leaf| Some(source(leaf))).ok_or_else(|| {
            format!(
                "expected `{name}` to be strings, lists of them, or a class with names; the columns are {}",
                listing(leaves, classes)
            )
        });
    }
    let strings: Vec<&Leaf> =
        leaves.iter().filter(|leaf| leaf.kind == Kind::String && !leaf.name.contains('.')).collect();
    let called = |names: &[&str]| -> Vec<&Leaf> {
        names.iter().flat_map(|name| strings.iter().copied().filter(move |leaf| leaf.name == *name)).collect()
    };
    let (captions, others) = (called(&CAPTION_NAMES), called(&OTHER_NAMES));
    // `__key__` and `__url__` are what the hub makes of tar shards.
    let free = strings.iter().copied().filter(|leaf| !leaf.name.starts_with("__"));
    let all = || free.chain(leaves.iter().filter(|leaf| names_of(leaf, classes).is_some()));
    let candidates = match (captions.first(), others.is_empty()) {
        (Some(&first), true) => vec![first],
        (None, true) => all().collect(),
        (_, false) => [captions, others].concat(),
    };
    match &candidates[..] {
        [leaf] => Ok(Some(source(leaf))),
        [] => Ok(None),
        _ => Err(format!(
            "several columns may be the caption's, name one: {} (`caption-column`). All columns are {}",
            list_names(candidates.iter().map(|leaf| leaf.name.clone())),
            listing(leaves, classes)
        )),
    }
}

/// That a column has the name of captions and is no text, as where they are numbers.
pub(super) fn unread_captions(leaves: &[Leaf]) -> Option<String> {
    let called = |leaf: &&Leaf| CAPTION_NAMES.contains(&leaf.name.as_str());
    let leaf = leaves.iter().find(called)?;
    let column = listing(std::slice::from_ref(leaf), &[]);
    Some(format!(
        "the column {column} is not read: captions are strings, lists of them, or a class with names"
    ))
}

fn list_names(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Columns of strings with these names.
#[cfg(test)]
pub(super) fn strings(names: &[&str]) -> Vec<Leaf> {
    let leaf = |(index, name): (usize, &&str)| Leaf {
        index,
        name: (*name).to_owned(),
        listed: false,
        kind: Kind::String,
    };
    names.iter().enumerate().map(leaf).collect()
}
