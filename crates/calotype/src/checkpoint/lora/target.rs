//! The weights that a layer of a file changes: one, or several that files have one below the other.

use std::collections::BTreeMap;
use std::fmt;

use super::Shapes;

/// Weights, or biases, of one component. The tensors of a file change the matrix of their rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Their names: the rows of the first come first.
    pub names: Vec<String>,
    /// Whether the two halves of the rows stand the other way round in the file.
    pub swapped: bool,
    /// How many columns are changed, from the first; `None` for all of them.
    pub columns: Option<usize>,
}

/// Numbers of weights by their names, row by row.
pub(super) type Parts = BTreeMap<String, Vec<f32>>;

impl Target {
    /// A weight as it is.
    pub fn one(name: impl Into<String>) -> Self {
        Self { names: vec![name.into()], swapped: false, columns: None }
    }

    /// The biases beside the weights.
    pub(super) fn bias(&self) -> Self {
        let bias = |name: &String| format!("{}.bias", name.strip_suffix(".weight").unwrap_or(name));
        Self { names: self.names.iter().map(bias).collect(), columns: None, ..self.clone() }
    }

    /// The shape of what the file changes; `None` if a weight is missing, or they have not the same columns.
    pub(super) fn shape(&self, shapes: &Shapes) -> Option<Vec<usize>> {
        let mut parts = self.names.iter().map(|name| shapes.get(name));
        let mut whole = parts.next()??.clone();
        for part in parts {
            let (rows, rest) = part?.split_first()?;
            let (sum, columns) = whole.split_first_mut()?;
            if columns != rest {
                return None;
            }
            *sum = sum.checked_add(*rows)?;
        }
        if self.swapped && !whole.first()?.is_multiple_of(2) {
            return None;
        }
        if let Some(columns) = self.columns {
            *whole.get_mut(1).filter(|all| **all >= columns)? = columns;
        }
        Some(whole)
    }

    /// The numbers as the file has them.
    ///
    /// - `rows`: of all weights together.
    pub(super) fn gather(&self, parts: &Parts, rows: usize) -> Vec<f32> {
        let own = self.names.iter().filter_map(|name| parts.get(name).map(Vec::as_slice));
        let mut whole = own.collect::<Vec<_>>().concat();
        if let Some(columns) = self.columns {
            let all = (whole.len() / rows.max(1)).max(1);
            whole = whole.chunks(all).flat_map(|row| &row[..columns]).copied().collect();
        }
        self.swap(&mut whole);
        whole
    }

    /// Puts back what [`Target::gather`] gave, after a change.
    pub(super) fn scatter(&self, mut whole: Vec<f32>, parts: &mut Parts) {
        self.swap(&mut whole);
        let mut rest = whole.as_slice();
        for name in &self.names {
            let Some(part) = parts.get_mut(name) else { continue };
            match self.columns.filter(|columns| *columns > 0) {
                Some(columns) => {
                    let all = (part.len() / (rest.len() / columns).max(1)).max(1);
                    for (to, row) in part.chunks_mut(all).zip(rest.chunks(columns)) {
                        to[..columns].copy_from_slice(row);
                    }
                }
                None => {
                    let (own, after) = rest.split_at(part.len().min(rest.len()));
                    part[..own.len()].copy_from_slice(own);
                    rest = after;
                }
            }
        }
    }

    fn swap(&self, whole: &mut [f32]) {
        if self.swapped {
            whole.rotate_left(whole.len() / 2);
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(names: &[&str], swapped: bool, columns: Option<usize>) -> Target {
        Target { names: names.iter().map(|name| (*name).to_owned()).collect(), swapped, columns }
    }

    #[test]
    fn what_is_gathered_is_put_back_in_its_place() {
        let numbers = |from: usize, count: usize| (from..from + count).map(|i| i as f32).collect::<Vec<_>>();
        let before: Parts = [("a".to_owned(), numbers(0, 4)), ("b".to_owned(), numbers(4, 2))].into();
        for (target, rows, expected) in [
            (target(&["a"], false, None), 2, numbers(0, 4)),
            (target(&["a", "b"], false, None), 3, numbers(0, 6)),
            (target(&["a"], true, None), 2, vec![2.0, 3.0, 0.0, 1.0]),
            (target(&["a"], false, Some(1)), 2, vec![0.0, 2.0]),
        ] {
            let mut parts = before.clone();
            let got = target.gather(&parts, rows);
            assert_eq!(got, expected, "{target}");
            target.scatter(got.iter().map(|x| x + 10.0).collect(), &mut parts);
            let changed: Vec<f32> = parts.values().flatten().copied().collect();
            let all: Vec<f32> = before.values().flatten().copied().collect();
            for (now, before) in changed.iter().zip(&all) {
                assert_eq!(now - before, if expected.contains(before) { 10.0 } else { 0.0 }, "{target}");
            }
        }
    }

    #[test]
    fn shapes_add_up_where_they_can() {
        let shapes: Shapes = [("a", vec![2, 3]), ("b", vec![4, 3]), ("c", vec![4, 2]), ("d", vec![3, 2])]
            .map(|(name, shape)| (name.to_owned(), shape))
            .into();
        let shape = |names: &[&str], swapped, columns| target(names, swapped, columns).shape(&shapes);
        assert_eq!(shape(&["a", "b"], false, None), Some(vec![6, 3]));
        assert_eq!(shape(&["b"], true, Some(2)), Some(vec![4, 2]));
        for (names, swapped, columns) in [
            (&["a", "c"][..], false, None),
            (&["a", "e"], false, None),
            (&["d"], true, None),
            (&["d"], false, Some(3)),
        ] {
            assert_eq!(shape(names, swapped, columns), None);
        }
    }
}
