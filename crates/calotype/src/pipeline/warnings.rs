//! What of a request has no effect, or another than its author may expect.

use std::mem::discriminant;
use std::slice;

use super::origin::Origin;
use super::request::Request;
use super::script::Script;
use super::text_to_image::{PictureRequest, Sampling};
use crate::error::Result;
use crate::model::Model;
use crate::text_encoder::composition::{has_and, summands};
use crate::text_encoder::extra_network::tags;
use crate::text_encoder::reading::{PromptOptions, Reading};
use crate::text_encoder::schedule::{Remark, Schedule};

/// Each in a sentence that names it; names of settings in backticks. `picture`: one of those asked for.
///
/// # Errors
/// Those of reading the prompts.
pub(super) fn of(
    picture: &PictureRequest,
    sampling: &Sampling,
    origin: &Origin,
    model: &Model,
) -> Result<Vec<String>> {
    let options = sampling.prompts;
    let script = Script::of_prompts(slice::from_ref(picture), sampling)?;
    let prompt = readings(&script, model, options)?;
    let negative = match picture.negative_prompt.as_deref() {
        None | Some("") => vec![],
        Some(_) => {
            let script = Script::of_negative_prompts(slice::from_ref(picture), sampling)?;
            readings(&script, model, PromptOptions { clip_skip: 0, ..options })?
        }
    };
    let mut warnings = Vec::new();
    for (readings, what) in [(&prompt, "prompt"), (&negative, "negative prompt")] {
        if readings.iter().any(|reading| reading.cut_off) {
            let longest = model.text.longest();
            let how = if model.text.t5.is_some() { "" } else { " (`long-prompt` reads it in chunks)" };
            warnings.push(format!("the model reads {longest} tokens; the end of the {what} is cut off{how}"));
        }
    }
    let is_asked = script.asks_without_prompt(slice::from_ref(picture), model);
    if !negative.is_empty() && !is_asked {
        let (name, scale) = if model.is_guidance_distilled() {
            ("true-cfg", picture.true_cfg)
        } else {
            ("guidance", picture.guidance.scale)
        };
        warnings.push(format!(
            "the negative prompt has no effect: the model is asked for the prompt alone (`{name}` is {scale})"
        ));
    }
    if picture.guidance.scale > 1.0 && model.has_its_own_guidance() {
        warnings.push(format!(
            "`guidance` {} has no effect: the model was distilled for few steps without a scale (`true-cfg` guides it)",
            picture.guidance.scale
        ));
    }
    let learned = model.text.first().learned.iter().map(|learned| &learned.word);
    // T5 learns no words: CLIP reads them beside it.
    let by_clip = |text: &str| model.text.first().read(text, options);
    let texts =
        script.texts.iter().map(|texts| texts.first.as_str()).chain(picture.negative_prompt.as_deref());
    let read = texts.map(by_clip).collect::<Result<Vec<Reading>>>()?;
    let has = |word: &String| read.iter().any(|reading| reading.learned.contains(word));
    warnings.extend(learned.filter(|word| !has(word)).map(|word| without_effect(word, options.plain)));
    if !options.plain {
        warnings.extend(about_syntax(picture, sampling, origin, model)?);
    }
    warnings.extend(model.painted(origin).and_then(about_mask));
    Ok(warnings)
}

/// How the prompt was asked to be read, where T5 reads it otherwise.
pub(super) fn about_reading(request: &Request, model: &Model) -> Vec<String> {
    let asked = [("clip-skip", request.clip_skip > 0), ("long-prompt", request.long_prompt)];
    let without_effect = asked.iter().filter(|(_, asked)| *asked && model.text.t5.is_some());
    without_effect
        .map(|(name, _)| format!("`{name}` has no effect: T5 reads the prompt, whole and as it is"))
        .collect()
}

/// Each text as it stands in the context.
fn readings(script: &Script, model: &Model, options: PromptOptions) -> Result<Vec<Reading>> {
    script.texts.iter().map(|texts| model.text.read(texts.of_encoders(), options)).collect()
}

/// What of a prompt's tags, changes and sums is not read as its author may have meant it.
fn about_syntax(
    picture: &PictureRequest,
    sampling: &Sampling,
    origin: &Origin,
    model: &Model,
) -> Result<Vec<String>> {
    let steps = sampling.sampler.steps;
    let skipped = if origin.picture.is_some() { model.skipped_steps(steps, origin.strength)? } else { 0 };
    let negative = picture.negative_prompt.as_deref().unwrap_or("");
    let mut warnings = Vec::new();
    // Those of LoRAs that are read have left the prompt.
    for (is_lora, why) in [
        (true, "without `lora-dir`, the folder of its file; `lora` merges a file by its path"),
        (false, "here: such files are not read"),
    ] {
        let tag = tags(&picture.prompt).into_iter().find(|tag| tag.is_lora == is_lora);
        warnings.extend(tag.map(|tag| format!("\"{}\" is text {why}", shortened(tag.written))));
    }
    if let Some(tag) = tags(negative).first() {
        warnings.push(format!(
            "\"{}\" is text in a negative prompt, as in stable-diffusion-webui",
            shortened(tag.written)
        ));
    }
    if has_and(negative) {
        warnings.push("AND is a word in a negative prompt, as in stable-diffusion-webui".into());
    }
    let prompts = summands(&picture.prompt)?;
    for text in prompts.iter().map(|summand| summand.text.as_str()).chain([negative]) {
        let mut kinds = Vec::new();
        for remark in Schedule::of(text, steps)?.remarks(steps - skipped) {
            // The first of each kind is enough.
            if !kinds.contains(&discriminant(&remark)) {
                kinds.push(discriminant(&remark));
                warnings.push(about_schedule(&remark, steps, steps - skipped));
            }
        }
    }
    Ok(warnings)
}

/// `taken`: of so many `steps`.
fn about_schedule(remark: &Remark, steps: usize, taken: usize) -> String {
    match remark {
        Remark::Neither(written) => {
            format!(
                "\"{}\" is text of less weight: it is neither [from:to:when] nor [a|b]",
                shortened(written)
            )
        }
        Remark::NeverClosed(written) => {
            format!("\"{}\" is text of less weight: the bracket is never closed", shortened(written))
        }
        Remark::TurnedOff(written) => format!(
            "\"{}\" is text of less weight, as in stable-diffusion-webui, because of a | outside square brackets or a backslash \
             at the end of a line; write it \\|",
            shortened(written)
        ),
        Remark::TooLate(written) if taken < steps => format!(
            "\"{}\" never changes: {taken} of the {steps} steps are taken, and counted from the first of these",
            shortened(written)
        ),
        Remark::TooLate(written) => format!("\"{}\" never changes in {steps} steps", shortened(written)),
        Remark::TooEarly(written) => {
            format!("\"{}\" has changed before the first step", shortened(written))
        }
    }
}

/// Its beginning, where it is long.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
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
