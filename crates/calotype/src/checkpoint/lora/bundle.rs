//! Words that OneTrainer puts into a LoRA's file: `bundle_emb.WORD.emb_params`, for XL `.clip_l` and `.clip_g`.

use std::collections::BTreeMap;

use crate::files::weights::Tensors;
use crate::text_encoder::textual_inversion::is_name_of_rows;

const START: &str = "bundle_emb.";

/// A word that was learned with a LoRA.
#[derive(Debug, Clone)]
pub struct BundledWord {
    /// As prompts spell it.
    pub word: String,
    /// Its tensors, named as in a file of its own.
    pub tensors: Tensors,
}

/// Takes the words out of a file's tensors, in the order of their names.
pub(super) fn take(tensors: &mut Tensors) -> Vec<BundledWord> {
    let mut words: BTreeMap<String, Tensors> = BTreeMap::new();
    for (name, tensor) in tensors.extract_if(|name, _| split(name).is_some()) {
        if let Some((word, of_word)) = split(&name) {
            words.entry(word.to_owned()).or_default().insert(of_word.to_owned(), tensor);
        }
    }
    words.into_iter().map(|(word, tensors)| BundledWord { word, tensors }).collect()
}

/// A word, which may have dots, and what one of its tensors is called in a file of its own.
fn split(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix(START)?;
    let split_at = |(at, _)| (&rest[..at], &rest[at + 1..]);
    let mut splits = rest.match_indices('.').map(split_at);
    splits.find(|(word, of_word)| !word.is_empty() && is_name_of_rows(of_word))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_may_have_dots_and_other_tensors_stay() {
        assert_eq!(split("bundle_emb.sks.emb_params"), Some(("sks", "emb_params")));
        assert_eq!(split("bundle_emb.<a.b>.clip_g"), Some(("<a.b>", "clip_g")));
        assert_eq!(split("bundle_emb.sks.string_to_param.*"), Some(("sks", "string_to_param.*")));
        for other in ["bundle_emb.sks.t5", "bundle_emb..clip_l", "bundle_emb.clip_l", "sks.emb_params"] {
            assert_eq!(split(other), None);
        }
    }
}
