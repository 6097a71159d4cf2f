//! Learning BPE merges: Sennrich et al. 2016, arXiv:1508.07909, Algorithm 1, with counts kept up to date.
//!
//! Not the `tokenizers` crate's trainer: it numbers `</w>` symbols in the order of a randomly seeded hash
//! map, so two runs give two vocabularies.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

type Pair = (u32, u32);

/// A vocabulary and how it is built.
pub(super) struct Learned {
    /// Token of each id.
    pub tokens: Vec<String>,
    /// Merges, first learned first.
    pub merges: Vec<(String, String)>,
}

/// Words in symbols, with the number of times each pair of neighbours occurs.
struct Corpus {
    words: Vec<(Vec<u32>, u64)>,
    pair_counts: HashMap<Pair, u64>,
    /// Words that hold, or once held, a pair.
    words_with: HashMap<Pair, BTreeSet<usize>>,
    /// The most frequent pair on top, among equals the smallest. A count that is out of date is put right
    /// when it comes to the top.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

/// Learns until there are `vocab_size` tokens or no pair occurs twice.
///
/// - `word_counts`: words as ids of `tokens`, and how often each occurs.
/// - `tokens`: the symbols to begin with.
pub(super) fn learn_merges(
    word_counts: BTreeMap<Vec<u32>, u64>,
    mut tokens: Vec<String>,
    vocab_size: usize,
) -> Learned {
    let mut known: HashSet<String> = tokens.iter().cloned().collect();
    let mut corpus = Corpus::new(word_counts);
    let mut merges = Vec::new();
    while tokens.len() < vocab_size {
        let Some(pair) = corpus.most_frequent_pair() else { break };
        let (left, right) = (&tokens[pair.0 as usize], &tokens[pair.1 as usize]);
        let merged = format!("{left}{right}");
        // `a` + `bc` after `ab` + `c` (rare) is passed over: one token, one merge.
        if known.insert(merged.clone()) {
            merges.push((left.clone(), right.clone()));
            corpus.merge(pair, tokens.len() as u32);
            tokens.push(merged);
        }
    }
    Learned { tokens, merges }
}

impl Corpus {
    fn new(word_counts: BTreeMap<Vec<u32>, u64>) -> Self {
        let mut corpus = Self {
            words: word_counts.into_iter().collect(),
            pair_counts: HashMap::new(),
            words_with: HashMap::new(),
            queue: BinaryHeap::new(),
        };
        for index in 0..corpus.words.len() {
            corpus.count_pairs_of(index);
        }
        // Only now are the counts complete. The queue's order is total, so the map's does not matter.
        corpus.queue = corpus.pair_counts.iter().map(|(&pair, &count)| (count, Reverse(pair))).collect();
        corpus
    }

    /// Takes the most frequent pair from the queue, if it occurs at least twice.
    fn most_frequent_pair(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let now = self.pair_counts[&pair];
            if now == count && count >= 2 {
                return Some(pair);
            }
            if now != count && now >= 2 {
                self.queue.push((now, Reverse(pair)));
            }
        }
        None
    }

    /// Replaces `pair` by `id` in every word.
    fn merge(&mut self, pair: Pair, id: u32) {
        for index in self.words_with.remove(&pair).unwrap_or_default() {
            let (word, count) = &self.words[index];
            for neighbours in word.windows(2) {
                let pair_count = self.pair_counts.get_mut(&(neighbours[0], neighbours[1]));
                *pair_count.expect("every pair of a word is counted") -= count;
            }
            self.words[index].0 = merged(word, pair, id);
            for new_pair in self.count_pairs_of(index) {
                self.queue.push((self.pair_counts[&new_pair], Reverse(new_pair)));
            }
        }
    }

    /// Adds the pairs of a word to the counts, and returns them.
    fn count_pairs_of(&mut self, index: usize) -> Vec<Pair> {
        let (word, count) = &self.words[index];
        let pairs: Vec<Pair> = word.windows(2).map(|two| (two[0], two[1])).collect();
        for &pair in &pairs {
            *self.pair_counts.entry(pair).or_insert(0) += count;
            self.words_with.entry(pair).or_default().insert(index);
        }
        pairs
    }
}

/// `word` with every `pair`, from the left, as one symbol `id`.
fn merged(word: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let mut result = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [first, tail @ ..] = rest {
        let joins = (*first, tail.first().copied()) == (pair.0, Some(pair.1));
        result.push(if joins { id } else { *first });
        rest = if joins { &tail[1..] } else { tail };
    }
    result
}
