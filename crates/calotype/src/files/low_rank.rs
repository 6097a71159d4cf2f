//! A low-rank sum beside numbers that stay packed: W + up · down, made where W is unpacked.

use std::ops::Range;
use std::sync::Arc;

/// up · down, which is added to some rows of a matrix.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[all rows, rank]`.
    up: Arc<[f32]>,
    /// `[rank, columns]`.
    down: Arc<[f32]>,
    rank: usize,
    columns: usize,
    /// Which of `up`'s rows are the matrix's.
    rows: Range<usize>,
}

impl LowRank {
    /// - `up`: `[rows, rank]`; `down`: `[rank, columns]`.
    ///
    /// `None` if there are not as many numbers, or none.
    pub fn new(up: Arc<[f32]>, down: Arc<[f32]>, rank: usize) -> Option<Self> {
        let fits =
            rank > 0 && !down.is_empty() && up.len().is_multiple_of(rank) && down.len().is_multiple_of(rank);
        let (rows, columns) = (0..up.len().checked_div(rank)?, down.len().checked_div(rank)?);
        fits.then_some(Self { up, down, rank, columns, rows })
    }

    /// The sum of some of the rows; `None` for rows that it does not have.
    pub fn rows(&self, range: Range<usize>) -> Option<Self> {
        let (first, end) = (self.rows.start + range.start, self.rows.start + range.end);
        (range.start <= range.end && end <= self.rows.end).then(|| Self { rows: first..end, ..self.clone() })
    }

    /// How many rows and columns it has.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows.len(), self.columns]
    }

    /// Whether no number, and no sum, is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        let largest = |numbers: &[f32]| numbers.iter().fold(0.0_f64, |most, x| most.max(f64::from(x.abs())));
        let any_nan = self.up.iter().chain(&*self.down).any(|x| x.is_nan());
        !any_nan && largest(&self.up) * largest(&self.down) * self.rank as f64 <= f64::from(f32::MAX)
    }

    /// Adds what belongs to the numbers from column `first` on of a row: in the order in which a merge adds it, so that the
    /// result has the same bits.
    pub fn add(&self, row: usize, first: usize, numbers: &mut [f32]) {
        let up = &self.up[(self.rows.start + row) * self.rank..][..self.rank];
        for (up, down) in up.iter().zip(self.down.chunks(self.columns)) {
            let down = &down[first..][..numbers.len()];
            numbers.iter_mut().zip(down).for_each(|(w, down)| *w += up * down);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_where_they_belong() {
        // up · down = [[11, 22, 33], [2, 4, 6], [10, 20, 30]]
        let up: Arc<[f32]> = [1.0, 1.0, 2.0, 0.0, 0.0, 1.0].into();
        let down: Arc<[f32]> = [1.0, 2.0, 3.0, 10.0, 20.0, 30.0].into();
        let whole = LowRank::new(up, down, 2).unwrap();
        assert_eq!(whole.shape(), [3, 3]);
        let mut row = [0.5, 0.5];
        whole.add(0, 1, &mut row);
        assert_eq!(row, [22.5, 33.5]);
        let last = whole.rows(1..3).unwrap().rows(1..2).unwrap();
        let mut row = [0.0; 3];
        last.add(0, 0, &mut row);
        assert_eq!((last.shape(), row), ([1, 3], [10.0, 20.0, 30.0]));
        assert!(whole.rows(2..4).is_none() && whole.is_finite());
    }

    #[test]
    fn what_does_not_fit_or_is_no_number_is_found() {
        let of = |up: &[f32], down: &[f32], rank| LowRank::new(up.into(), down.into(), rank);
        assert!(of(&[1.0; 3], &[1.0; 4], 2).is_none());
        assert!(of(&[1.0; 4], &[1.0; 3], 2).is_none());
        assert!(of(&[1.0], &[1.0], 0).is_none() && of(&[1.0], &[], 1).is_none());
        for bad in [f32::NAN, f32::INFINITY, 1e38] {
            assert!(!of(&[bad, 1.0], &[4.0, 4.0], 1).unwrap().is_finite(), "{bad}");
        }
    }
}
