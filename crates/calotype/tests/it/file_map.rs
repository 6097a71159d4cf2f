//! docs/files.md has every source file with the first paragraph of its documentation, and no path in ARCHITECTURE.md
//! leads nowhere.
//!
//! `CALOTYPE_WRITE_DOCS=1 cargo test --release -p calotype --test it file_map` writes docs/files.md anew.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source_files::{self, SourceFile};

/// Crates and the files that they begin with.
const CRATES: [(&str, &str); 5] = [
    ("calotype", "lib.rs"),
    ("calotype-kernels", "lib.rs"),
    ("calotype-mpi", "lib.rs"),
    ("calotype-serve", "lib.rs"),
    ("calotype-cli", "main.rs"),
];

const HEAD: &str = "# Every file

What each source file is about: the first paragraph of its documentation. [ARCHITECTURE.md](../ARCHITECTURE.md) says what
belongs where. Do not edit this page, edit the files, and let
`CALOTYPE_WRITE_DOCS=1 cargo test --release -p calotype --test it file_map` write it.
";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// (crate, its files).
fn crates() -> impl Iterator<Item = (&'static str, Vec<SourceFile>)> {
    let src = |name: &str| repository().join("crates").join(name).join("src");
    CRATES.into_iter().map(move |(name, root)| (name, source_files::of_crate(&src(name), root)))
}

/// The first paragraph of a file's documentation.
fn about(file: &SourceFile) -> String {
    let lines = file.text.lines().map_while(|line| line.strip_prefix("//! "));
    let text = lines.collect::<Vec<_>>().join(" ").replace('|', "\\|");
    assert!(
        text.ends_with(['.', '?']),
        "{}: the first paragraph is no sentence: {text}",
        file.path.display()
    );
    assert!(!text.contains("[`"), "{}: links lead nowhere from docs/files.md", file.path.display());
    text
}

#[test]
fn docs_files_md_says_what_the_files_say() {
    let mut page = HEAD.to_owned();
    for (name, files) in crates() {
        page += &format!("\n## `crates/{name}/src/`\n\n| file | what |\n|---|---|\n");
        for file in files {
            let path = file.path.display().to_string();
            page += &format!("| `{}` | {} |\n", path.strip_suffix("mod.rs").unwrap_or(&path), about(&file));
        }
    }
    let path = repository().join("docs/files.md");
    if std::env::var_os("CALOTYPE_WRITE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    let differs = page.lines().find(|line| !found.lines().any(|other| other == *line));
    assert_eq!(differs, None, "docs/files.md has not this line: write it anew, as its head says");
    assert_eq!(found.len(), page.len(), "docs/files.md has more lines than there are files: write it anew");
}

#[test]
fn nothing_is_left_to_do() {
    for (name, files) in crates() {
        for file in files {
            let word = ["TODO", "FIXME", "XXX"].into_iter().find(|word| file.text.contains(word));
            assert_eq!(word, None, "{name}: {}", file.path.display());
        }
    }
}

#[test]
fn paths_in_documents_lead_to_files() {
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        for name in text.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs")) {
            let places = ["", "crates", "crates/calotype", "crates/calotype/src"];
            let exists = places.iter().any(|place| repository().join(place).join(name).exists());
            assert!(exists, "{document} names `{name}`, which is not there");
        }
    }
}
