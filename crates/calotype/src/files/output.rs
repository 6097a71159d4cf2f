//! Where results go: refused before the work that makes them, in words of the option.

use std::path::Path;

use crate::error::{Error, Result};

/// Refuses a path that no file can be written to: a folder, or one below a file. `name`: what the path is for (`out`).
///
/// # Errors
/// `Error::Argument`.
pub fn require_file(name: &str, path: &Path) -> Result<()> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::argument(name, "a file to write", format!("`{shown}`, which is a folder")));
    }
    if path.file_name().is_none() || shown.to_string().ends_with(std::path::is_separator) {
        return Err(Error::argument(name, "a file to write", format!("`{shown}`, the name of a folder")));
    }
    require_folders_above(name, path)
}

/// Refuses a path that no folder can be made at: a file, or one below a file. `name`: as for [`require_file`].
///
/// # Errors
/// `Error::Argument`.
pub fn require_folder(name: &str, path: &Path) -> Result<()> {
    if path.exists() && !path.is_dir() {
        let got = format!("`{}`, which is a file", path.display());
        return Err(Error::argument(name, "a folder to write into", got));
    }
    require_folders_above(name, path)
}

/// The nearest thing above `path` that exists must be a folder.
fn require_folders_above(name: &str, path: &Path) -> Result<()> {
    match path.ancestors().skip(1).find(|above| above.exists()) {
        Some(above) if !above.is_dir() => {
            let got = format!("`{}`, but `{}` is a file", path.display(), above.display());
            Err(Error::argument(name, "a path in a folder", got))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn refused(result: Result<()>) -> String {
        match result {
            Err(Error::Argument { name, expected, got }) => format!("{name} {expected} {got}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_folder_is_no_file_and_a_file_no_folder() {
        let dir = TempDir::new();
        std::fs::create_dir(dir.join("folder")).unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        for path in ["file", "new", "folder/new", "new/new.png"] {
            assert!(require_file("out", &dir.join(path)).is_ok(), "{path}");
        }
        for (path, said) in
            [("folder", "is a folder"), ("new/", "name of a folder"), ("file/a/b.png", "file` is a file")]
        {
            let message = refused(require_file("out", &dir.join(path)));
            assert!(message.starts_with("out a") && message.contains(said), "{message}");
        }
        for path in ["folder", "new", "new/new", "folder/"] {
            assert!(require_folder("run", &dir.join(path)).is_ok(), "{path}");
        }
        for path in ["file", "file/a", "file/a/b"] {
            assert!(refused(require_folder("run", &dir.join(path))).contains("is a file"), "{path}");
        }
    }
}
