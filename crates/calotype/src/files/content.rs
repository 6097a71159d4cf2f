//! What a file holds, by its first bytes and not by its name: people and programs give weights any ending, and servers
//! and git leave other things in their place.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Cause, Error, Result};

/// Bytes that are looked at: tar's mark ends at byte 262.
const HEAD: usize = 512;
/// The longest header of a safetensors file, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;
/// Bytes from which on printable characters are taken for a text.
const SHORTEST_TEXT: usize = 16;
/// What a GGUF file begins with.
pub(super) const GGUF: &[u8] = b"GGUF";
/// Where tar has its mark.
const TAR_MARK: std::ops::Range<usize> = 257..262;

/// What weights may come as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// A length, and a header in JSON.
    Safetensors,
    /// What `torch.save` writes: a zip, a tar or a stream of pickles.
    TorchSave,
    /// What ggml writes, with quantised weights.
    Gguf,
}

impl WeightFormat {
    /// As the file's content says; where that says nothing, as its ending does.
    ///
    /// # Errors
    /// `Error::Io`; `Error::Format` for a file that holds something else, with what.
    pub fn of(path: &Path) -> Result<Self> {
        let head = head(path)?;
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let by_name = match extension {
            "pth" | "pt" | "bin" | "ckpt" => Self::TorchSave,
            "gguf" => Self::Gguf,
            _ => Self::Safetensors,
        };
        if is_safetensors(&head) {
            return Ok(Self::Safetensors);
        }
        if head.starts_with(GGUF) {
            return Ok(Self::Gguf);
        }
        if let Some(found) = not_weights(&head) {
            return Err(found.error(path, by_name.name()));
        }
        Ok(if is_torch_save(&head) { Self::TorchSave } else { by_name })
    }

    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::TorchSave => "PyTorch weights",
            Self::Gguf => "GGUF",
        }
    }
}

/// Refuses a file that git or a server has left in the place of another.
///
/// - `format`: what the file should be, for messages.
///
/// # Errors
/// `Error::Io`; `Error::Format` with what is there.
pub fn refuse_mistaken(path: &Path, format: &'static str) -> Result<()> {
    mistaken(&head(path)?).map_or(Ok(()), |found| Err(found.error(path, format)))
}

fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut read = || {
        // Opening a named pipe may wait for ever.
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"));
        }
        File::open(path)?.take(HEAD as u64).read_to_end(&mut head)
    };
    read().map_err(Error::io("read", path))?;
    Ok(head)
}

/// What lies in the place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    what: String,
    cause: Option<Cause>,
}

impl Found {
    fn because(what: impl Into<String>, cause: Cause) -> Self {
        Self { what: what.into(), cause: Some(cause) }
    }

    /// That it is no file of this format.
    pub fn error(self, path: impl AsRef<Path>, format: &'static str) -> Error {
        let error = Error::format(path, format, self.what);
        match self.cause {
            Some(cause) => error.because(cause),
            None => error,
        }
    }
}

/// What a file is that git or a server has left in the place of another, by its first bytes.
pub fn mistaken(bytes: &[u8]) -> Option<Found> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD)]);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("version https://git-lfs.github.com/spec/") {
        let size = text.lines().find_map(|line| line.strip_prefix("size ")?.trim().parse::<u64>().ok());
        let size = size.map_or(String::new(), |size| format!(" of {size} bytes"));
        let what = format!("it is a Git LFS pointer to a file{size}");
        return Some(Found::because(what, Cause::GitLfsPointer));
    }
    let lower = text.to_ascii_lowercase();
    let page = ["<!doctype html", "<html", "<head", "<body"].iter().any(|start| lower.starts_with(start));
    let answer = if page {
        Some("it is a web page".to_owned())
    } else if lower.starts_with("<?xml") {
        Some("it is XML, as servers answer where they do not give a file".to_owned())
    } else if is_message(text) {
        Some(format!("it is a message, `{}`", beginning(text)))
    } else {
        None
    };
    answer.map(|answer| Found::because(answer, Cause::ServersAnswer))
}

/// What servers say in place of a file: the hub's own sentences, and JSON about an error.
fn is_message(text: &str) -> bool {
    const HUBS: [&str; 6] = [
        "Entry not found",
        "Invalid username or password",
        "Repository not found",
        "Access to model",
        "Not Found",
        "404",
    ];
    let json = text.strip_prefix('{').is_some_and(|rest| {
        let rest = rest.trim_start();
        ["\"error\"", "\"message\"", "\"detail\""].iter().any(|key| rest.starts_with(key))
    });
    json || HUBS.iter().any(|start| text.starts_with(start))
}

/// (the first bytes, what they begin).
const OTHER_FILES: [(&[u8], &str); 13] = [
    (b"\x89PNG\r\n", "a picture (PNG)"),
    (b"\xFF\xD8\xFF", "a picture (JPEG)"),
    (b"II*\0", "a picture (TIFF)"),
    (b"MM\0*", "a picture (TIFF)"),
    (b"BM", "a picture (BMP)"),
    (b"RIFF", "a picture (WebP), sound or film"),
    (b"GIF8", "a picture (GIF)"),
    (GGUF, "a GGUF file"),
    (b"ggml", "a GGML file, which is not read"),
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes, which is not read"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"PAR1", "a parquet file"),
    (b"%PDF", "a PDF"),
];

/// (the first bytes, what packs files so).
const ARCHIVES: [(&[u8], &str); 7] = [
    (b"\x1F\x8B", "gzip"),
    (b"7z\xBC\xAF\x27\x1C", "7-Zip"),
    (b"Rar!\x1A\x07", "RAR"),
    (b"\xFD7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4D\x18", "LZ4"),
    (b"\x28\xB5\x2F\xFD", "Zstandard"),
];

/// What a file is that is no safetensors file, as far as its first bytes tell.
pub(super) fn not_safetensors(bytes: &[u8]) -> Option<Found> {
    let head = &bytes[..bytes.len().min(HEAD)];
    if is_safetensors(head) {
        return None;
    }
    let pickle = || Found { what: "it is a file of torch.save".into(), cause: None };
    not_weights(head).or_else(|| is_torch_save(head).then(pickle))
}

/// What a file is that is certainly no weight file.
fn not_weights(head: &[u8]) -> Option<Found> {
    if head.is_empty() {
        return Some(Found::because("the file is empty", Cause::CutOff));
    }
    if let Some(found) = mistaken(head) {
        return Some(found);
    }
    let starts = |(start, _): &&(&[u8], &str)| head.starts_with(start);
    if let Some((_, kind)) = OTHER_FILES.iter().find(starts) {
        return Some(Found { what: format!("it is {kind}"), cause: None });
    }
    if let Some((_, kind)) = ARCHIVES.iter().find(starts) {
        return Some(Found::because(format!("it is packed by {kind}"), Cause::Packed));
    }
    let text = std::str::from_utf8(head).ok().filter(|text| text.len() >= SHORTEST_TEXT)?;
    let is_text = text.chars().all(|c| !c.is_control() || c.is_whitespace()) && !is_torch_save(head);
    is_text.then(|| Found { what: format!("it is a text, which begins `{}`", beginning(text)), cause: None })
}

/// The beginning of a text's first line.
fn beginning(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    line.chars().take(60).collect::<String>().trim_end().to_owned()
}

/// The length of a header, and its first bracket. Other files begin with 0x80 or `PK` too.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    u64::from_le_bytes(*length) <= LONGEST_HEADER && rest.first() == Some(&b'{')
}

/// A zip, a tar, or a pickle: its protocol and an instruction, or, in old ones, a container that is kept for later.
fn is_torch_save(head: &[u8]) -> bool {
    let old = [&b"(dp"[..], b"(lp", b"}q", b"]q", b"ccollections\n", b"ctorch"];
    let pickle =
        matches!(head, [0x80, 0..=5, 1..=0xFF, ..]) || old.iter().any(|start| head.starts_with(start));
    pickle || is_zip(head) || head.get(TAR_MARK) == Some(b"ustar")
}

/// A zip, also an empty one.
pub(super) fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn weights_are_told_by_content() {
        let dir = TempDir::new();
        let of = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, bytes).unwrap();
            WeightFormat::of(&path).unwrap()
        };
        // Lengths of headers whose first bytes are those of a pickle, of gzip, of `PK` and of a bracket.
        for length in [0x0480_u64, 0x8B1F, 0x4B50, 0x28, 0x0002_0280] {
            let bytes = [&length.to_le_bytes()[..], b"{\"a\":"].concat();
            assert_eq!(of("a.ckpt", &bytes), WeightFormat::Safetensors, "{length:#x}");
        }
        for bytes in
            [&b"PK\x03\x04\x14\0\0\0\0\0"[..], b"\x80\x02}q\0.", b"\x80\x04\x95\0\0\0\0\0\0\0\0", b"(dp0\n."]
        {
            assert_eq!(of("a.safetensors", bytes), WeightFormat::TorchSave, "{bytes:?}");
        }
        assert_eq!(of("a.safetensors", b"GGUF\x03\0\0\0"), WeightFormat::Gguf);
        // Where the content says nothing, the name does.
        assert_eq!(of("a.safetensors", b"abc"), WeightFormat::Safetensors);
        assert_eq!(of("a.pt", b"abc"), WeightFormat::TorchSave);
        assert_eq!(of("a.gguf", b"abc"), WeightFormat::Gguf);
    }

    #[test]
    fn what_is_there_in_place_of_a_file_is_said() {
        let dir = TempDir::new();
        let path = dir.join("a.safetensors");
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let error = WeightFormat::of(&path).unwrap_err();
            (error.to_string(), error.hint().unwrap_or_default())
        };
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4265146304\n";
        for (bytes, what, next) in [
            (&b""[..], "the file is empty", "truncated"),
            (pointer, "Git LFS pointer to a file of 4265146304 bytes", "git lfs pull"),
            (b"\xEF\xBB\xBF\r\n<!DOCTYPE HTML>\n<title>Sign in", "web page", "download the file itself"),
            (b"<html lang=en>", "web page", "download the file itself"),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied", "XML", "access"),
            (b"Entry not found", "`Entry not found`", "download the file itself"),
            (b"{\"error\":\"Access to this model is restricted\"}", "message", "access"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\0", "packed by gzip", "unpack"),
            (b"\x89PNG\r\n\x1a\n", "a picture (PNG)", ""),
            (b"ggml\x03\0\0\0\0\0\0\0", "a GGML file, which is not read", ""),
            (b"{\n  \"_class_name\": \"UNet\"", "a text, which begins `{`", ""),
        ] {
            let (message, hint) = refused(bytes);
            assert!(message.contains(what) && message.contains("a.safetensors"), "{message}");
            assert!(hint.contains(next), "{message}: {hint}");
        }
    }
}
