//! Words that were learned from pictures (textual inversion): rows of a text encoder's token table.
//!
//! Gal et al. 2022, arXiv:2208.01618.

use std::path::Path;

use super::reading::LearnedWord;
use super::stack::{TextStack, TextTower};
use crate::error::{Error, Result};
use crate::files::StoredTensor;
use crate::files::weights::{self, Tensors};

const FORMAT: &str = "textual inversion";

impl TextStack {
    /// Learns the word of a file of diffusers (`{"<word>": [width]}`), AUTOMATIC1111 (`string_to_param`), kohya
    /// (`emb_params`) or SDXL (`clip_l`, `clip_g`), and returns it: the name that the file has for it, or the file's
    /// own name. A word may be several tokens long.
    ///
    /// # Errors
    /// Those of [`weights::open`]; `Error::Format` for a file of another kind or another text encoder.
    pub fn learn(&mut self, file: &Path) -> Result<String> {
        let tensors = weights::open(file)?;
        let stem = file.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
        let (word, names) = word_and_names(&tensors, &stem, self.towers.len())
            .map_err(|reason| Error::format(file, FORMAT, reason))?;
        let refused = |reason: String| Error::format(file, FORMAT, reason);
        let mut counts = Vec::new();
        for (TextTower::Clip(tower), name) in self.towers.iter().zip(&names) {
            let rows = &tensors[name];
            let width = tower.encoder.config.hidden_size;
            let fits =
                matches!(*rows.shape(), [n] if n == width) || matches!(*rows.shape(), [_, n] if n == width);
            if !fits || !rows.is_finite() || rows.bytes().is_empty() {
                let got = rows.shape();
                let reason = format!(
                    "`{name}`: expected finite rows of {width}, the text encoder's width, got {got:?}"
                );
                return Err(refused(reason));
            }
            counts.push(rows.shape().iter().product::<usize>() / width);
        }
        require_rows(&names, &counts, self.longest()).map_err(refused)?;
        for (TextTower::Clip(tower), name) in self.towers.iter_mut().zip(names) {
            let ids = tower.encoder.network.extend_vocabulary(&tensors[&name].to_f32());
            tower.learned.push(LearnedWord { word: word.clone(), ids });
        }
        Ok(word)
    }
}

/// Refuses a word of more rows than the encoder reads at once, and one of more rows for one encoder than for the other:
/// the tokens of both would no longer stand side by side.
fn require_rows(names: &[String], counts: &[usize], longest: usize) -> std::result::Result<(), String> {
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

/// The word, and the tensor of each text encoder.
fn word_and_names(
    tensors: &Tensors,
    stem: &str,
    towers: usize,
) -> std::result::Result<(String, Vec<String>), String> {
    let has = |name: &str| tensors.contains_key(name);
    if towers == 2 {
        return if has("clip_l") && has("clip_g") {
            Ok((stem.to_owned(), vec!["clip_l".into(), "clip_g".into()]))
        } else {
            Err("expected `clip_l` and `clip_g`, for two text encoders".into())
        };
    }
    for name in ["string_to_param.*", "emb_params"] {
        if has(name) {
            return Ok((stem.to_owned(), vec![name.into()]));
        }
    }
    let mut rows = tensors.iter().filter(|(_, tensor)| is_rows(tensor));
    match (rows.next(), rows.next()) {
        (Some((word, _)), None) => Ok((word.clone(), vec![word.clone()])),
        (None, _) => Err("it has no embedding".into()),
        _ => Err("expected one embedding, got several tensors".into()),
    }
}

fn is_rows(tensor: &StoredTensor) -> bool {
    matches!(tensor.shape().len(), 1 | 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_must_fit_and_be_as_many_for_both_encoders() {
        let names = ["clip_l", "clip_g"].map(String::from);
        assert_eq!(require_rows(&names, &[3, 3], 75), Ok(()));
        let refused = require_rows(&names, &[3, 2], 75).unwrap_err();
        for part in ["3 in `clip_l`", "2 in `clip_g`"] {
            assert!(refused.contains(part), "{refused}");
        }
        let refused = require_rows(&names[..1], &[76], 75).unwrap_err();
        assert!(refused.contains("at most 75") && refused.contains("76"), "{refused}");
    }
}
