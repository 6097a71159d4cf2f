//! Who may use whom: the library's modules are layers, and this fails on a `use` that points up.
//!
//! Code behind `#[cfg(test)]` may use what it likes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A module, and what its code may name apart from itself, [`EVERYWHERE`] and the standard library.
const ALLOWED: &[(&str, &[&str])] = &[
    ("files", &[]),
    ("download", &[]),
    ("nn", &["files"]),
    ("data", &["files", "download"]),
    ("diffusion", &[]),
    ("report", &["files"]),
    ("autoencoder", &["nn", "files"]),
    // The stack of towers makes the denoiser's condition.
    ("text_encoder", &["denoiser", "nn", "files"]),
    ("denoiser", &["nn", "files"]),
    ("model", &["autoencoder", "text_encoder", "denoiser", "diffusion", "nn"]),
    (
        "checkpoint",
        &["model", "autoencoder", "text_encoder", "denoiser", "diffusion", "nn", "files", "download"],
    ),
    // A sampler knows no network.
    ("sampler", &["diffusion"]),
    (
        "pipeline",
        &["checkpoint", "model", "text_encoder", "denoiser", "diffusion", "sampler", "nn", "data", "files"],
    ),
    ("explain", &["pipeline", "model", "text_encoder", "nn", "files"]),
    ("evaluate", &["data", "nn", "autoencoder", "text_encoder", "files", "checkpoint"]),
    (
        "trainer",
        &[
            "data",
            "autoencoder",
            "text_encoder",
            "denoiser",
            "diffusion",
            "sampler", // the recipe names one
            "nn",
            "files",
            "model",
            "checkpoint",
            "runs", // the layout of a run, which way a number is better
        ],
    ),
    // Looks at networks while they train.
    (
        "validation",
        &[
            "trainer",
            "model",
            "pipeline",
            "explain",
            "evaluate",
            "sampler",
            "data",
            "autoencoder",
            "text_encoder",
            "denoiser",
            "diffusion",
            "nn",
        ],
    ),
    // The layout of runs, and what they have logged; knows no trainer.
    ("runs", &["report", "files"]),
    // Times networks of random weights.
    ("bench", &["trainer", "autoencoder", "denoiser", "nn", "files"]),
    // A part's training as it is asked for.
    ("training", &["trainer", "validation", "evaluate", "runs", "data"]),
    // Trains, measures and shows; nobody uses it.
    (
        "demo",
        &[
            "training",
            "trainer",
            "runs",
            "model",
            "text_encoder",
            "pipeline",
            "explain",
            "evaluate",
            "report",
            "sampler",
            "data",
            "diffusion",
            "checkpoint",
            "files",
        ],
    ),
    // Computes golden cases through everybody's functions; nobody uses it.
    ("self_test", &["autoencoder", "text_encoder", "diffusion", "sampler", "evaluate", "data"]),
    ("", &["error"]), // lib.rs
];

/// `Error` and `Result` are the names under which the crate's root gives `error` again.
const EVERYWHERE: [&str; 8] = ["error", "machine", "named", "parallel", "progress", "rng", "Error", "Result"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn no_module_uses_one_above_it() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, module, code) in library() {
        let from = layer(&module);
        if ["error", "named", "parallel", "progress", "rng"].contains(&from) {
            continue;
        }
        let may_use = allowed.get(from).unwrap_or_else(|| panic!("{file}: layering.rs has no `{from}`"));
        for path in crate_paths(&module, &code) {
            let to = layer(&path);
            seen += 1;
            if to != from && !EVERYWHERE.contains(&to) && !may_use.contains(&to) {
                wrong.push(format!("{file}: `{from}` may not use `{}`", path.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 300, "only {seen} paths found: does the search still work?");
}

#[test]
fn the_layers_have_no_cycle() {
    let mut left: Vec<(&str, &[&str])> =
        ALLOWED.iter().copied().filter(|(name, _)| !name.is_empty()).collect();
    while !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|(name, _)| *name).collect();
        left.retain(|(_, uses)| uses.iter().any(|used| names.contains(used)));
        assert!(left.len() < names.len(), "these use each other: {names:?}");
    }
}

#[test]
fn nothing_is_unsafe_or_left_to_do() {
    for (file, _, code) in library() {
        for word in code.split(|c: char| !c.is_alphanumeric() && c != '_') {
            assert!(!["unsafe", "todo", "unimplemented"].contains(&word), "{file}: `{word}`");
        }
    }
    for path in rust_files(&source()) {
        let text = fs::read_to_string(&path).unwrap();
        for word in ["TODO", "FIXME", "XXX"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

/// (file, path of its module, code without comments, strings and tests) of the whole library.
fn library() -> Vec<(String, Vec<String>, String)> {
    let root = source();
    let code: BTreeMap<PathBuf, String> = rust_files(&root)
        .into_iter()
        .map(|path| {
            let code = without_comments_and_strings(&fs::read_to_string(&path).unwrap());
            (path.strip_prefix(&root).unwrap().to_owned(), code)
        })
        .collect();
    let mut files = Vec::new();
    let mut only_in_tests = Vec::new();
    for (path, code) in &code {
        let (code, test_modules) = without_tests(code);
        let module = module_of(path);
        only_in_tests
            .extend(test_modules.into_iter().map(|name| [module.as_slice(), &[name.to_owned()]].concat()));
        files.push((path.display().to_string(), module, code));
    }
    files.retain(|(_, module, _)| !only_in_tests.iter().any(|test| module.starts_with(test)));
    assert!(files.len() > 50);
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(rust_files(&path)),
            false => found.extend(path.extension().is_some_and(|e| e == "rs").then_some(path)),
        }
    }
    found
}

/// `nn/attention.rs` is `nn::attention`, `nn/mod.rs` is `nn`, `lib.rs` is the root.
fn module_of(file: &Path) -> Vec<String> {
    let names = file.with_extension("");
    let names = names.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| name != "mod" && name != "lib").collect()
}

/// The entry of [`ALLOWED`] that a path belongs to.
fn layer(path: &[String]) -> &str {
    path.first().map_or("", String::as_str)
}

/// Everything that `code` names by `crate::…` or `super::…`, from the crate's root.
fn crate_paths(module: &[String], code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, word) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        // `my_crate::`, `$crate::` and the second `super::` of two begin no path.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || "_$:".contains(c)) {
            continue;
        }
        let (mut prefix, mut rest) = match word {
            "crate::" => (vec![], &code[at + word.len()..]),
            _ => (module.to_vec(), &code[at..]),
        };
        while let Some(after) = rest.strip_prefix("super::") {
            prefix.pop();
            rest = after;
        }
        expand(&prefix, rest, &mut paths);
    }
    paths
}

/// The paths of a use tree: `a::{b, c::d}` are `a::b` and `a::c::d`. Returns what follows the tree.
fn expand<'a>(prefix: &[String], tree: &'a str, paths: &mut Vec<Vec<String>>) -> &'a str {
    let tree = tree.trim_start();
    if let Some(mut inside) = tree.strip_prefix('{') {
        loop {
            inside = expand(prefix, inside, paths).trim_start();
            match inside.chars().next() {
                Some(',') => inside = inside[1..].trim_start(),
                Some('}') => return &inside[1..],
                _ => panic!("not a use tree: {}", &inside[..inside.len().min(60)]),
            }
            if let Some(after) = inside.strip_prefix('}') {
                return after;
            }
        }
    }
    let end = tree.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '*').unwrap_or(tree.len());
    let path = [prefix, &[tree[..end].to_owned()]].concat();
    match tree[end..].strip_prefix("::") {
        Some(rest) if !rest.starts_with('<') => expand(&path, rest, paths),
        _ => {
            paths.push(path);
            let rest = &tree[end..];
            // `as name`
            match rest.trim_start().strip_prefix("as ") {
                Some(name) => name.trim_start().trim_start_matches(|c: char| c.is_alphanumeric() || c == '_'),
                None => rest,
            }
        }
    }
}

/// Comments, strings and character literals become blanks.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            3 + raw.find("\"#").unwrap() + 2
        } else if c == '"' {
            string_length(rest)
        } else if c == '\'' {
            character_length(rest)
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[length..];
    }
    code
}

fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    panic!("a string without an end");
}

/// 1 for a lifetime.
fn character_length(rest: &str) -> usize {
    if rest[1..].starts_with('\\') {
        return 3 + rest[3..].find('\'').unwrap() + 1;
    }
    let second = rest[1..].chars().next().map_or(1, char::len_utf8);
    if rest[1 + second..].starts_with('\'') { second + 2 } else { 1 }
}

/// Code without the items behind `#[cfg(test)]`, and the names of the modules among them that are
/// files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut kept = String::new();
    let mut modules = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        kept.push_str(&rest[..at]);
        let item = &rest[at..];
        let end = item.find(['{', ';']).expect("an item after #[cfg(test)]");
        let semicolon = item[end..].starts_with(';');
        if semicolon
            && let Some(name) = item[..end].split_whitespace().skip_while(|word| *word != "mod").nth(1)
        {
            modules.push(name.to_owned());
        }
        rest = if semicolon { &item[end + 1..] } else { after_block(&item[end..]) };
    }
    kept.push_str(rest);
    (kept, modules)
}

fn after_block(block: &str) -> &str {
    let mut depth = 0;
    for (at, c) in block.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &block[at + 1..];
        }
    }
    panic!("a block without an end");
}

#[test]
fn finds_every_kind_of_path_and_ignores_tests() {
    let source = r#"
        //! crate::comment
        use crate::nn::{Conv2d, attention::{self as hook, attend}};
        use super::super::trainer;
        const C: char = '"';
        fn f<'a>(x: &'a crate::rng::Philox) -> &str { "crate::string" }
        #[cfg(test)]
        pub(crate) mod golden;
        #[cfg(test)]
        mod tests { use crate::explain; fn g() { { } } }
        use self::inner; use super::sibling;
    "#;
    let (code, tests) = without_tests(&without_comments_and_strings(source));
    assert_eq!(tests, ["golden"]);
    let module = ["a".to_owned(), "b".to_owned()];
    let mut paths: Vec<String> = crate_paths(&module, &code).iter().map(|path| path.join("::")).collect();
    paths.sort();
    let expected = [
        "a::sibling",
        "nn::Conv2d",
        "nn::attention::attend",
        "nn::attention::self",
        "rng::Philox",
        "trainer",
    ];
    assert_eq!(paths, expected);
}
