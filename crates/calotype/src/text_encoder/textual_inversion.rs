//! Words that were learned from pictures (textual inversion): rows of a text encoder's token table.
//!
//! Gal et al. 2022, arXiv:2208.01618.

use std::path::Path;

use super::reading::LearnedWord;
use super::stack::TextStack;
use crate::error::{Cause, Error, Result};
use crate::files::StoredTensor;
use crate::files::weights::{self, Tensors};

const FORMAT: &str = "textual inversion";

/// What AUTOMATIC1111's names begin with; after it stands what its author called the word, mostly `*`.
const STRING_TO_PARAM: &str = "string_to_param.";

/// kohya's name.
const EMB_PARAMS: &str = "emb_params";

/// SDXL's names, in the order of its text encoders.
const OF_TWO: [&str; 2] = ["clip_l", "clip_g"];

/// Marks of LoRAs in names.
const OF_LORAS: [&str; 5] = [".lora_", ".lora.", "_lora.", ".hada_", ".lokr_"];

/// Whether a tensor of this name has the rows of a learned word, whatever the word is.
pub(crate) fn is_name_of_rows(name: &str) -> bool {
    name.starts_with(STRING_TO_PARAM) || name == EMB_PARAMS || OF_TWO.contains(&name)
}

impl TextStack {
    /// Learns the word of a file of diffusers (`{"<word>": [width]}`), AUTOMATIC1111 (`string_to_param`), kohya
    /// (`emb_params`) or SDXL (`clip_l`, `clip_g`), and returns it: the name that a file of diffusers has for it,
    /// otherwise the file's own name. A word may be several tokens long.
    ///
    /// # Errors
    /// Those of [`weights::open`]; `Error::Format` for a file of another kind or another text encoder, numbers that
    /// are not finite, and a word that is learned already.
    pub fn learn(&mut self, file: &Path) -> Result<String> {
        let tensors = weights::open(file)?;
        let rows = Rows::of(&tensors).map_err(|reason| no_rows(file, &tensors, reason))?;
        let stem = || file.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
        let word = if let Rows::Named(word) = &rows { word.clone() } else { stem() };
        self.learn_rows(&word, &tensors, &rows, |reason| Error::format(file, FORMAT, reason))?;
        Ok(word)
    }

    /// Learns a word whose tensors come from a file with other things in it.
    ///
    /// # Errors
    /// As [`TextStack::learn`].
    pub fn learn_word(&mut self, file: &Path, word: &str, tensors: &Tensors) -> Result<()> {
        let refuse =
            |reason: String| Error::format(file, FORMAT, format!("the word `{word}` in it: {reason}"));
        let rows = Rows::of(tensors).map_err(refuse)?;
        self.learn_rows(word, tensors, &rows, refuse)
    }

    fn learn_rows(
        &mut self,
        word: &str,
        tensors: &Tensors,
        rows: &Rows,
        refuse: impl Fn(String) -> Error,
    ) -> Result<()> {
        let names = rows.of_encoders(self.clip.len()).map_err(&refuse)?;
        let same = |known: &LearnedWord| known.word.to_lowercase() == word.to_lowercase();
        if self.first().learned.iter().any(same) {
            return Err(refuse(format!("the word `{word}` is learned already, from another file")));
        }
        let mut counts = Vec::new();
        for (tower, name) in self.clip.iter().zip(&names) {
            let width = tower.encoder.config.hidden_size;
            counts.push(count_rows(name, &tensors[*name], width).map_err(&refuse)?);
            if !tensors[*name].is_finite() {
                return Err(refuse(format!("`{name}` has NaN or infinity")).because(Cause::NotFinite));
            }
        }
        require_rows(&names, &counts, self.first().longest()).map_err(&refuse)?;
        for (tower, name) in self.clip.iter_mut().zip(names) {
            let ids = tower.encoder.network.extend_vocabulary(&tensors[name].to_f32());
            tower.learned.push(LearnedWord { word: word.to_owned(), ids });
        }
        Ok(())
    }
}

/// The error for a file without the rows of one word.
fn no_rows(file: &Path, tensors: &Tensors, reason: String) -> Error {
    let error = Error::format(file, FORMAT, reason);
    let of_lora = tensors.keys().any(|name| OF_LORAS.iter().any(|mark| name.contains(mark)));
    if of_lora { error.because(Cause::IsLora) } else { error }
}

/// Which tensors have the rows of a word.
#[derive(Debug, PartialEq)]
enum Rows {
    /// The one of this name, for one text encoder.
    One(String),
    /// The one of this name, which is the word.
    Named(String),
    /// [`OF_TWO`].
    Two,
}

impl Rows {
    /// The rows in a file.
    fn of(tensors: &Tensors) -> std::result::Result<Self, String> {
        let has = |name: &str| tensors.contains_key(name);
        if OF_TWO.into_iter().all(has) {
            return Ok(Self::Two);
        }
        let mut names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        let of_webui = names.iter().copied().filter(|name| name.starts_with(STRING_TO_PARAM));
        if let [name] = of_webui.collect::<Vec<_>>()[..] {
            return Ok(Self::One(name.to_owned()));
        }
        if let Some(name) = [EMB_PARAMS].into_iter().chain(OF_TWO).find(|name| has(name)) {
            return Ok(Self::One(name.to_owned()));
        }
        let first = names.first().map_or("no tensor".to_owned(), |name| {
            format!("`{name}` of {:?} first, {} tensors in all", tensors[*name].shape(), names.len())
        });
        names.retain(|name| is_rows(&tensors[*name]));
        match names[..] {
            [word] => Ok(Self::Named(word.to_owned())),
            [] => Err(format!("it has no embedding, which is `[width]` or `[rows, width]`: it has {first}")),
            _ => Err(format!("expected one embedding, got several tensors: {first}")),
        }
    }

    /// A name for each text encoder.
    fn of_encoders(&self, encoders: usize) -> std::result::Result<Vec<&str>, String> {
        match (self, encoders) {
            (Self::One(name) | Self::Named(name), 1) => Ok(vec![name]),
            (Self::Two, 2) => Ok(OF_TWO.to_vec()),
            (Self::One(name) | Self::Named(name), _) => Err(format!(
                "it is for one text encoder, as in Stable Diffusion 1 and 2: expected `clip_l` and `clip_g` for the \
                 model's two, got `{name}` alone"
            )),
            (Self::Two, _) => {
                Err("it is for Stable Diffusion XL, with `clip_l` and `clip_g` for its two text \
                                   encoders; the model has one"
                    .into())
            }
        }
    }
}

/// How many rows of `width` a tensor has.
fn count_rows(name: &str, rows: &StoredTensor, width: usize) -> std::result::Result<usize, String> {
    match *rows.shape() {
        [got] if got == width => Ok(1),
        [count, got] if got == width && count > 0 => Ok(count),
        ref shape => {
            let expected = format!("`{name}`: expected rows of {width}, the text encoder's width");
            let of = shape.last().and_then(|width| family(*width));
            Err(format!(
                "{expected}, got {shape:?}{}",
                of.map_or(String::new(), |of| format!(": it is for {of}"))
            ))
        }
    }
}

/// Refuses a word of more rows than the encoder reads at once, and one of more rows for one encoder than for the other:
/// the tokens of both would no longer stand side by side.
fn require_rows(names: &[&str], counts: &[usize], longest: usize) -> std::result::Result<(), String> {
    for (name, count) in names.iter().zip(counts) {
        if *count > longest {
            return Err(format!(
                "`{name}`: expected at most {longest} rows, as the encoder reads, got {count}"
            ));
        }
        if *count != counts[0] {
            return Err(format!(
                "expected as many rows for both text encoders, got {} in `{}` and {count} in `{name}`",
                counts[0], names[0]
            ));
        }
    }
    Ok(())
}

/// The models whose text encoder has this width.
fn family(width: usize) -> Option<&'static str> {
    match width {
        768 => Some("Stable Diffusion 1 or the first text encoder of XL"),
        1024 => Some("Stable Diffusion 2"),
        1280 => Some("the second text encoder of XL"),
        _ => None,
    }
}

fn is_rows(tensor: &StoredTensor) -> bool {
    matches!(tensor.shape().len(), 1 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(shapes: &[(&str, &[usize])]) -> Tensors {
        let zeros = |shape: &[usize]| {
            StoredTensor::from_f32(shape.to_vec(), vec![0.0; shape.iter().product()]).unwrap()
        };
        shapes.iter().map(|(name, shape)| ((*name).to_owned(), zeros(shape))).collect()
    }

    #[test]
    fn rows_are_found_by_their_names() {
        for (shapes, expected) in [
            (&[("string_to_param.*", &[2, 8][..])][..], Rows::One("string_to_param.*".into())),
            (&[("string_to_param.sks", &[2, 8])], Rows::One("string_to_param.sks".into())),
            (&[("emb_params", &[2, 8]), ("step", &[1])], Rows::One("emb_params".into())),
            (&[("clip_g", &[2, 8])], Rows::One("clip_g".into())),
            (&[("clip_g", &[2, 8]), ("clip_l", &[2, 4])], Rows::Two),
            (&[("<lora_like>", &[8])], Rows::Named("<lora_like>".into())),
            (&[("<cat>", &[8]), ("mask", &[1, 1, 1])], Rows::Named("<cat>".into())),
        ] {
            assert_eq!(Rows::of(&tensors(shapes)), Ok(expected));
        }
        for (shapes, said) in [
            (&[][..], "no embedding"),
            (&[("x", &[1, 2, 3][..])], "`x` of [1, 2, 3]"),
            (&[("a", &[8]), ("b", &[8])], "several tensors: `a`"),
            (
                &[("string_to_param.a", &[8]), ("string_to_param.b", &[8])],
                "several tensors: `string_to_param.a`",
            ),
        ] {
            let refused = Rows::of(&tensors(shapes)).unwrap_err();
            assert!(refused.contains(said), "{refused}");
        }
    }

    #[test]
    fn every_text_encoder_has_rows_of_its_own() {
        assert_eq!(Rows::Two.of_encoders(2), Ok(vec!["clip_l", "clip_g"]));
        assert_eq!(Rows::One("emb_params".into()).of_encoders(1), Ok(vec!["emb_params"]));
        let refused = Rows::Two.of_encoders(1).unwrap_err();
        assert!(refused.contains("it is for Stable Diffusion XL"), "{refused}");
        let refused = Rows::Named("<cat>".into()).of_encoders(2).unwrap_err();
        assert!(refused.contains("Stable Diffusion 1 and 2") && refused.contains("`<cat>`"), "{refused}");
    }

    #[test]
    fn rows_have_the_encoders_width() {
        let count = |shape: &[usize]| count_rows("x", &tensors(&[("x", shape)])["x"], 8);
        assert_eq!((count(&[8]), count(&[3, 8])), (Ok(1), Ok(3)));
        for shape in [&[][..], &[1, 0], &[0, 8], &[0], &[7], &[1, 1, 8]] {
            let refused = count(shape).unwrap_err();
            assert!(refused.contains("rows of 8") && refused.contains(&format!("{shape:?}")), "{refused}");
        }
        assert!(count(&[2, 1024]).unwrap_err().ends_with("got [2, 1024]: it is for Stable Diffusion 2"));
    }

    #[test]
    fn rows_must_fit_and_be_as_many_for_both_encoders() {
        let names = ["clip_l", "clip_g"];
        assert_eq!(require_rows(&names, &[3, 3], 75), Ok(()));
        let refused = require_rows(&names, &[3, 2], 75).unwrap_err();
        for part in ["3 in `clip_l`", "2 in `clip_g`"] {
            assert!(refused.contains(part), "{refused}");
        }
        let refused = require_rows(&names[..1], &[76], 75).unwrap_err();
        assert!(refused.contains("at most 75") && refused.contains("76"), "{refused}");
    }
}
