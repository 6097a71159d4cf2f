//! Tags of files in prompts, `<lora:name:0.8>`, as stable-diffusion-webui (AUTOMATIC1111) has them.

use crate::error::{Error, Result};

/// A tag: `<kind:arguments>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    /// As it is written.
    pub written: &'a str,
    /// Whether it is of a LoRA (`lora`, `lyco`), not of a `hypernet`.
    pub is_lora: bool,
    /// What follows the first colon.
    arguments: &'a str,
    /// Its first byte in the prompt.
    begin: usize,
}

/// What a tag of a LoRA asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraTag<'a> {
    /// The file's name without its ending.
    pub name: &'a str,
    /// Its strength, finite.
    pub weight: f64,
}

const KINDS: [&str; 3] = ["lora", "lyco", "hypernet"];

/// The tags of a prompt, in order.
pub fn tags(prompt: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(found) = prompt[at..].find('<') {
        let begin = at + found;
        at = begin + 1;
        let inside = &prompt[at..];
        let kind = KINDS
            .into_iter()
            .find(|kind| inside.strip_prefix(kind).is_some_and(|rest| rest.starts_with(':')));
        let Some(kind) = kind else { continue };
        let Some(length) = inside.find('>') else { break };
        at += length + 1;
        let arguments = &inside[kind.len() + 1..length];
        tags.push(Tag { written: &prompt[begin..at], is_lora: kind != "hypernet", arguments, begin });
    }
    tags
}

/// The prompt without its tags of LoRAs.
pub fn without_loras(prompt: &str) -> String {
    let mut text = String::new();
    let mut at = 0;
    for tag in tags(prompt).into_iter().filter(|tag| tag.is_lora) {
        text += &prompt[at..tag.begin];
        at = tag.begin + tag.written.len();
    }
    text + &prompt[at..]
}

impl<'a> Tag<'a> {
    /// `name`, `name:weight`, or with a weight for the text encoder and one for the U-Net: by place, in this order, or
    /// as `te=` and `unet=`. Without any it is 1.
    ///
    /// # Errors
    /// `Error::Argument` without a name, for a weight that is no finite number, two weights that differ, and for other
    /// arguments.
    pub fn lora(&self) -> Result<LoraTag<'a>> {
        let refused = |expected: &str| Error::argument("prompt", expected, self.written);
        let (mut places, mut te, mut unet) = (Vec::new(), None, None);
        for argument in self.arguments.split(':') {
            match argument.split_once('=') {
                Some(("te", weight)) => te = Some(weight),
                Some(("unet", weight)) => unet = Some(weight),
                Some((_, _)) if !places.is_empty() => {
                    return Err(refused("a LoRA's tag with weights alone (`te=`, `unet=`)"));
                }
                _ => places.push(argument),
            }
        }
        let number = |text: Option<&str>| {
            let weight = text.map(|text| text.trim().parse::<f64>());
            weight.transpose().ok().filter(|weight| weight.is_none_or(f64::is_finite))
        };
        let weights = (number(te.or(places.get(1).copied())), number(unet.or(places.get(2).copied())));
        let (Some(te), Some(unet)) = weights else {
            return Err(refused("a LoRA's tag with weights that are finite numbers"));
        };
        let name = places.first().filter(|name| !name.trim().is_empty());
        let name = name.ok_or_else(|| refused("a LoRA's tag with a name, <lora:name:weight>"))?;
        let te = te.unwrap_or(1.0);
        let weight = unet.unwrap_or(te);
        if places.len() > 3 {
            return Err(refused("a LoRA's tag without a number of dimensions, of which all are used"));
        }
        if weight != te {
            return Err(refused("the same weight for the text encoder and the U-Net"));
        }
        Ok(LoraTag { name: name.trim(), weight })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn loras(prompt: &str) -> Vec<(&str, f64)> {
        let loras = tags(prompt).into_iter().filter(|tag| tag.is_lora).map(|tag| tag.lora().unwrap());
        loras.map(|LoraTag { name, weight }| (name, weight)).collect()
    }

    #[test]
    fn tags_name_files_and_weights() {
        assert_eq!(loras("<lora:film:0.8> a cat <lyco:a b.v2>"), [("film", 0.8), ("a b.v2", 1.0)]);
        assert_eq!(loras("<lora:x:-1:-1><lora:x:te=0.5:unet=.5>"), [("x", -1.0), ("x", 0.5)]);
        assert_eq!(loras("<lora:x: 2 ><hypernet:y:1>, <toy>, <toy:1>, a < b, <lora"), [("x", 2.0)]);
        assert_eq!(without_loras("a <lora:film:0.8> cat<lyco:x>"), "a  cat");
        assert_eq!(without_loras("<hypernet:y:1> <toy> <lora"), "<hypernet:y:1> <toy> <lora");
        assert_eq!(without_loras("<a <lora:x>>"), "<a >");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (prompt, beginning) in [
            ("<lora:>", "prompt: expected a LoRA's tag with a name"),
            ("<lora: :1>", "prompt: expected a LoRA's tag with a name"),
            ("<lora:x:nan>", "prompt: expected a LoRA's tag with weights that are finite"),
            ("<lora:x:inf>", "prompt: expected a LoRA's tag with weights that are finite"),
            ("<lora:x:strong>", "prompt: expected a LoRA's tag with weights that are finite"),
            ("<lora:x:1:0.5>", "prompt: expected the same weight for"),
            ("<lora:x:unet=0.5>", "prompt: expected the same weight for"),
            ("<lora:x:1:1:64>", "prompt: expected a LoRA's tag without a number of dimensions"),
            ("<lora:x:1:lbw=ALL>", "prompt: expected a LoRA's tag with weights alone"),
        ] {
            assert_refuses(tags(prompt)[0].lora(), beginning);
        }
    }
}
