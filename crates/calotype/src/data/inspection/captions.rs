//! What captions are like, and what may be wrong with them.

use std::collections::HashMap;

use serde::Serialize;

use super::of;
use super::statistics::{Counted, most_frequent};

/// Captions are listed up to here.
const MOST_CAPTIONS: usize = 10;
/// CLIP's text encoder takes 77 tokens, two of which are marks. English has about 1.25 tokens per word, so
/// that captions longer than this are likely to be cut.
const LONG_WORDS: usize = 60;
/// If more than this share of the pictures has one and the same caption, it says little.
const DOMINANT_SHARE: f64 = 0.5;

/// Length of the captions in words, separated by white space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Words {
    /// The shortest.
    pub min: usize,
    /// The average; 0 without captions.
    pub mean: f64,
    /// The longest.
    pub max: usize,
}

/// What is said about the pictures, readable or not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptionStatistics {
    /// Captions; a picture may have several.
    pub count: usize,
    /// Pictures with at least one caption.
    pub pictures_with: usize,
    /// Pictures without a caption.
    pub pictures_without: usize,
    /// Their lengths.
    pub words: Words,
    /// Captions of more than 60 words: likely to be longer than the 77 tokens of CLIP, and so to be cut.
    pub longer_than_60_words: usize,
    /// How many different captions there are.
    pub distinct: usize,
    /// The 10 most frequent.
    pub most_frequent: Vec<Counted>,
    /// Of the pictures with captions, the share that has no other caption than the most frequent one.
    pub share_of_most_frequent: f64,
}

impl CaptionStatistics {
    pub(super) fn of<'a>(pictures: impl Iterator<Item = &'a [String]> + Clone) -> Self {
        let texts = || pictures.clone().flatten();
        let lengths: Vec<usize> = texts().map(|text| text.split_whitespace().count()).collect();
        let words = Words {
            min: lengths.iter().copied().min().unwrap_or(0),
            mean: lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64,
            max: lengths.iter().copied().max().unwrap_or(0),
        };
        let mut counts: HashMap<&str, usize> = HashMap::new();
        texts().for_each(|text| *counts.entry(text).or_insert(0) += 1);
        let distinct = counts.len();
        let mut most_frequent = most_frequent(counts);
        most_frequent.truncate(MOST_CAPTIONS);

        let pictures_with = pictures.clone().filter(|captions| !captions.is_empty()).count();
        let dominated = most_frequent.first().map_or(0, |first| {
            let only_it =
                |captions: &&[String]| !captions.is_empty() && captions.iter().all(|c| *c == first.value);
            pictures.clone().filter(only_it).count()
        });
        Self {
            count: lengths.len(),
            pictures_with,
            pictures_without: pictures.count() - pictures_with,
            words,
            longer_than_60_words: lengths.iter().filter(|&&words| words > LONG_WORDS).count(),
            distinct,
            most_frequent,
            share_of_most_frequent: dominated as f64 / pictures_with.max(1) as f64,
        }
    }

    /// What a person should look at, added to `problems`; a collection of one picture has no captions that
    /// are too much alike.
    pub(super) fn problems(&self, pictures: usize, problems: &mut Vec<String>) {
        if self.pictures_without > 0 {
            let what = "have no caption: enough for a VAE, not for CLIP or a denoiser";
            problems.push(format!("{} {what}", of(self.pictures_without, pictures)));
        }
        if let Some(first) = self.most_frequent.first()
            && self.share_of_most_frequent > DOMINANT_SHARE
            && self.pictures_with > 1
        {
            let percent = (self.share_of_most_frequent * 100.0).round();
            problems.push(format!(
                "{percent} % of the captioned pictures have the same caption, `{}`",
                first.value
            ));
        }
        if self.longer_than_60_words > 0 {
            problems.push(format!(
                "{} of {} captions are longer than {LONG_WORDS} words: CLIP may miss the end",
                self.longer_than_60_words, self.count
            ));
        }
    }
}
