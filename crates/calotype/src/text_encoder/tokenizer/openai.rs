//! The tokenizer of OpenAI's CLIP, which every Stable Diffusion has.

use std::path::Path;

use tokenizers::AddedToken;

use super::definition::Definition;
use super::{ClipTokenizer, base_symbols};
use crate::{Error, Result};

/// Radford et al. 2021: the merges, in the order in which they were learned.
const MERGES: &str = include_str!("../../../assets/clip_merges.txt");
/// Tokens per text.
const MAX_LENGTH: usize = 77;

/// What fills a text up to its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The end token: OpenAI's own, and Stable Diffusion 1.
    End,
    /// Id 0, whose token is `!`: OpenCLIP, Stable Diffusion 2.
    Zero,
}

impl ClipTokenizer {
    /// OpenAI's vocabulary of 49,408 tokens, for model files that come without one.
    ///
    /// # Errors
    /// None but for a damaged build.
    pub fn openai(padding: Padding) -> Result<Self> {
        let source = Path::new("built-in CLIP merges");
        let pair = |line: &str| {
            let pair = line.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()));
            pair.ok_or_else(|| Error::format(source, "CLIP tokenizer", format!("`{line}` is no pair")))
        };
        // The first line names the version.
        let merges = MERGES.lines().skip(1).map(pair).collect::<Result<Vec<_>>>()?;
        let tokens =
            base_symbols().into_iter().chain(merges.iter().map(|(left, right)| format!("{left}{right}")));
        let mut definition = Definition::trained(tokens.collect(), merges, MAX_LENGTH);
        if padding == Padding::Zero {
            definition.added.insert(0, AddedToken::from("!", true));
            definition.roles.pad = "!".into();
        }
        Self::new(definition, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::test_data;

    #[test]
    fn has_the_ids_of_openai() {
        let tokenizer = ClipTokenizer::openai(Padding::End).unwrap();
        assert_eq!((tokenizer.vocab_size(), tokenizer.start_id(), tokenizer.end_id()), (49408, 49406, 49407));
        // transformers 4.57, openai/clip-vit-large-patch14.
        let ids = tokenizer.encode("a photo of an astronaut riding a horse");
        assert_eq!(ids, [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 49407]);
        assert_eq!(tokenizer.pad_id(), 49407);
        let two = ClipTokenizer::openai(Padding::Zero).unwrap();
        assert_eq!(two.encode_padded("a horse").ids[..6], [49406, 320, 4558, 49407, 0, 0]);
    }

    #[test]
    #[ignore = "needs CALOTYPE_TEST_DATA"]
    fn is_the_published_folder() {
        let folder = test_data().join("model-configs/stable-diffusion-v1-5/tokenizer");
        let (built_in, read) =
            (ClipTokenizer::openai(Padding::End).unwrap(), ClipTokenizer::load(&folder).unwrap());
        assert_eq!(built_in.definition.tokens, read.definition.tokens);
        assert_eq!(built_in.definition.merges, read.definition.merges);
        for text in ["a cat", "Ünïcode 🎉 emoji!!", "<|endoftext|> 2024's", "  tabs\tand\nlines  ", "日本語"]
        {
            assert_eq!(built_in.encode(text), read.encode(text), "{text}");
        }
    }
}
