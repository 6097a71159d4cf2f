//! Taking keys apart.

use std::collections::BTreeMap;

/// Far above the number of blocks or layers of any model, and far below where arithmetic overflows.
const MAX_INDEX: usize = 10_000;

/// The same for dimensions of tensors.
const MAX_SIDE: usize = 1 << 30;

/// `weight` or `bias`.
pub(super) fn is_parameter(text: &str) -> bool {
    text == "weight" || text == "bias"
}

/// The number after `prefix` and what follows the next dot: `down.3.block` is (3, `block`) after `down.`.
pub(super) fn numbered<'a>(text: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = text.strip_prefix(prefix)?.split_once('.')?;
    let value = number.parse::<usize>().ok()?;
    // `007` and `+7` are other keys than `7`.
    (value.to_string() == number && value <= MAX_INDEX).then_some((value, rest))
}

/// `layer.weight` with the layer's name looked up in the first column of `pairs` and replaced by the second.
pub(super) fn renamed(text: &str, pairs: &[(&str, &str)]) -> Option<String> {
    let (layer, parameter) = text.rsplit_once('.')?;
    let (_, other) = pairs.iter().find(|(name, _)| *name == layer)?;
    is_parameter(parameter).then(|| format!("{other}.{parameter}"))
}

/// [`renamed`] from the second column to the first.
pub(super) fn renamed_back(text: &str, pairs: &[(&str, &str)]) -> Option<String> {
    let (layer, parameter) = text.rsplit_once('.')?;
    let (other, _) = pairs.iter().find(|(_, name)| *name == layer)?;
    is_parameter(parameter).then(|| format!("{other}.{parameter}"))
}

/// Shapes of the keys under a prefix.
#[derive(Clone, Copy)]
pub(super) struct Shapes<'a> {
    shapes: &'a BTreeMap<String, Vec<usize>>,
    prefix: &'a str,
}

impl<'a> Shapes<'a> {
    pub(super) fn new(shapes: &'a BTreeMap<String, Vec<usize>>, prefix: &'a str) -> Self {
        Self { shapes, prefix }
    }

    /// Whether any key has the prefix.
    pub(super) fn any(&self) -> bool {
        self.any_under("")
    }

    /// Whether any key has the prefix and then `name`.
    pub(super) fn any_under(&self, name: &str) -> bool {
        let start = format!("{}{name}", self.prefix);
        self.shapes.range(start.clone()..).next().is_some_and(|(key, _)| key.starts_with(&start))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a [usize]> {
        self.shapes.get(&format!("{}{name}", self.prefix)).map(Vec::as_slice)
    }

    /// Dimension `axis` of `name`, at least 1.
    pub(super) fn side(&self, name: &str, axis: usize) -> Result<usize, String> {
        let key = format!("{}{name}", self.prefix);
        let shape = self.get(name).ok_or_else(|| format!("`{key}`: expected in the file, got nothing"))?;
        match shape.get(axis) {
            Some(&side) if (1..=MAX_SIDE).contains(&side) => Ok(side),
            Some(side) => Err(format!("`{key}`: expected 1 to {MAX_SIDE} in dimension {axis}, got {side}")),
            None => Err(format!("`{key}`: expected more than {axis} dimensions, got {shape:?}")),
        }
    }

    /// How many of `before0after`, `before1after`, … there are without a gap.
    pub(super) fn count(&self, before: &str, after: &str) -> usize {
        (0..).take_while(|i| self.has(&format!("{before}{i}{after}"))).count()
    }
}

/// The most groups that divide every number of channels, 32 at most: the original code has 32 everywhere.
pub(super) fn norm_groups(channels: &[usize]) -> usize {
    largest_divisor(channels, 32)
}

/// The largest number up to `most` that divides all `numbers`.
pub(super) fn largest_divisor(numbers: &[usize], most: usize) -> usize {
    (1..=most).rev().find(|d| numbers.iter().all(|n| n % d == 0)).unwrap_or(1)
}

/// Heads of 64 channels, as in all of OpenCLIP, SD 2 and SDXL; one head where 64 does not divide.
pub(super) fn heads_of_64(channels: usize) -> usize {
    match channels % 64 {
        0 => channels / 64,
        _ => 1,
    }
}
