//! Sums of prompts, `a cat AND a dog :0.5`, as stable-diffusion-webui (AUTOMATIC1111) writes them.
//!
//! The predictions are added, not the texts:
//! [`guidance::compose`](crate::diffusion::guidance::compose). Liu et al. 2022, arXiv:2206.01714.

use super::prompt::by_itself;
use crate::error::{Error, Result};

/// How many prompts may be added; each costs as much as a picture.
const MOST: usize = 16;

/// A prompt of a sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Summand {
    /// Its text.
    pub text: String,
    /// Its factor, finite; 1 is plain.
    pub weight: f64,
}

/// The prompts between the words `AND`, wherever these stand; a number behind a colon at the end of each is its weight.
/// Without the word it is one prompt, and such a number is text.
///
/// # Errors
/// `Error::Argument` for an empty prompt beside an `AND`, too many of them, or a weight that is too large for a number.
pub fn summands(prompt: &str) -> Result<Vec<Summand>> {
    let parts = cut(prompt);
    if parts.len() == 1 {
        return Ok(vec![Summand { text: prompt.to_owned(), weight: 1.0 }]);
    }
    if parts.len() > MOST {
        return Err(Error::argument("prompt", format!("at most {MOST} prompts joined by AND"), parts.len()));
    }
    parts.into_iter().map(summand).collect()
}

/// Whether a text has the word `AND`.
pub fn has_and(text: &str) -> bool {
    cut(text).len() > 1
}

fn cut(prompt: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut begin = 0;
    for place in by_itself(prompt, "AND") {
        parts.push(&prompt[begin..place.start]);
        begin = place.end;
    }
    parts.push(&prompt[begin..]);
    parts
}

fn summand(part: &str) -> Result<Summand> {
    let weighted = part.rsplit_once(':').and_then(|(text, number)| Some((text, weight(number.trim())?)));
    let (text, weight) = weighted.filter(|(text, _)| !text.ends_with('\\')).unwrap_or((part, 1.0));
    if !weight.is_finite() {
        return Err(Error::argument("prompt", "weights of AND that are numbers", part.trim()));
    }
    if text.trim().is_empty() {
        let expected = "a prompt on both sides of AND (`plain-prompt` takes it for a word)";
        return Err(Error::argument("prompt", expected, "nothing on one of them"));
    }
    Ok(Summand { text: text.trim_end().to_owned(), weight })
}

/// A number of digits with at most one point and a sign.
fn weight(text: &str) -> Option<f64> {
    let digits = text.chars().all(|c| c.is_ascii_digit() || "+-.".contains(c));
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn of(prompt: &str) -> Vec<(String, f64)> {
        summands(prompt).unwrap().into_iter().map(|Summand { text, weight }| (text, weight)).collect()
    }

    fn sum(parts: &[(&str, f64)]) -> Vec<(String, f64)> {
        parts.iter().map(|(text, weight)| (text.to_string(), *weight)).collect()
    }

    // The values are those of stable-diffusion-webui's `get_multicond_prompt_list`.
    #[test]
    fn prompts_and_weights() {
        assert_eq!(of("a cat AND a dog :0.5"), sum(&[("a cat", 1.0), (" a dog", 0.5)]));
        assert_eq!(of("a :1.2  AND\nb : -.5 AND c:+2."), sum(&[("a", 1.2), ("\nb", -0.5), (" c", 2.0)]));
        assert_eq!(of("(a:1.3) AND [b:c:0.5]"), sum(&[("(a:1.3)", 1.0), (" [b:c:0.5]", 1.0)]));
        assert_eq!(of("a 16:9 AND b: c"), sum(&[("a 16", 9.0), (" b: c", 1.0)]));
        assert_eq!(of("(a AND b:1.2)"), sum(&[("(a", 1.0), (" b:1.2)", 1.0)]));
    }

    #[test]
    fn a_prompt_by_itself_is_text() {
        for prompt in ["", "a cat", "a photo, 16:9", "a BRAND of ANDY, AND_ or and", " a :0.5 "] {
            assert_eq!(of(prompt), sum(&[(prompt, 1.0)]));
        }
        assert_eq!(of(r"a AND b \:2"), sum(&[("a", 1.0), (r" b \:2", 1.0)]));
        assert_eq!(of("a AND b :nan"), sum(&[("a", 1.0), (" b :nan", 1.0)]));
        assert_eq!(of("a AND b :1.2.3"), sum(&[("a", 1.0), (" b :1.2.3", 1.0)]));
    }

    #[test]
    fn nothing_beside_an_and_is_refused() {
        for prompt in ["AND", "a AND", " AND b", "a AND AND b", "a AND :0.5"] {
            assert_refuses(summands(prompt), "prompt: expected a prompt on both sides of AND");
        }
        let large = format!("a AND b :{}", "9".repeat(400));
        assert_refuses(summands(&large), "prompt: expected weights of AND that are numbers");
        assert_refuses(summands(&"a AND ".repeat(20)), "prompt: expected at most 16 prompts");
    }
}
