//! Products of symmetric matrices, of which one half is computed.
//!
//! A matrix `[side, side]` lies as packed B of [`product`]: in panels of [`Isa::panel_width`] columns, the last one filled
//! up with zeros. A product reads its rows there as well, so that a result is an operand as it is.

use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels;
use crate::product::{self, Columns, Product, Start, Term};

/// Rows of a panel that stay in the first level cache while all rows of A pass by.
const DEPTH: usize = 128;

/// What all symmetric matrices of one size share.
pub struct Symmetric {
    isa: Isa,
    side: usize,
    /// Columns of a panel.
    width: usize,
    /// A row of a matrix, from panel to panel.
    terms: Vec<Term>,
}

/// How the numbers of a matrix `[side, length]` lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Row after row.
    Rows,
    /// Column after column.
    Columns,
}

impl Symmetric {
    /// Matrices `[side, side]`.
    pub fn new(isa: Isa, side: usize) -> Self {
        let width = isa.panel_width();
        let term = |first| Term { a: first * side, b: first, length: width.min(side - first) };
        Self { isa, side, width, terms: (0..side).step_by(width).map(term).collect() }
    }

    /// A matrix of any numbers.
    pub fn any(&self) -> Buffer {
        Buffer::any(self.side.next_multiple_of(self.width) * self.side)
    }

    /// `m` ← m + a·I.
    pub fn add_to_diagonal(&self, a: f32, m: &mut [f32]) {
        for (panel, m) in m.chunks_exact_mut(self.side * self.width).enumerate() {
            let diagonal = m[panel * self.width * self.width..].iter_mut().step_by(self.width + 1);
            diagonal.take(self.width).for_each(|x| *x += a);
        }
    }

    /// `out` = `left`·`right`, of matrices that commute.
    pub fn product(&self, left: &[f32], right: &[f32], out: &mut [f32]) {
        let numbers = self.side * self.width;
        for (panel, out) in out.chunks_exact_mut(numbers).enumerate() {
            if (panel + 1) * self.width > self.side {
                out.fill(0.0);
            }
            let b = Columns::packed(self.isa, &right[panel * numbers..], self.side);
            let product = self.of_panel(self.width, 1, &self.terms, b, Start::Zero);
            self.lower(panel, &product, left, out);
        }
        self.mirror(out);
    }

    /// `out` = x·xᵀ of x `[side, length]`.
    pub fn gram(&self, x: &[f32], order: Order, out: &mut [f32]) {
        let (side, width, length) = (self.side, self.width, x.len() / self.side);
        let [row, step] = if order == Order::Rows { [length, 1] } else { [1, side] };
        let mut packed = Buffer::any(DEPTH.min(length) * width);
        out.fill(0.0);
        for first in (0..length).step_by(DEPTH) {
            let depth = DEPTH.min(length - first);
            let packed = &mut packed[..depth * width];
            let terms = [Term { a: first * step, b: 0, length: depth }];
            for (panel, out) in out.chunks_exact_mut(side * width).enumerate() {
                let columns = width.min(side - panel * width);
                if columns < width {
                    packed.fill(0.0);
                }
                let from = &x[panel * width * row + first * step..];
                if order == Order::Rows {
                    panels::pack_panel_transposed(self.isa, packed, columns, from, length);
                } else {
                    panels::pack_panel(self.isa, packed, columns, from, side);
                }
                let b = Columns::packed(self.isa, packed, depth);
                self.lower(panel, &self.of_panel(row, step, &terms, b, Start::Accumulate), x, out);
            }
        }
        self.mirror(out);
    }

    /// `out` = `m`·x of x `[side, length]`, in the order of x.
    pub fn times(&self, m: &[f32], x: &[f32], order: Order, out: &mut [f32]) {
        let (side, width, length) = (self.side, self.width, x.len() / self.side);
        if order == Order::Columns {
            let terms = [Term { a: 0, b: 0, length: side }];
            let b = Columns::packed(self.isa, m, side);
            let product = self.of_panel(side, 1, &terms, b, Start::Zero);
            let product = Product { rows: length, columns: side, c_row: side, ..product };
            return product::run(self.isa, &product, x, out, &[(0, 0)]);
        }
        let mut packed = Buffer::any(side * width);
        for first in (0..length).step_by(width) {
            let columns = width.min(length - first);
            panels::pack_panel(self.isa, &mut packed, columns, &x[first..], length);
            let b = Columns::packed(self.isa, &packed, side);
            let product = self.of_panel(width, 1, &self.terms, b, Start::Zero);
            let product = Product { rows: side, columns, c_row: length, ..product };
            product::run(self.isa, &product, m, out, &[(0, first)]);
        }
    }

    /// A product whose C is a panel; how many of its rows and columns is yet to be said.
    fn of_panel<'a>(
        &self,
        a_row: usize,
        a_step: usize,
        terms: &'a [Term],
        b: Columns<'a>,
        start: Start<'a>,
    ) -> Product<'a> {
        Product { a_row, a_step, terms, b, rows: 0, columns: 0, c_row: self.width, start }
    }

    /// Rows of a panel from the diagonal down. The first of them have half of their columns to the right of it.
    fn lower(&self, panel: usize, product: &Product, a: &[f32], out: &mut [f32]) {
        let (first, lanes) = (panel * self.width, self.isa.lanes());
        let rows = self.side - first;
        let origin = |row| [(row * product.a_row, row * self.width)];
        let top = Product { rows: rows.min(lanes), columns: lanes, ..*product };
        product::run(self.isa, &top, a, out, &origin(first));
        if rows > lanes {
            let rest = Product { rows: rows - lanes, columns: self.width, ..*product };
            product::run(self.isa, &rest, a, out, &origin(first + lanes));
        }
    }

    /// Copies what is below the diagonal to above it.
    fn mirror(&self, m: &mut [f32]) {
        let (side, width) = (self.side, self.width);
        let (numbers, block) = (side * width, width * width);
        for panel in 0..side.div_ceil(width) {
            let columns = width.min(side - panel * width);
            let (before, mine) = m.split_at_mut(panel * numbers);
            let mine = &mut mine[..numbers];
            for (i, from) in before.chunks_exact(numbers).enumerate() {
                let to = &mut mine[i * block..][..block];
                panels::pack_panel_transposed(self.isa, to, columns, &from[panel * block..], width);
            }
            let diagonal = &mut mine[panel * block..];
            for row in 1..columns {
                for column in 0..row {
                    diagonal[column * width + row] = diagonal[row * width + column];
                }
            }
        }
    }
}
