//! Who may use whom: the tables of modules in ARCHITECTURE.md are the rule, and this fails where the code differs.
//!
//! Code behind `#[cfg(test)]` may use what it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source_files;

const ARCHITECTURE: &str = include_str!("../../../../ARCHITECTURE.md");
/// What the crate's root gives again from `error`.
const AT_THE_ROOT: [&str; 3] = ["Error", "ErrorKind", "Result"];

/// Module → the modules that it uses, of the table below `heading`.
fn table(heading: &str) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let (_, section) = ARCHITECTURE.split_once(&format!("\n### {heading}\n")).unwrap();
    let section = section.split("\n#").next().unwrap();
    let names = |cell: &'static str| cell.split('`').skip(1).step_by(2);
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').collect::<Vec<_>>());
    cells.map(|cells| (names(cells[1]).next().unwrap(), names(cells[2]).collect())).collect()
}

/// Module → the modules that it uses, each with an example.
fn used() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut used: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in source_files::of_crate(&src, "lib.rs") {
        let Some(from) = file.module.first() else { continue };
        let uses = used.entry(from.clone()).or_default();
        for path in file.paths.iter().filter(|path| path[0] != *from && !AT_THE_ROOT.contains(&&*path[0])) {
            let example = || format!("{}: {}", file.path.display(), path.join("::"));
            uses.entry(path[0].clone()).or_insert_with(example);
        }
    }
    used
}

#[test]
fn modules_use_what_their_row_says() {
    let (everybody, layers) = (table("For everybody"), table("Layers"));
    let mut wrong = Vec::new();
    let used = used();
    for (from, uses) in &used {
        let row = layers.get(&**from).or(everybody.get(&**from));
        let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md has no row of `{from}`"));
        let free = |to: &str| layers.contains_key(&**from) && everybody.contains_key(to);
        let unsaid = uses.iter().filter(|(to, _)| !row.contains(&***to) && !free(to));
        wrong.extend(unsaid.map(|(to, example)| format!("`{from}` may not use `{to}`: {example}")));
        let unused = row.iter().filter(|to| !uses.contains_key(**to));
        wrong.extend(unused.map(|to| format!("`{from}` uses no `{to}`")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(used.len(), everybody.len() + layers.len(), "a row of a module that is not there");
    assert!(used.values().map(BTreeMap::len).sum::<usize>() > 100, "does the search still work?");
}

#[test]
fn the_layers_have_no_cycle() {
    let mut left: Vec<_> = table("For everybody").into_iter().chain(table("Layers")).collect();
    while !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
        left.retain(|(_, uses)| uses.iter().any(|used| names.contains(used)));
        assert!(left.len() < names.len(), "these use each other: {names:?}");
    }
}
