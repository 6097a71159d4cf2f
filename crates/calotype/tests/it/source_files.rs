//! The source files of a crate as the compiler takes them: those that `mod` declares, and the paths that their code
//! names. Code behind `#[cfg(test)]` is left out.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One file of a crate.
#[derive(Default)]
pub struct SourceFile {
    /// Below the crate's `src`: `nn/attention.rs`.
    pub path: PathBuf,
    /// Its module: `["nn", "attention"]`; none for the crate's root.
    pub module: Vec<String>,
    pub text: String,
    /// What it names by `crate::…` or `super::…`, from the crate's root.
    pub paths: Vec<Vec<String>>,
    declared: Vec<String>,
}

/// `root` (`lib.rs` or `main.rs` in `src`) and all that it declares, folders before what is in them.
pub fn of_crate(src: &Path, root: &str) -> Vec<SourceFile> {
    let mut found = Vec::new();
    let mut declared = vec![(PathBuf::from(root), Vec::new())];
    while let Some((path, module)) = declared.pop() {
        let text = fs::read_to_string(src.join(&path)).unwrap();
        let file = SourceFile::new(path, module, text);
        for name in &file.declared {
            let module = [&file.module[..], std::slice::from_ref(name)].concat();
            let folder: PathBuf = module.iter().collect();
            let (alone, in_folder) = (folder.with_extension("rs"), folder.join("mod.rs"));
            declared.push((if src.join(&alone).exists() { alone } else { in_folder }, module));
        }
        found.push(file);
    }
    found.sort_by(|a, b| a.module.cmp(&b.module));
    found
}

impl SourceFile {
    pub fn new(path: PathBuf, module: Vec<String>, text: String) -> Self {
        let tokens: TokenStream = text.parse().unwrap();
        let mut file = Self { path, module, text, ..Self::default() };
        file.read(&trees(tokens));
        file
    }

    fn read(&mut self, mut tokens: &[TokenTree]) {
        loop {
            tokens = match tokens {
                [] => return,
                [sign, TokenTree::Group(attribute), item @ ..]
                    if is(sign, "#") && attribute.to_string().replace(' ', "") == "[cfg(test)]" =>
                {
                    after_item(item)
                }
                [word, name, end, rest @ ..] if is(word, "mod") && is(end, ";") => {
                    self.declared.push(name.to_string());
                    rest
                }
                [word, name, TokenTree::Group(body), rest @ ..] if is(word, "mod") => {
                    self.module.push(name.to_string());
                    self.read(&trees(body.stream()));
                    self.module.pop();
                    rest
                }
                [TokenTree::Group(group), rest @ ..] => {
                    self.read(&trees(group.stream()));
                    rest
                }
                // `$crate` is another's.
                [sign, word, rest @ ..] if is(sign, "$") && is(word, "crate") => rest,
                [word, ..] if is(word, "crate") => self.path(Vec::new(), tokens),
                [word, ..] if is(word, "super") => self.path(self.module.clone(), tokens),
                [_, rest @ ..] => rest,
            };
        }
    }

    /// The path, or tree of paths, that `tokens` begin with, below `path`. Returns what follows.
    fn path<'a>(&mut self, mut path: Vec<String>, mut tokens: &'a [TokenTree]) -> &'a [TokenTree] {
        loop {
            let [first, rest @ ..] = tokens else { return tokens };
            if let TokenTree::Group(tree) = first {
                let trees = trees(tree.stream());
                trees.split(|token| is(token, ",")).for_each(|tree| {
                    self.path(path.clone(), tree);
                });
                return rest;
            }
            match first.to_string().as_str() {
                "super" => drop(path.pop()),
                "crate" | "self" => (),
                name => path.push(name.to_owned()),
            }
            match rest {
                [a, b, next, ..] if is(a, ":") && is(b, ":") && !is(next, "<") => tokens = &rest[2..],
                _ => {
                    self.paths.extend((!path.is_empty()).then_some(path));
                    return rest;
                }
            }
        }
    }
}

fn trees(tokens: TokenStream) -> Vec<TokenTree> {
    tokens.into_iter().collect()
}

/// Whether it is this word or sign.
fn is(token: &TokenTree, text: &str) -> bool {
    !matches!(token, TokenTree::Group(_)) && token.to_string() == text
}

/// What follows an item, a variant or an arm of a match. Commas between `<` and `>` end none.
fn after_item(tokens: &[TokenTree]) -> &[TokenTree] {
    let block = |token: &TokenTree| matches!(token, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace);
    let generic = tokens.iter().position(|token| is(token, "<")).unwrap_or(tokens.len());
    let ends = |(i, token)| is(token, ";") || block(token) || is(token, ",") && i < generic;
    let end = tokens.iter().enumerate().position(ends).expect("an item");
    &tokens[end + 1..]
}

#[test]
fn finds_every_kind_of_path_and_ignores_tests() {
    let source = r#"
        //! crate::comment
        use crate::nn::{Conv2d, attention::{self as hook, attend},};
        use super::super::trainer;
        const C: char = '"';
        fn f<'a>(x: &'a crate::rng::Philox) -> &str { "crate::string" }
        macro_rules! m { () => { $crate::named::of() } }
        fn g() { format!("{}", [crate::sampler::Euler::<f32>::new(), { super::d }]) }
        mod inside { use super::super::sibling; pub(crate) mod a_file; }
        #[cfg(test)]
        pub(crate) mod golden;
        #[cfg(test)]
        mod tests { use crate::explain; fn g() { { } } }
        enum Kind { #[cfg(test)] OfTests(crate::tested), Other(crate::paths) }
        #[cfg(test)]
        fn of_tests<A, B>() { crate::tested() }
        fn h(k: Kind) { match k { #[cfg(test)] Kind::OfTests(x) => crate::tested(x), _ => crate::kinds() } }
        use self::inner; use super::sibling as other; mod outside;
    "#;
    let file = SourceFile::new(PathBuf::new(), vec!["a".into(), "b".into()], source.into());
    let mut paths: Vec<String> = file.paths.iter().map(|path| path.join("::")).collect();
    paths.sort();
    let expected = [
        "a::d",
        "a::sibling",
        "a::sibling",
        "kinds",
        "nn::Conv2d",
        "nn::attention",
        "nn::attention::attend",
        "paths",
        "rng::Philox",
        "sampler::Euler",
        "trainer",
    ];
    assert_eq!(paths, expected);
    assert_eq!((file.declared, file.module.len()), (vec!["a_file".to_owned(), "outside".to_owned()], 2));
}
