//! Which of the U-Net's layers, of their heads and of the steps heat maps are averaged over.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
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

/// Heads of each layer by their number; as text `all`, or numbers such as `0,3`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Heads {
    /// Every head.
    #[default]
    All,
    /// Those of these numbers, counted from 0. A layer that has fewer counts with those that it has.
    Of(Vec<usize>),
}

/// Layers, heads and steps. All by default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Which layers.
    pub layers: Layers,
    /// Which of their heads.
    pub heads: Heads,
    /// The first step, counted from 0.
    pub from: usize,
    /// The step before which they end; the last one's end where there is none.
    pub to: Option<usize>,
}

/// Layers of one size: what there is to choose among.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownLayer {
    /// Their size.
    pub size: LayerSize,
    /// Heads of each.
    pub heads: usize,
}

impl Selection {
    /// Whether the attention of such a layer at `step` counts.
    pub fn has(&self, height: usize, width: usize, step: usize) -> bool {
        let size = LayerSize { width, height };
        self.layers.has(size) && step >= self.from && self.to.is_none_or(|to| step < to)
    }

    /// The chosen steps of `steps`.
    pub fn steps(&self, steps: usize) -> Range<usize> {
        self.from..self.to.unwrap_or(steps)
    }

    /// Refuses what would average over nothing. `known`: the layers that there are; `steps`: of the sampler.
    ///
    /// # Errors
    /// `Error::Argument` with the sizes that there are, how many heads, or the range of steps; or for a model that has no
    /// such layer.
    pub fn require(&self, known: &[KnownLayer], steps: usize) -> Result<()> {
        if known.is_empty() {
            let expected = "one whose denoiser reads the prompt by cross-attention";
            return Err(Error::argument("model", expected, "one without cross-attention"));
        }
        if let Layers::Of(sizes) = &self.layers
            && let Some(unknown) = sizes.iter().find(|size| !known.iter().any(|layer| layer.size == **size))
        {
            let names: Vec<String> = known.iter().map(|layer| layer.size.to_string()).collect();
            return Err(Error::argument("layers", format!("all, or of {}", names.join(", ")), unknown));
        }
        self.require_heads(known)?;
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

    /// Refuses a head that no chosen layer has, or that is named twice.
    fn require_heads(&self, known: &[KnownLayer]) -> Result<()> {
        let Heads::Of(heads) = &self.heads else { return Ok(()) };
        let chosen: Vec<&KnownLayer> = known.iter().filter(|layer| self.layers.has(layer.size)).collect();
        let most = chosen.iter().map(|layer| layer.heads).max().unwrap_or(0);
        if let Some(unknown) = heads.iter().find(|&&head| head >= most) {
            let each = chosen.iter().map(|layer| format!("{} at {}", layer.heads, layer.size));
            let there = each.collect::<Vec<String>>().join(", ");
            let expected = format!("all, or of 0 to {} (heads: {there})", most.saturating_sub(1));
            return Err(Error::argument("heads", expected, unknown));
        }
        match heads.iter().enumerate().find(|(i, head)| heads[..*i].contains(head)) {
            Some((_, twice)) => Err(Error::argument("heads", "each once", format!("{twice} twice"))),
            None => Ok(()),
        }
    }
}

impl Layers {
    fn has(&self, size: LayerSize) -> bool {
        match self {
            Self::All => true,
            Self::Of(sizes) => sizes.contains(&size),
        }
    }
}

impl Heads {
    /// How many of a layer's first heads have to be seen; it may have fewer.
    pub fn first(&self, heads: usize) -> usize {
        match self {
            Self::All => heads,
            Self::Of(chosen) => chosen.iter().max().map_or(0, |last| last + 1),
        }
    }

    /// Those of `heads` consecutive blocks of `values` that are chosen.
    pub fn of<'a>(&self, values: &'a [f32], heads: usize) -> Cow<'a, [f32]> {
        let Self::Of(chosen) = self else { return Cow::Borrowed(values) };
        let each = values.len() / heads.max(1);
        let there = chosen.iter().filter(|&&head| head < heads);
        Cow::Owned(there.flat_map(|head| &values[head * each..][..each]).copied().collect())
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

impl fmt::Display for Heads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Of(heads) => f.write_str(&heads.iter().map(usize::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

impl FromStr for Heads {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self::All);
        }
        let heads: Option<Vec<usize>> = text.split(',').map(|head| head.trim().parse().ok()).collect();
        heads
            .map(Self::Of)
            .ok_or_else(|| Error::argument("heads", "all, or numbers from 0 such as 0,3", text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(layers: &str, from: usize, to: Option<usize>) -> Selection {
        Selection { layers: layers.parse().unwrap(), heads: Heads::All, from, to }
    }

    /// 16x16 with 2 heads, 8x8 with 4.
    fn known() -> [KnownLayer; 2] {
        [(16, 2), (8, 4)]
            .map(|(side, heads)| KnownLayer { size: LayerSize { width: side, height: side }, heads })
    }

    #[test]
    fn heads_are_read_as_they_are_written() {
        for text in ["all", "0", "0,3"] {
            assert_eq!(text.parse::<Heads>().unwrap().to_string(), text);
        }
        for text in ["", "-1", "0,", "a"] {
            assert!(matches!(text.parse::<Heads>(), Err(Error::Argument { .. })), "{text}");
        }
    }

    #[test]
    fn a_layer_counts_with_the_chosen_heads_that_it_has() {
        let some = Heads::Of(vec![2, 0]);
        let values = [0.0, 0.1, 1.0, 1.1, 2.0, 2.1, 3.0, 3.1]; // 4 heads
        assert_eq!(some.of(&values, 4).to_vec(), [2.0, 2.1, 0.0, 0.1]);
        assert_eq!(some.of(&values[..4], 2).to_vec(), [0.0, 0.1]);
        assert!(Heads::Of(vec![3]).of(&values[..4], 2).is_empty());
        assert_eq!((some.first(8), some.first(2), Heads::All.first(8)), (3, 3, 8));
    }

    #[test]
    fn heads_that_there_are_not_are_refused() {
        let require = |layers: &str, heads: &[usize]| {
            let selection = Selection { heads: Heads::Of(heads.to_vec()), ..selection(layers, 0, None) };
            selection.require(&known(), 10)
        };
        assert!(require("all", &[0, 3]).is_ok());
        assert!(require("16x16", &[1]).is_ok());
        for (layers, heads, says) in [
            ("all", &[4][..], "heads: expected all, or of 0 to 3 (heads: 2 at 16x16, 4 at 8x8), got 4"),
            ("16x16", &[0, 3], "heads: expected all, or of 0 to 1 (heads: 2 at 16x16), got 3"),
            ("all", &[1, 1], "heads: expected each once, got 1 twice"),
        ] {
            assert_eq!(require(layers, heads).unwrap_err().to_string(), says);
        }
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
        let nothing = selection("all", 0, None).require(&[], 10).unwrap_err();
        assert!(nothing.to_string().starts_with("model: expected one whose denoiser reads"), "{nothing}");
        let known = known();
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
