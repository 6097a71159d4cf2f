//! What of a request has no effect, or another than its author may expect.

use super::origin::Origin;
use super::request::Request;
use crate::error::Result;
use crate::model::Model;
use crate::text_encoder::reading::{PromptOptions, Reading};
use crate::text_encoder::webui::{Unread, unread};

/// Each in a sentence that names it; names of settings in backticks. `guidance`: the scale that is used.
///
/// # Errors
/// Those of reading the prompts.
pub(super) fn of(request: &Request, model: &Model, guidance: f64, origin: &Origin) -> Result<Vec<String>> {
    let options = request.prompts();
    let prompt = model.text.read(&request.prompt, options)?;
    let negative = request.negative.as_deref().filter(|text| !text.is_empty());
    let negative_options = PromptOptions { clip_skip: 0, ..options };
    let negative = negative.map(|text| -> Result<_> { Ok((text, model.text.read(text, negative_options)?)) });
    let negative = negative.transpose()?;
    let readings: Vec<&Reading> =
        [&prompt].into_iter().chain(negative.as_ref().map(|(_, reading)| reading)).collect();
    let mut warnings = Vec::new();
    for (reading, what) in readings.iter().zip(["prompt", "negative prompt"]) {
        if reading.cut_off {
            let longest = model.text.longest();
            warnings.push(format!(
                "the model reads {longest} tokens; the end of the {what} is cut off (`long-prompt` reads it in chunks)"
            ));
        }
    }
    if negative.is_some() && (guidance <= 1.0 || model.denoiser.network.takes_guidance()) {
        warnings.push(format!(
            "the negative prompt has no effect: the model is asked for the prompt alone (`guidance` is {guidance})"
        ));
    }
    let learned = model.text.first().learned.iter().map(|learned| &learned.word);
    let unused = learned.filter(|word| readings.iter().all(|reading| !reading.learned.contains(word)));
    warnings.extend(unused.map(|word| without_effect(word, options.plain)));
    if !options.plain {
        let texts = [request.prompt.as_str()].into_iter().chain(negative.as_ref().map(|(text, _)| *text));
        warnings.extend(texts.flat_map(unread).map(read_as_text));
    }
    warnings.extend(model.painted(origin).and_then(about_mask));
    Ok(warnings)
}

/// `plain`: brackets in prompts are text.
fn without_effect(word: &str, plain: bool) -> String {
    let spelled = escaped(word);
    let how = if plain || spelled == word {
        String::new()
    } else {
        format!("; its brackets are read as weights, write it {spelled}")
    };
    format!(
        "the learned word \"{word}\" has no effect: neither the prompt nor the negative prompt has it{how}"
    )
}

/// The word as a prompt spells it.
fn escaped(word: &str) -> String {
    let special = |c: char| ['(', ')', '[', ']', '\\'].contains(&c);
    word.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

fn read_as_text(Unread { written, meaning }: Unread) -> String {
    format!(
        "stable-diffusion-webui reads \"{written}\" as {meaning}; here it is text (docs/stable-diffusion.md, \
         Prompts; `plain-prompt` for text without this warning)"
    )
}

/// `any`, `all`: whether the mask has something painted, and everything.
fn about_mask((any, all): (bool, bool)) -> Option<String> {
    if all {
        Some("the `mask` paints everything: nothing of the initial picture is kept".into())
    } else if !any {
        Some(
            "the `mask` paints nothing: the initial picture stays as it is (white is painted, not black)"
                .into(),
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_brackets_is_spelled_for_prompts() {
        let warning = without_effect("Bad Hands (neg)", false);
        assert!(warning.contains("\"Bad Hands (neg)\"") && warning.ends_with(r"write it Bad Hands \(neg\)"));
        assert!(without_effect("Bad Hands (neg)", true).ends_with("has it"));
        assert!(without_effect("EasyNeg", false).ends_with("has it"));
    }

    #[test]
    fn masks_of_one_colour_are_named() {
        assert!(about_mask((true, true)).unwrap().contains("everything"));
        assert!(about_mask((false, false)).unwrap().contains("nothing"));
        assert_eq!(about_mask((true, false)), None);
    }
}
