//! Values of a config that differ from level to level.

use serde::{Deserialize, Serialize};

/// One value for all levels, or one for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerLevel {
    /// The same everywhere.
    All(usize),
    /// Finest level first.
    Each(Vec<usize>),
}

impl PerLevel {
    /// The value at `level`, 0 the finest; `validate` has checked that a list has every level.
    pub fn at(&self, level: usize) -> usize {
        match self {
            PerLevel::All(value) => *value,
            PerLevel::Each(values) => values[level],
        }
    }
}

/// Transformer blocks of one level: the same in each of its transformers, or a number for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Depth {
    /// The same in each.
    Same(usize),
    /// One for each transformer of the level.
    Each(Vec<usize>),
}

impl Depth {
    /// That of transformer `i`; 0 where a list does not have it (`validate` refuses that).
    fn at(&self, i: usize) -> usize {
        match self {
            Depth::Same(depth) => *depth,
            Depth::Each(depths) => depths.get(i).copied().unwrap_or(0),
        }
    }
}

/// Transformer blocks of all levels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Depths {
    /// The same everywhere.
    All(usize),
    /// One entry for each level.
    Each(Vec<Depth>),
}

impl Depths {
    /// Those of transformer `i` of entry `level`; 0 where a list does not have it (`validate` refuses that).
    pub fn at(&self, level: usize, i: usize) -> usize {
        match self {
            Depths::All(depth) => *depth,
            Depths::Each(depths) => depths.get(level).map_or(0, |depth| depth.at(i)),
        }
    }
}
