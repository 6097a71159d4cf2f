//! Names and shapes, in a form that a fuzzer can change.

use std::collections::BTreeMap;

/// A name and its sides on each line; lines without a name are left out.
pub fn parse(text: &str) -> BTreeMap<String, Vec<usize>> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let name = words.next().filter(|name| !name.is_empty())?;
        Some((name.to_owned(), words.filter_map(|side| side.parse().ok()).collect()))
    };
    text.lines().filter_map(line).collect()
}
