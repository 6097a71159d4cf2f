//! What stable-diffusion-webui reads in a prompt as more than text, and this program does not.

/// A construct in a prompt that its author may mean as stable-diffusion-webui has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread<'a> {
    /// As it is written.
    pub written: &'a str,
    /// What it means there.
    pub meaning: &'static str,
}

/// The first construct of each kind: `<lora:name:1>`, `[a:b:0.5]`, `[a|b]`, `AND`. An escaped bracket begins none.
pub fn unread(prompt: &str) -> Vec<Unread<'_>> {
    let mut found: Vec<Unread> = Vec::new();
    found.extend(extra_network(prompt));
    for written in brackets(prompt) {
        let inside = &written[1..written.len() - 1];
        let meaning = if inside.contains('|') {
            "words that take turns, step by step"
        } else if inside.rsplit_once(':').is_some_and(|(_, number)| number.trim().parse::<f64>().is_ok()) {
            "a prompt that changes between the steps"
        } else {
            continue;
        };
        if found.iter().all(|known| known.meaning != meaning) {
            found.push(Unread { written, meaning });
        }
    }
    found.extend(conjunction(prompt));
    found
}

/// `<lora:name:weight>` and its kin.
fn extra_network(prompt: &str) -> Option<Unread<'_>> {
    let kinds = ["<lora:", "<lyco:", "<hypernet:"];
    let begin = kinds.iter().filter_map(|kind| prompt.find(kind)).min()?;
    let end = begin + prompt[begin..].find('>')? + 1;
    Some(Unread { written: &prompt[begin..end], meaning: "a file to merge, as `lora` does" })
}

/// The word AND.
fn conjunction(prompt: &str) -> Option<Unread<'_>> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut places = prompt.match_indices("AND");
    let stands_alone = |at: usize| !prompt[..at].ends_with(is_word) && !prompt[at + 3..].starts_with(is_word);
    let (_, written) = places.find(|(at, _)| stands_alone(*at))?;
    Some(Unread { written, meaning: "the sum of two prompts' predictions" })
}

/// What stands in square brackets, brackets included; the inner before the outer.
fn brackets(prompt: &str) -> Vec<&str> {
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    let mut escaped = false;
    for (at, c) in prompt.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => open.push(at),
            ']' => closed.extend(open.pop().map(|begin| &prompt[begin..=at])),
            _ => {}
        }
    }
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(prompt: &str) -> Vec<&str> {
        unread(prompt).into_iter().map(|unread| unread.written).collect()
    }

    #[test]
    fn constructs_are_found_as_they_are_written() {
        assert_eq!(written("<lora:film:0.8> a cat"), ["<lora:film:0.8>"]);
        assert_eq!(written("a [cat:dog:0.5]"), ["[cat:dog:0.5]"]);
        assert_eq!(written("a [cat::10] [in snow: 0.3]"), ["[cat::10]"]);
        assert_eq!(written("a [cat|dog|cow] here"), ["[cat|dog|cow]"]);
        assert_eq!(written("a cat AND a dog"), ["AND"]);
        assert_eq!(
            written("[a|b] AND [c:d:3] <hypernet:x:1>"),
            ["<hypernet:x:1>", "[a|b]", "[c:d:3]", "AND"]
        );
    }

    #[test]
    fn text_and_weights_are_no_constructs() {
        for prompt in
            ["a [cat], a (dog:1.2)", "[(cat:1.2)]", r"\[cat:dog:0.5\]", "a BRAND of ANDY", "<toy> a|b", ""]
        {
            assert_eq!(written(prompt), Vec::<&str>::new(), "{prompt}");
        }
    }
}
