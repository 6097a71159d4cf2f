//! Whether the tensors of a layer fit the weight that they change.

use std::path::Path;

use super::Shapes;
use super::change::Change;
use super::matrix::Matrix;
use crate::error::Error;

/// A tensor of the file that does not fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Misfit {
    tensor: String,
    target: String,
    expected: String,
    got: String,
}

impl Misfit {
    /// The error; `note` is what else is known about the file.
    pub(super) fn error(self, file: &Path, note: Option<String>) -> Error {
        let what = format!("`{}`: tensor `{}` for `{}`", file.display(), self.tensor, self.target);
        Error::shape(what, self.expected, self.got + &note.unwrap_or_default())
    }
}

type Result<T> = std::result::Result<T, Misfit>;

/// The weight that tensors are held against.
///
/// A 1×1 convolution and a linear layer are the same matrix; files for models of the one kind are right for the other.
#[derive(Clone, Copy)]
pub(super) struct Fit<'a> {
    /// The tensors of the file.
    pub tensors: &'a Shapes,
    /// Name of the weight.
    pub target: &'a str,
    /// Its shape: `[out, in]` or `[out, in, k, k]`; of a norm or a bias, `[out]`.
    pub shape: &'a [usize],
}

impl<'a> Fit<'a> {
    /// The rank that the scale is divided by, of a change that fits; `None` of one without a scale.
    pub(super) fn rank(self, change: &Change) -> Result<Option<usize>> {
        match change {
            Change::Difference(tensor) | Change::Replacement(tensor) => {
                if plain(self.of(tensor)?) == plain(self.shape) {
                    Ok(None)
                } else {
                    Err(self.misfit(tensor, list(self.shape)))
                }
            }
            _ if self.shape.len() < 2 => {
                let expected = format!("a weight of two or more axes, not {}", list(self.shape));
                Err(self.misfit(change.first_tensor(), expected))
            }
            Change::LowRank { down, up, mid } => self.low_rank(down, up, mid.as_deref()).map(Some),
            Change::Hadamard(first, second) => self.hadamard(first, second),
            Change::Kronecker(first, second) => self.kronecker(first, second),
            Change::Channels { weight, on_input } => self.channels(weight, on_input).map(|()| None),
        }
    }

    fn low_rank(self, down: &str, up: &str, mid: Option<&str>) -> Result<usize> {
        let (down_shape, up_shape) = (self.of(down)?, self.of(up)?);
        let (out, inputs, kernel) = (self.shape[0], self.shape[1], &self.shape[2..]);
        let rank = down_shape.first().copied().unwrap_or(0);
        let wanted = [&[rank, inputs][..], if mid.is_some() { &[] } else { kernel }].concat();
        if rank == 0 || plain(down_shape) != plain(&wanted) {
            return Err(self.misfit(down, format!("[rank, {}]", joined(&wanted[1..]))));
        }
        if let Some(mid) = mid {
            let wanted = [&[rank, rank], kernel].concat();
            if plain(self.of(mid)?) != plain(&wanted) {
                return Err(self.misfit(mid, list(&wanted)));
            }
        }
        if plain(up_shape) != [out, rank] {
            return Err(self.misfit(up, list(&[out, rank])));
        }
        Ok(rank)
    }

    fn hadamard(self, first: &Matrix, second: &Matrix) -> Result<Option<usize>> {
        let (out, columns) = (self.shape[0], product(&self.shape[1..]));
        for matrix in [first, second] {
            let expected = || format!("a matrix of {out} x {columns}");
            match self.extent(matrix, self.kernel())? {
                (got, _) if got != out => return Err(self.misfit(matrix.of_rows(), expected())),
                (_, got) if got != columns => return Err(self.misfit(matrix.of_columns(), expected())),
                _ => {}
            }
        }
        self.rank_of(first)
    }

    fn kronecker(self, first: &Matrix, second: &Matrix) -> Result<Option<usize>> {
        let (out, columns, places) = (self.shape[0], product(&self.shape[1..]), product(self.kernel()));
        let (first_rows, first_columns) = self.extent(first, &[])?;
        let (second_rows, second_columns) = self.extent(second, self.kernel())?;
        let expected = || {
            let of_first = first.of_rows();
            format!(
                "a matrix that is {out} x {columns} with the {first_rows} x {first_columns} of `{of_first}`"
            )
        };
        if first_rows.checked_mul(second_rows) != Some(out) {
            return Err(self.misfit(second.of_rows(), expected()));
        }
        let whole_kernels = second_columns.checked_rem(places) == Some(0);
        if first_columns.checked_mul(second_columns) != Some(columns) || !whole_kernels {
            return Err(self.misfit(second.of_columns(), expected()));
        }
        Ok(self.rank_of(second)?.or(self.rank_of(first)?))
    }

    /// On which side the channels are, the file's numbers say and not its shapes.
    fn channels(self, weight: &str, on_input: &str) -> Result<()> {
        self.one_number(on_input)?;
        let (out, inputs) = (self.shape[0], self.shape[1]);
        if [out, inputs].contains(&product(self.of(weight)?)) {
            return Ok(());
        }
        Err(self
            .misfit(weight, format!("{out} numbers for the output's channels or {inputs} for the input's")))
    }

    /// Rows and columns of a matrix whose tensors fit each other and the kernel.
    fn extent(self, matrix: &Matrix, kernel: &[usize]) -> Result<(usize, usize)> {
        match matrix {
            Matrix::Whole(tensor) => match plain(self.of(tensor)?) {
                [rows, columns] => Ok((*rows, *columns)),
                [rows, inputs, k @ ..] if k == kernel => Ok((*rows, inputs.saturating_mul(product(k)))),
                _ => Err(self.misfit(tensor, "a matrix, or a kernel of the weight's size")),
            },
            Matrix::Product { a, b } => match (plain(self.of(a)?), plain(self.of(b)?)) {
                ([rows, rank], [inner, columns]) if rank == inner && *rank > 0 => Ok((*rows, *columns)),
                (_, [inner, _]) => {
                    Err(self.misfit(a, format!("[rows, {inner}], as `{b}` is [{inner}, columns]")))
                }
                _ => Err(self.misfit(b, "[rank, columns]")),
            },
            Matrix::Tucker { a, b, core } => {
                match (plain(self.of(a)?), plain(self.of(b)?), plain(self.of(core)?)) {
                    ([p, rows], [q, inputs], [p_of_core, q_of_core, k @ ..])
                        if p == p_of_core && q == q_of_core && k == kernel && *p > 0 && *q > 0 =>
                    {
                        Ok((*rows, inputs.saturating_mul(product(k))))
                    }
                    _ => {
                        let axes = ["rank of a".into(), "rank of b".into()].into_iter();
                        let axes: Vec<String> = axes.chain(kernel.iter().map(usize::to_string)).collect();
                        Err(self.misfit(core, format!("[{}]", axes.join(", "))))
                    }
                }
            }
        }
    }

    /// The rank of a matrix in factors.
    fn rank_of(self, matrix: &Matrix) -> Result<Option<usize>> {
        match matrix {
            Matrix::Whole(_) => Ok(None),
            Matrix::Product { b, .. } | Matrix::Tucker { b, .. } => Ok(self.of(b)?.first().copied()),
        }
    }

    /// Whether DoRA's lengths are those of rows and not of columns, by their shape.
    pub(super) fn is_of_rows(self, tensor: &str) -> Result<bool> {
        let lengths = self.of(tensor)?;
        let count = product(lengths);
        match self.shape {
            [out, ..] if count == *out && lengths.first() == Some(&count) => Ok(true),
            [_, inputs, ..] if count == *inputs && lengths.first() == Some(&1) => Ok(false),
            _ => Err(self.misfit(tensor, "a number for each row `[out, 1, …]` or each column `[1, in, …]`")),
        }
    }

    /// Whether there is one number for each row.
    pub(super) fn require_rows(self, tensor: &str) -> Result<()> {
        let rows = self.shape.first().copied().unwrap_or(0);
        if product(self.of(tensor)?) == rows {
            Ok(())
        } else {
            Err(self.misfit(tensor, format!("{rows} numbers")))
        }
    }

    /// Whether a tensor is one number.
    pub(super) fn one_number(self, tensor: &str) -> Result<()> {
        let one = self.of(tensor)?.iter().all(|size| *size == 1);
        if one { Ok(()) } else { Err(self.misfit(tensor, "one number")) }
    }

    /// The kernel's sides; none of a linear layer and a 1×1 convolution.
    fn kernel(self) -> &'a [usize] {
        plain(self.shape).get(2..).unwrap_or_default()
    }

    fn of(self, tensor: &str) -> Result<&'a [usize]> {
        self.tensors.get(tensor).map(Vec::as_slice).ok_or_else(|| self.misfit(tensor, "a tensor"))
    }

    /// The fault of a tensor.
    pub(super) fn misfit(self, tensor: &str, expected: impl Into<String>) -> Misfit {
        let got = self.tensors.get(tensor).map_or("nothing".into(), |shape| list(shape));
        Misfit { tensor: tensor.to_owned(), target: self.target.to_owned(), expected: expected.into(), got }
    }
}

/// A shape without the ones of a 1×1 kernel.
fn plain(shape: &[usize]) -> &[usize] {
    if matches!(shape, [_, _, 1, 1]) { &shape[..2] } else { shape }
}

/// As many places as a shape has; the largest number if they cannot be counted.
fn product(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |product, size| product.saturating_mul(*size))
}

fn list(shape: &[usize]) -> String {
    format!("{shape:?}")
}

fn joined(sizes: &[usize]) -> String {
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}
