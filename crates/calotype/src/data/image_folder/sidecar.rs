//! Caption files: `cat.txt` or `cat.caption` beside `cat.jpg`; each line that is not empty is a caption.

use std::fs;
use std::path::Path;

use super::named::and_more;
use super::walk::Files;
use super::{Entry, FORMAT};
use crate::data::collection::{CaptionNeed, Fault, FaultKind, Faults};
use crate::data::text::in_utf8;
use crate::error::{Error, Result};

/// The pictures of `dir` in their order, each with the captions beside it.
///
/// # Errors
/// `Error::Io` if a caption file cannot be read. If captions are required, `Error::Format` if a picture
/// has none, or two caption files, or one that is not UTF-8.
pub(super) fn entries(
    dir: &Path,
    files: &Files,
    need: CaptionNeed,
    faults: &mut Faults,
) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(files.pictures.len());
    let mut without = Vec::new();
    for picture in &files.pictures {
        let captions = match read(dir, files.caption_files(picture)) {
            Err(Error::Format { path, reason, .. }) if faults.are_listed() => {
                let (kind, file) = (FaultKind::Caption, path.display().to_string());
                faults.take(Fault { kind, file, line: None, reason }, FORMAT)?;
                if need == CaptionNeed::Required {
                    continue;
                }
                Vec::new()
            }
            Err(Error::Format { .. }) if need == CaptionNeed::Optional => Vec::new(),
            other => other?,
        };
        if captions.is_empty() && need == CaptionNeed::Required && faults.are_listed() {
            let (kind, file) = (FaultKind::Caption, dir.join(picture).display().to_string());
            let reason = format!("no caption in `{}`", dir.join(picture.with_extension("txt")).display());
            faults.take(Fault { kind, file, line: None, reason }, FORMAT)?;
            continue;
        }
        if captions.is_empty() {
            without.push(picture);
        }
        entries.push(Entry { path: dir.join(picture), captions });
    }
    match without.first() {
        Some(first) if need == CaptionNeed::Required => {
            let what = "pictures have no caption, where others have one";
            let more = and_more(without.len(), what);
            let stem = first.with_extension("txt");
            let reason = format!("it has no caption: expected some in `{}`{more}", dir.join(stem).display());
            Err(Error::format(dir.join(first), FORMAT, reason))
        }
        _ => Ok(entries),
    }
}

fn read(dir: &Path, caption_files: &[impl AsRef<Path>]) -> Result<Vec<String>> {
    let file = match caption_files {
        [] => return Ok(Vec::new()),
        [file] => dir.join(file),
        [first, second, ..] => {
            let reason = format!("the same picture has `{}`: keep one", second.as_ref().display());
            return Err(Error::format(dir.join(first), "captions of a picture", reason));
        }
    };
    let bytes = fs::read(&file).map_err(Error::io("read", &file))?;
    let bytes = in_utf8(&bytes);
    let text = std::str::from_utf8(&bytes).map_err(|e| Error::format(&file, "UTF-8", e))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
