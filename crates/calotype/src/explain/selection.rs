//! Which of the U-Net's layers and of the sampler's steps heat maps are averaged over.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Size of the grid on which a layer sees the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSize {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Layers by their size; as text `all`, or sizes such as `16x16,8x8` (width x height).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Layers {
    /// Every layer with cross-attention.
    #[default]
    All,
    /// Those of these sizes.
    Of(Vec<LayerSize>),
}

/// Layers and steps. All by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Which layers.
    pub layers: Layers,
    /// The first step, counted from 0.
    pub from: usize,
    /// The step before which they end; the last one's end where there is none.
    pub to: Option<usize>,
}

impl Selection {
    /// Whether the attention of such a layer at `step` counts.
    pub fn has(&self, height: usize, width: usize, step: usize) -> bool {
        let layer = match &self.layers {
            Layers::All => true,
            Layers::Of(sizes) => sizes.contains(&LayerSize { width, height }),
        };
        layer && step >= self.from && self.to.is_none_or(|to| step < to)
    }

    /// Refuses what would average over nothing. `known`: sizes of the layers that there are; `steps`: of the sampler.
    ///
    /// # Errors
    /// `Error::Argument` with the sizes that there are, or the range of steps.
    pub fn require(&self, known: &[LayerSize], steps: usize) -> Result<()> {
        if let Layers::Of(sizes) = &self.layers
            && let Some(unknown) = sizes.iter().find(|size| !known.contains(size))
        {
            let names: Vec<String> = known.iter().map(LayerSize::to_string).collect();
            return Err(Error::argument("layers", format!("all, or of {}", names.join(", ")), unknown));
        }
        if steps == 0 {
            return Ok(()); // The sampler refuses it.
        }
        let to = self.to.unwrap_or(steps);
        if to == 0 || to > steps {
            return Err(Error::argument("steps_to", format!("from 1 to the {steps} steps"), to));
        }
        if self.from >= to {
            return Err(Error::argument("steps_from", format!("from 0 to {}", to - 1), self.from));
        }
        Ok(())
    }
}

impl fmt::Display for LayerSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Of(sizes) => {
                f.write_str(&sizes.iter().map(LayerSize::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

impl FromStr for Layers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self::All);
        }
        let size = |text: &str| {
            let (width, height) = text.trim().split_once('x')?;
            Some(LayerSize { width: width.parse().ok()?, height: height.parse().ok()? })
        };
        let sizes: Option<Vec<LayerSize>> = text.split(',').map(size).collect();
        sizes.map(Self::Of).ok_or_else(|| Error::argument("layers", "all, or sizes such as 16x16,8x8", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(layers: &str, from: usize, to: Option<usize>) -> Selection {
        Selection { layers: layers.parse().unwrap(), from, to }
    }

    #[test]
    fn layers_are_read_as_they_are_written() {
        for text in ["all", "16x16", "16x16,8x4"] {
            assert_eq!(text.parse::<Layers>().unwrap().to_string(), text);
        }
        for text in ["", "16", "16x", "16x16,", "8x8x8"] {
            assert!(matches!(text.parse::<Layers>(), Err(Error::Argument { .. })), "{text}");
        }
    }

    #[test]
    fn what_is_selected_counts() {
        assert!(selection("all", 0, None).has(3, 5, 99));
        let some = selection("8x4", 2, Some(4));
        let counts: Vec<usize> = (0..6).filter(|&step| some.has(4, 8, step)).collect();
        assert_eq!(counts, [2, 3]);
        assert!(!some.has(8, 4, 2));
    }

    #[test]
    fn what_averages_over_nothing_is_refused() {
        let known = [LayerSize { width: 16, height: 16 }, LayerSize { width: 8, height: 8 }];
        assert!(selection("8x8", 0, Some(10)).require(&known, 10).is_ok());
        for (selection, names, says) in [
            (selection("4x4", 0, None), "layers", "16x16, 8x8"),
            (selection("all", 0, Some(11)), "steps_to", "10 steps"),
            (selection("all", 10, None), "steps_from", "0 to 9"),
            (selection("all", 3, Some(3)), "steps_from", "0 to 2"),
        ] {
            match selection.require(&known, 10) {
                Err(Error::Argument { name, expected, .. }) => {
                    assert!(name == names && expected.contains(says), "{name}: {expected}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
