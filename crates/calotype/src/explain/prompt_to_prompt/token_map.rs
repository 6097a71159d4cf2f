//! What attention to the tokens of a prompt becomes as attention to those of another.

use super::alignment::Alignment;
use crate::text_encoder::reading::Reading;

/// Attention to the source's tokens i as attention to the edited prompt's tokens j: P̂_j = Σ_i P_i M_ij + o_j P*_j, with
/// P the source picture's attention and P* the edited picture's own. Hertz et al. 2022, arXiv:2208.01626, section 3.2,
/// "word swap" and "adding a new phrase".
#[derive(Debug, Clone, PartialEq)]
pub struct TokenMap {
    /// Tokens of each.
    pub tokens: usize,
    /// M, `[tokens, tokens]`, source by edited, row by row.
    pub mapped: Vec<f32>,
    /// o, `[tokens]`: 1 for what the source has not, 0 for the rest.
    pub own: Vec<f32>,
}

impl TokenMap {
    /// Of two prompts of as many chunks.
    ///
    /// - A word of as many tokens as its counterpart has theirs one by one. Otherwise the attention to all tokens of the
    ///   counterpart is shared out evenly.
    /// - A word without counterpart has its own.
    /// - In each chunk start has start; then end and padding have end and padding one by one. Where the source has more of
    ///   these, the last has the rest.
    pub fn new(source: &Reading, edited: &Reading, alignment: &Alignment) -> Self {
        let tokens = source.rows().max(edited.rows());
        let mut map = Self { tokens, mapped: vec![0.0; tokens * tokens], own: vec![1.0; tokens] };
        let pairs = edited.words.iter().zip(&alignment.counterparts);
        for (word, counterpart) in pairs {
            if let Some(i) = counterpart {
                map.word(&source.words[*i].rows, &word.rows);
            }
        }
        let (mut start, chunks) = (0, source.chunks.iter().zip(&edited.chunks));
        for (source, edited) in chunks {
            let silent = |tokens: &[Option<usize>]| -> Vec<usize> {
                let rows = tokens.iter().enumerate().filter(|(_, token)| token.is_none());
                rows.map(|(row, _)| start + row).collect()
            };
            map.silent(&silent(&source.tokens), &silent(&edited.tokens));
            start += edited.tokens.len();
        }
        map
    }

    fn word(&mut self, source: &[usize], edited: &[usize]) {
        if source.len() == edited.len() {
            source.iter().zip(edited).for_each(|(&i, &j)| self.add(i, j, 1.0));
            return;
        }
        for &j in edited {
            source.iter().for_each(|&i| self.add(i, j, 1.0 / edited.len() as f32));
        }
    }

    /// Start, end and padding, in order.
    fn silent(&mut self, source: &[usize], edited: &[usize]) {
        for (place, &i) in source.iter().enumerate() {
            if let Some(&j) = edited.get(place).or(edited.last()) {
                self.add(i, j, 1.0);
            }
        }
        // Those that the source has not so many of are read less already.
        edited.iter().for_each(|&j| self.own[j] = 0.0);
    }

    fn add(&mut self, i: usize, j: usize, share: f32) {
        self.mapped[i * self.tokens + j] += share;
        self.own[j] = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text_encoder::reading::{LearnedWord, PromptOptions, read};
    use crate::text_encoder::tokenizer::ClipTokenizer;

    /// Of 12 tokens, start and end included; `<two>` and `<three>` have as many.
    fn reading(text: &str) -> Reading {
        let tokenizer = ClipTokenizer::train(["a red cat, a green tree"; 8].into_iter(), 560, 12).unwrap();
        let learned = [("<two>", 2), ("<three>", 3)]
            .map(|(word, count)| LearnedWord { word: word.into(), ids: vec![7; count] });
        read(&tokenizer, &learned, text, PromptOptions::default()).unwrap()
    }

    fn map(source: &str, edited: &str) -> TokenMap {
        let (source, edited) = (reading(source), reading(edited));
        let alignment = Alignment::of(&source.words, &edited.words).unwrap();
        TokenMap::new(&source, &edited, &alignment)
    }

    /// What is not 0 of column j of M.
    fn column(map: &TokenMap, j: usize) -> Vec<(usize, f32)> {
        let of_row = |i: usize| (i, map.mapped[i * map.tokens + j]);
        (0..map.tokens).map(of_row).filter(|(_, share)| *share != 0.0).collect()
    }

    #[test]
    fn words_of_as_many_tokens_leave_everything_in_its_place() {
        for (source, edited) in [("a red cat", "a red cat"), ("a cat", "a tree"), ("a <two>", "red <two>")] {
            let map = map(source, edited);
            assert_eq!((map.tokens, map.own.iter().sum::<f32>()), (12, 0.0));
            assert!((0..12).all(|j| column(&map, j) == [(j, 1.0)]), "{source} → {edited}");
        }
    }

    #[test]
    fn a_new_word_has_its_own_and_moves_the_others() {
        // start a cat end … → start a red cat end …
        let map = map("a cat", "a red cat");
        assert_eq!(map.own, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(
            (column(&map, 1), column(&map, 2), column(&map, 3)),
            (vec![(1, 1.0)], vec![], vec![(2, 1.0)])
        );
        assert_eq!((column(&map, 0), column(&map, 4)), (vec![(0, 1.0)], vec![(3, 1.0)]));
        // The edited prompt has a token of padding less.
        assert_eq!(column(&map, 11), [(10, 1.0), (11, 1.0)]);
    }

    #[test]
    fn a_word_of_another_number_of_tokens_shares_out_what_it_takes() {
        let longer = map("a <two>", "a <three>");
        for j in 2..5 {
            assert_eq!(column(&longer, j), [(2, 1.0 / 3.0), (3, 1.0 / 3.0)]);
        }
        let shorter = map("a <three>", "a cat");
        assert_eq!(column(&shorter, 2), [(2, 1.0), (3, 1.0), (4, 1.0)]);
        // Two more tokens of padding, of which there is nothing to read.
        assert_eq!((column(&shorter, 10), column(&shorter, 11)), (vec![], vec![]));
        assert_eq!(shorter.own.iter().sum::<f32>(), 0.0);
        // Whatever is exchanged, all attention of the source goes somewhere.
        for map in [longer, shorter] {
            for row in map.mapped.chunks(map.tokens) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
        }
    }
}
