//! What happens to a tensor between a single file and a diffusers folder.

/// What is done to a tensor of a single file to get the component's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// Rows of third 0, 1 or 2: OpenCLIP packs the projections to queries, keys and values, `[3 C, …]`,
    /// of which each component tensor is `[C, …]`.
    Third(usize),
    /// `[C, C, 1, 1]` or `[C, C, 1]` to `[C, C]`; `[C, C]` stays.
    Squeeze,
    /// `[M, N]` to `[N, M]`.
    Transpose,
}

impl Change {
    /// The shape after the change, of a tensor of `shape` in the single file.
    ///
    /// # Errors
    /// Text naming the shape that was expected.
    pub fn shape(self, shape: &[usize]) -> Result<Vec<usize>, String> {
        match (self, shape) {
            (Change::None, _) => Ok(shape.to_vec()),
            (Change::Third(_), [rows, rest @ ..]) if rows % 3 == 0 => {
                Ok(std::iter::once(rows / 3).chain(rest.iter().copied()).collect())
            }
            (Change::Third(_), _) => Err(format!("expected a first dimension divisible by 3, got {shape:?}")),
            (Change::Squeeze, [m, n] | [m, n, 1] | [m, n, 1, 1]) => Ok(vec![*m, *n]),
            (Change::Squeeze, _) => Err(format!("expected [C, C] or [C, C, 1, 1], got {shape:?}")),
            (Change::Transpose, [m, n]) => Ok(vec![*n, *m]),
            (Change::Transpose, _) => Err(format!("expected a matrix, got {shape:?}")),
        }
    }

    /// The component's tensor, with its shape, of a tensor of the single file; `values` row by row.
    ///
    /// # Errors
    /// As [`Change::shape`]; text if there are not as many values as the shape says.
    pub fn apply<T: Copy>(self, shape: &[usize], values: &[T]) -> Result<(Vec<usize>, Vec<T>), String> {
        let changed = self.shape(shape)?;
        check_count(shape, values.len())?;
        let values = match (self, shape) {
            (Change::Third(third), _) => {
                let count = values.len() / 3;
                let part = third.checked_mul(count).and_then(|from| values.get(from..)?.get(..count));
                part.ok_or(format!("expected third 0, 1 or 2, got {third}"))?.to_vec()
            }
            (Change::Transpose, [m, n]) => transposed(*m, *n, values),
            _ => values.to_vec(),
        };
        Ok((changed, values))
    }

    /// The single file's tensor, with its shape, of a component's.
    ///
    /// # Errors
    /// Text for a shape that does not fit, and for [`Change::Third`], which needs its two siblings
    /// ([`join_thirds`]).
    pub fn undo<T: Copy>(self, shape: &[usize], values: &[T]) -> Result<(Vec<usize>, Vec<T>), String> {
        check_count(shape, values.len())?;
        match (self, shape) {
            (Change::None, _) => Ok((shape.to_vec(), values.to_vec())),
            (Change::Squeeze, [m, n] | [m, n, 1] | [m, n, 1, 1]) => Ok((vec![*m, *n, 1, 1], values.to_vec())),
            (Change::Transpose, [m, n]) => Ok((vec![*n, *m], transposed(*m, *n, values))),
            (Change::Third(third), _) => Err(format!("third {third} alone: expected three tensors to join")),
            _ => Err(format!("expected a matrix, got {shape:?}")),
        }
    }
}

/// OpenCLIP's packed projection `[3 C, …]` of those to queries, keys and values, `[C, …]` each.
///
/// # Errors
/// Text if the three shapes differ or do not fit the values.
pub fn join_thirds<T: Copy>(thirds: [(&[usize], &[T]); 3]) -> Result<(Vec<usize>, Vec<T>), String> {
    let shape = thirds[0].0;
    for (other, values) in thirds {
        if other != shape {
            return Err(format!(
                "queries are {shape:?}: expected the same for keys and values, got {other:?}"
            ));
        }
        check_count(other, values.len())?;
    }
    let [rows, rest @ ..] = shape else { return Err("expected at least one dimension, got a number".into()) };
    let rows = rows.checked_mul(3).ok_or(format!("{shape:?} is too large"))?;
    let shape = std::iter::once(rows).chain(rest.iter().copied()).collect();
    Ok((shape, thirds.into_iter().flat_map(|(_, values)| values.iter().copied()).collect()))
}

fn check_count(shape: &[usize], count: usize) -> Result<(), String> {
    let expected = shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
    if expected == Some(count) {
        Ok(())
    } else {
        Err(format!("{shape:?}: expected as many values as the shape says, got {count}"))
    }
}

/// `[m, n]` to `[n, m]`.
fn transposed<T: Copy>(m: usize, n: usize, values: &[T]) -> Vec<T> {
    (0..n).flat_map(|column| (0..m).map(move |row| values[row * n + column])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    #[test]
    fn changes_are_undone() {
        let values = [1, 2, 3, 4, 5, 6];
        let (shape, turned) = Change::Transpose.apply(&[2, 3], &values).expect("a matrix");
        assert_eq!((shape.as_slice(), turned.as_slice()), ([3, 2].as_slice(), [1, 4, 2, 5, 3, 6].as_slice()));
        let back = Change::Transpose.undo(&shape, &turned).expect("a matrix");
        assert_eq!(back, (vec![2, 3], values.to_vec()));

        let thirds = [0, 1, 2].map(|i| Change::Third(i).apply(&[3, 2], &values).expect("three rows"));
        assert_eq!(thirds[1], (vec![1, 2], vec![3, 4]));
        let joined = join_thirds([0, 1, 2].map(|i| (thirds[i].0.as_slice(), thirds[i].1.as_slice())));
        assert_eq!(joined.expect("equal shapes"), (vec![3, 2], values.to_vec()));

        let squeezed = Change::Squeeze.apply(&[2, 3, 1, 1], &values).expect("a 1×1 convolution");
        assert_eq!(squeezed.0, [2, 3]);
        assert_eq!(Change::Squeeze.undo(&squeezed.0, &squeezed.1).expect("a matrix").0, [2, 3, 1, 1]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_refuses(Change::Third(0).apply(&[4, 1], &[0; 4]), "expected a first dimension divisible by 3");
        assert_refuses(Change::Third(3).apply(&[3], &[0; 3]), "expected third 0, 1 or 2, got 3");
        assert_refuses(Change::Squeeze.apply(&[2, 2, 3, 3], &[0; 36]), "expected [C, C] or [C, C, 1, 1]");
        assert_refuses(Change::Transpose.apply(&[2, 3], &[0; 5]), "[2, 3]: expected as many values");
        assert_refuses(
            join_thirds([(&[1][..], &[0][..]), (&[1], &[0]), (&[2], &[0, 0])]),
            "queries are [1]: expected the same for keys and values, got [2]",
        );
    }
}
