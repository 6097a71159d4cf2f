//! Which word of a prompt takes the place of which word of another.

use crate::error::{Error, Result};
use crate::text_encoder::reading::PromptWord;

/// Words of a prompt, at most: the time to align grows with the square.
const MOST_WORDS: usize = 1000;

/// Two prompts word by word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alignment {
    /// For each word of the edited prompt, which word of the source it takes the place of; none for a new word.
    pub counterparts: Vec<Option<usize>>,
    /// Which words of each prompt, source and edited, are new, left out or exchanged for another.
    pub differing: [Vec<usize>; 2],
}

impl Alignment {
    /// Aligns two prompts: as many words as possible that are the same and in the same order (the longest common
    /// subsequence; "a", "an" and "the" are the same). Between two of these, the last word takes the place of the last, the
    /// one before of the one before; what is left over is new, or left out. So "cat" gives its place to "dog" of "big dog".
    ///
    /// # Errors
    /// `Error::Argument` for prompts of more than 1000 words.
    pub fn of(source: &[PromptWord], edited: &[PromptWord]) -> Result<Self> {
        let most = source.len().max(edited.len());
        if most > MOST_WORDS {
            return Err(Error::argument("prompt", format!("at most {MOST_WORDS} words"), most));
        }
        let mut counterparts = vec![None; edited.len()];
        let mut begin = (0, 0);
        let end = (source.len(), edited.len());
        for (i, j) in common(source, edited).into_iter().chain([end]) {
            let between = (begin.0..i).rev().zip((begin.1..j).rev());
            between.for_each(|(i, j)| counterparts[j] = Some(i));
            if (i, j) != end {
                counterparts[j] = Some(i);
            }
            begin = (i + 1, j + 1);
        }
        let same = |j: usize| counterparts[j].filter(|&i| is_same(&source[i], &edited[j]));
        let kept: Vec<usize> = (0..edited.len()).filter_map(same).collect();
        let differing = [
            (0..source.len()).filter(|i| !kept.contains(i)).collect(),
            (0..edited.len()).filter(|&j| same(j).is_none()).collect(),
        ];
        Ok(Self { counterparts, differing })
    }
}

fn is_same(a: &PromptWord, b: &PromptWord) -> bool {
    let is_article = |word: &PromptWord| ["a", "an", "the"].contains(&word.word.as_str());
    a.word == b.word || is_article(a) && is_article(b)
}

/// A longest common subsequence, as pairs of places.
fn common(source: &[PromptWord], edited: &[PromptWord]) -> Vec<(usize, usize)> {
    // longest[i][j]: how many the words from i and from j on have in common.
    let mut longest = vec![vec![0_usize; edited.len() + 1]; source.len() + 1];
    for i in (0..source.len()).rev() {
        for j in (0..edited.len()).rev() {
            longest[i][j] = if is_same(&source[i], &edited[j]) {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < source.len() && j < edited.len() {
        if is_same(&source[i], &edited[j]) {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn words(text: &str) -> Vec<PromptWord> {
        text.split_whitespace().map(|word| PromptWord { word: word.into(), rows: vec![] }).collect()
    }

    /// "dog<cat" for each word of the edited prompt that is exchanged, "+red" for a new one, "-blue" for one left out.
    fn changes(source: &str, edited: &str) -> Vec<String> {
        let (source, edited) = (words(source), words(edited));
        let Alignment { counterparts, differing } = Alignment::of(&source, &edited).unwrap();
        let of_edited = differing[1].iter().map(|&j| match counterparts[j] {
            Some(i) => format!("{}<{}", edited[j].word, source[i].word),
            None => format!("+{}", edited[j].word),
        });
        let left_out = differing[0].iter().filter(|&&i| !counterparts.contains(&Some(i)));
        of_edited.chain(left_out.map(|&i| format!("-{}", source[i].word))).collect()
    }

    #[test]
    fn words_take_the_place_of_words() {
        for (source, edited, expected) in [
            ("a cat next to a car", "a dog next to a car", &["dog<cat"][..]),
            ("a cat next to a car", "a dog next to a tree", &["dog<cat", "tree<car"]),
            ("a cat next to a car", "a cat next to a red car", &["+red"]),
            ("a red cat next to a car", "a cat next to a car", &["-red"]),
            ("a cat next to a car", "a big dog next to a car", &["+big", "dog<cat"]),
            ("a red cat next to a car", "a dog next to a car", &["dog<cat", "-red"]),
            ("an apple on a car", "a big whale on a car", &["+big", "whale<apple"]),
            ("a cat next to a car", "a car next to a cat", &["car<cat", "cat<car"]),
            ("a cat", "a cat on a blue background", &["+on", "+a", "+blue", "+background"]),
            ("", "a cat", &["+a", "+cat"]),
            ("a cat", "", &["-a", "-cat"]),
            ("a cat", "a cat", &[]),
        ] {
            assert_eq!(changes(source, edited), expected, "{source} → {edited}");
        }
    }

    #[test]
    fn words_that_stay_have_themselves() {
        let counterparts =
            |source: &str, edited: &str| Alignment::of(&words(source), &words(edited)).unwrap().counterparts;
        assert_eq!(counterparts("a cat", "a cat"), [Some(0), Some(1)]);
        let all = [0, 1, 2, 3, 4].map(Some);
        assert_eq!(counterparts("an apple by a car", "a cat by the car"), all);
        assert_eq!(counterparts("a big cat", "the cat"), [Some(0), Some(2)]);
        assert_eq!(counterparts("a cat", "a red cat by a car"), [Some(0), None, Some(1), None, None, None]);
    }

    #[test]
    fn a_prompt_that_takes_too_long_is_refused() {
        let long = words(&"cat ".repeat(MOST_WORDS + 1));
        assert_refuses(Alignment::of(&long, &words("cat")), "prompt: expected at most 1000 words, got 1001");
        assert!(Alignment::of(&long[1..], &long[1..]).is_ok());
    }
}
