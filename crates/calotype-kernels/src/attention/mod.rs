//! Multi-head attention over rows of heads, forward and backward.

mod backward;
mod forward;

use crate::amx;
use crate::elementwise::add_assign_piece;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::{pack_columns, pack_rows};
use crate::product::{self, Columns, Product, Start, Term};
use crate::softmax::{LANES, exponentials};

pub use backward::{Upstream, backward};
pub use forward::{Attended, forward};

/// Queries whose probabilities are in memory at a time.
const QUERIES: usize = 64;

/// Sizes of attention from `[B, N, heads·d]` queries to `[B, L, heads·d]` keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// N.
    pub queries: usize,
    /// L.
    pub keys: usize,
    /// Number of heads.
    pub heads: usize,
    /// d.
    pub head_width: usize,
    /// Query i sees keys 0 to i only.
    pub causal: bool,
}

impl AttentionShape {
    fn width(&self) -> usize {
        self.heads * self.head_width
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_width as f32).sqrt()
    }

    /// Numbers in a row of scores: one for each key, and what fills up the last [`LANES`]. No kernel of a softmax meets
    /// a rest, and no product stores a part of a vector.
    fn row(&self) -> usize {
        self.keys.next_multiple_of(LANES)
    }
}

/// A of a product: `count` rows of `depth`, `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
    depth: usize,
    count: usize,
}

impl AttentionShape {
    /// Rows `first..first + count` of a head of `x`, `[N, heads·d]`.
    fn rows<'a>(&self, x: &'a [f32], head: usize, first: usize, count: usize) -> Rows<'a> {
        let values = &x[first * self.width() + head * self.head_width..];
        Rows { values, stride: self.width(), depth: self.head_width, count }
    }
}

/// C = A·B, B packed. Tiles round A.
fn multiply(isa: Isa, a: Rows, b: &[f32], columns: usize, c: &mut [f32], c_row: usize) {
    if isa.has_tiles() {
        return multiply_tiles(isa, a, b, columns, c, c_row);
    }
    multiply_vectors(isa, a, b, columns, c, c_row, Start::Zero);
}

/// C = C + A·B.
fn multiply_onto(isa: Isa, a: Rows, b: &[f32], columns: usize, c: &mut [f32], c_row: usize) {
    if isa.has_tiles() {
        let mut sum = Buffer::any(a.count * columns);
        multiply_tiles(isa, a, b, columns, &mut sum, columns);
        let rows = c.chunks_mut(c_row).zip(sum.chunks_exact(columns));
        return rows.for_each(|(c, sum)| add_assign_piece(isa, sum, &mut c[..columns]));
    }
    multiply_vectors(isa, a, b, columns, c, c_row, Start::Accumulate);
}

fn multiply_vectors(isa: Isa, a: Rows, b: &[f32], columns: usize, c: &mut [f32], c_row: usize, start: Start) {
    let Rows { values, stride, depth, count } = a;
    let product = Product {
        a_row: stride,
        a_step: 1,
        terms: &[Term { a: 0, b: 0, length: depth }],
        b: Columns::packed(isa, b, depth),
        rows: count,
        columns,
        c_row,
        start,
    };
    product::run(isa, &product, values, c, &[(0, 0)]);
}

fn multiply_tiles(isa: Isa, a: Rows, b: &[f32], columns: usize, c: &mut [f32], c_row: usize) {
    let Rows { values, stride, depth, count: rows } = a;
    let product = amx::product::Product { rows, depth: depth.div_ceil(2), columns, b, bias: None };
    let tiles = |rows, steps, to: &mut [f32]| {
        amx::operands::from_rows(isa, values, stride, depth, rows, steps, to);
    };
    product.run_here(isa, tiles, |row| row * c_row, c);
}

/// The keys or values of one head of one sample.
struct Head<'a> {
    rows: &'a [f32],
    shape: &'a AttentionShape,
    head: usize,
}

impl Head<'_> {
    fn column(&self) -> &[f32] {
        &self.rows[self.head * self.shape.head_width..]
    }

    /// B[key, j].
    fn packed(&self, isa: Isa) -> Buffer {
        pack_rows(isa, self.shape.keys, self.shape.head_width, self.column(), self.shape.width())
    }

    /// B[j, key].
    fn packed_transpose(&self, isa: Isa) -> Buffer {
        pack_columns(isa, self.shape.head_width, self.shape.keys, self.column(), self.shape.width())
    }
}

/// Q Kᵀ of queries and keys from there on, `[count, keys]`; −∞ where a query does not see a key, and where rows are
/// filled up.
fn scores(isa: Isa, s: &AttentionShape, q: Rows, keys_t: &[f32], [query, key]: [usize; 2]) -> Buffer {
    let row = s.row();
    let mut scores = Buffer::aligned(q.count * row);
    multiply(isa, q, keys_t, row, &mut scores, row);
    if s.causal || row > s.keys {
        for (i, row) in scores.chunks_exact_mut(row).enumerate() {
            let seen = if s.causal { (query + i + 1).saturating_sub(key).min(s.keys) } else { s.keys };
            row[seen..].fill(f32::NEG_INFINITY);
        }
    }
    scores
}

/// A softmax of rows of which stretches pass by.
struct Softmax {
    /// The largest score of each row so far.
    largest: [f32; QUERIES],
    /// Σ e^(x − largest).
    sums: [f32; QUERIES],
    /// What sums over earlier stretches are to be multiplied with.
    factors: [f32; QUERIES],
}

impl Default for Softmax {
    fn default() -> Self {
        Self { largest: [f32::NEG_INFINITY; QUERIES], sums: [0.0; QUERIES], factors: [0.0; QUERIES] }
    }
}

impl Softmax {
    /// The next stretch: e^(x·scale − largest) of each row, in place.
    fn exponentials(&mut self, isa: Isa, x: &mut [f32], row: usize, scale: f32) {
        exponentials(isa, x, row, scale, &mut self.largest, &mut self.sums, &mut self.factors);
    }

    fn reciprocals(&self) -> [f32; QUERIES] {
        self.sums.map(|sum| 1.0 / sum)
    }
}
