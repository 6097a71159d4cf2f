//! Scenes on disk: an image folder with captions, boxes and masks.

use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::{EmojiScenes, Noun, Rect, Split};
use crate::{Error, Result};

/// A line of `metadata.jsonl`.
#[derive(Serialize)]
struct Line {
    file_name: String,
    text: String,
    objects: Vec<ObjectLine>,
}

#[derive(Serialize)]
struct ObjectLine {
    noun: Noun,
    rect: Rect,
    mask: String,
}

/// Writes scenes 0 to `n` − 1 of `split` as an image folder: `000000.png` and so on,
/// `metadata.jsonl` (`file_name`, `text`, and `objects` with noun, box and mask file), and a PNG in
/// `masks/` for every object (255 where it is visible).
///
/// The folder appears under its name only when it is complete.
///
/// # Errors
/// `Error::Argument` if `out_dir` holds something or cannot name a folder, `Error::Io` if writing
/// fails; then nothing is left behind.
pub fn render_folder(scenes: &EmojiScenes, split: Split, n: u64, out_dir: &Path) -> Result<()> {
    let partial = partial_folder(out_dir)?;
    refuse_non_empty(out_dir)?;
    let written = write_all(scenes, split, n, &partial).and_then(|()| publish(&partial, out_dir));
    if written.is_err() {
        // The first error is the one to report; a folder that cannot be removed adds nothing.
        let _ = fs::remove_dir_all(&partial);
    }
    written
}

/// A sibling of `out_dir`, so that the rename stays on one file system.
fn partial_folder(out_dir: &Path) -> Result<PathBuf> {
    let name = out_dir
        .file_name()
        .ok_or_else(|| Error::argument("output folder", "a path that ends in a name", out_dir.display()))?;
    Ok(out_dir.with_file_name(format!(".{}.partial-{}", name.to_string_lossy(), std::process::id())))
}

fn refuse_non_empty(out_dir: &Path) -> Result<()> {
    let refuse = |got: &str| {
        let got = format!("`{}`, {got}", out_dir.display());
        Err(Error::argument("output folder", "a new or empty folder", got))
    };
    match fs::read_dir(out_dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => refuse("which holds files"),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => refuse("a file"),
        Err(e) => Err(Error::io("read", out_dir)(e)),
    }
}

fn write_all(scenes: &EmojiScenes, split: Split, n: u64, folder: &Path) -> Result<()> {
    let masks = folder.join("masks");
    fs::create_dir_all(&masks).map_err(Error::io("create", &masks))?;
    let lines: Vec<String> =
        (0..n).into_par_iter().map(|i| write_scene(scenes, split, i, folder)).collect::<Result<_>>()?;
    let metadata = folder.join("metadata.jsonl");
    fs::write(&metadata, lines.concat()).map_err(Error::io("write", &metadata))
}

/// Writes the picture and the masks; returns the line of metadata.
fn write_scene(scenes: &EmojiScenes, split: Split, index: u64, folder: &Path) -> Result<String> {
    let scene = scenes.scene(split, index);
    let file_name = format!("{index:06}.png");
    save(scene.image.into(), &folder.join(&file_name))?;
    let mut objects = Vec::with_capacity(scene.objects.len());
    for (number, object) in scene.objects.into_iter().enumerate() {
        let mask = format!("masks/{index:06}_{number}_{}.png", object.noun);
        save(object.mask.into(), &folder.join(&mask))?;
        objects.push(ObjectLine { noun: object.noun, rect: object.rect, mask });
    }
    let line = Line { file_name, text: scene.caption, objects };
    let json = serde_json::to_string(&line).map_err(|e| Error::format(folder, "JSON", e))?;
    Ok(json + "\n")
}

fn save(picture: image::DynamicImage, path: &Path) -> Result<()> {
    picture.save(path).map_err(|e| match e {
        image::ImageError::IoError(source) => Error::io("write", path)(source),
        other => Error::format(path, "PNG", other),
    })
}

fn publish(partial: &Path, out_dir: &Path) -> Result<()> {
    if out_dir.exists() {
        fs::remove_dir(out_dir).map_err(Error::io("replace", out_dir))?;
    }
    fs::rename(partial, out_dir).map_err(Error::io("create", out_dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::collection::Collection;
    use crate::data::emoji_scenes::EmojiScenesConfig;
    use crate::data::image_folder::ImageFolder;
    use crate::data::inspection::inspect;
    use crate::data::picture;
    use crate::testing::TempDir;

    #[test]
    fn the_folder_holds_the_scenes() {
        let scenes = EmojiScenes::new(EmojiScenesConfig { seed: 5, ..EmojiScenesConfig::default() }).unwrap();
        let root = TempDir::new();
        let out = root.join("new/folder");
        render_folder(&scenes, Split::HeldOut, 12, &out).unwrap();

        let folder = ImageFolder::open(&out).unwrap();
        assert_eq!(folder.len(), 12);
        for i in 0..12 {
            let scene = scenes.scene(Split::HeldOut, i as u64);
            let bytes = folder.bytes(i).unwrap();
            assert_eq!(picture::decode(&bytes, "scene", [255; 3]).unwrap(), scene.image);
            assert_eq!(folder.captions(i), [scene.caption]);
            for (number, object) in scene.objects.iter().enumerate() {
                let mask = out.join(format!("masks/{i:06}_{number}_{}.png", object.noun));
                assert_eq!(image::open(mask).unwrap().to_luma8(), object.mask);
            }
        }
        let inspection = inspect(&folder, 2, &|_| ());
        assert_eq!((inspection.count, inspection.unreadable.len()), (12, 0));
        assert_eq!(folder.unnamed().unwrap().len(), 0);

        let refused = render_folder(&scenes, Split::Train, 1, &out).unwrap_err();
        assert!(refused.to_string().contains("which holds files"), "{refused}");
        let siblings = fs::read_dir(root.join("new")).unwrap().count();
        assert_eq!(siblings, 1, "a partial folder was left behind");
    }
}
