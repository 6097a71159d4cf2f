//! A folder that is replaced as a whole.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Makes the new folder beside the old one, and only then puts it in its place.
///
/// # Errors
/// Those of `make`, which gets the folder to write into; `Error::Io`.
pub fn replace(folder: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (new, old) = (beside(folder, "new"), beside(folder, "old"));
    remove(&new)?;
    make(&new)?;
    if folder.is_dir() {
        fs::rename(folder, &old).map_err(Error::io("rename", folder))?;
    }
    fs::rename(&new, folder).map_err(Error::io("rename", &new))?;
    remove(&old)
}

/// Ends a [`replace`] that a crash has cut short: the old folder or the new one stays, whole.
///
/// # Errors
/// `Error::Io`.
pub fn finish(folder: &Path) -> Result<()> {
    let (new, old) = (beside(folder, "new"), beside(folder, "old"));
    if !folder.is_dir() && old.is_dir() {
        fs::rename(&old, folder).map_err(Error::io("rename", &old))?;
    }
    remove(&new)?;
    remove(&old)
}

fn beside(folder: &Path, end: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{end}"));
    folder.with_file_name(name)
}

fn remove(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        fs::remove_dir_all(folder).map_err(Error::io("remove", folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn one_of_both_is_there_whole_whenever_it_is_cut_short() {
        let root = TempDir::new();
        let folder = root.join("best");
        let make = |text: &'static str| {
            move |new: &Path| {
                fs::create_dir_all(new).unwrap();
                fs::write(new.join("weights"), text).map_err(Error::io("write", new))
            }
        };
        let holds = || fs::read_to_string(folder.join("weights")).unwrap();
        replace(&folder, make("one")).unwrap();
        replace(&folder, make("two")).unwrap();
        assert_eq!(holds(), "two");
        // A crash while the new folder is made, between both renames, and before the old folder is gone.
        make("three")(&root.join("best.new")).unwrap();
        finish(&folder).unwrap();
        assert_eq!(holds(), "two");
        make("three")(&root.join("best.new")).unwrap();
        fs::rename(&folder, root.join("best.old")).unwrap();
        finish(&folder).unwrap();
        assert_eq!(holds(), "two");
        make("one")(&root.join("best.old")).unwrap();
        finish(&folder).unwrap();
        assert_eq!(holds(), "two");
        assert_eq!(fs::read_dir(&root).unwrap().count(), 1);
    }
}
