//! Multi-head attention over rows of heads, forward and backward.

use rayon::prelude::*;

use crate::amx;
use crate::bf16;
use crate::elementwise::add_assign_piece;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::{pack_columns, pack_rows};
use crate::product::{self, Columns, Product, Start, Term};
use crate::softmax::{LANES, exponentials, scale_rows, softmax_backward};

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

/// What attention gives.
#[derive(Debug)]
pub struct Attended {
    /// softmax(Q Kᵀ/√d) V of each head: `[B, N, heads·d]`.
    pub y: Buffer,
    /// softmax(Q Kᵀ/√d) of the heads that are shown: `[B, shown, N, L]`.
    pub shown: Buffer,
}

/// Attention, and the probabilities of the first `shown` heads. In pairs of bf16 numbers if `isa` takes them and d is
/// even; the softmax is in f32.
pub fn forward(isa: Isa, s: &AttentionShape, q: &[f32], k: &[f32], v: &[f32], shown: usize) -> Attended {
    let pairs = isa.takes_pairs() && s.head_width.is_multiple_of(2);
    let isa = if pairs { isa } else { isa.f32() };
    let (query_rows, key_rows) = (s.queries * s.width(), s.keys * s.width());
    let batch = q.len() / query_rows;
    let (mut y, mut seen) = (Buffer::any(q.len()), Buffer::any(batch * shown * s.queries * s.keys));
    let samples =
        y.par_chunks_mut(query_rows).zip(of_samples(&mut seen, batch)).zip(q.par_chunks(query_rows));
    samples.enumerate().for_each(|(b, ((y, seen), q))| {
        let (k, v) = (&k[b * key_rows..][..key_rows], &v[b * key_rows..][..key_rows]);
        if pairs {
            let width = s.width();
            let k = bf16::pairs_of_columns(isa, k, width);
            let v = bf16::pairs_of_rows(isa, v, width);
            // Tiles round queries where they multiply them.
            let q_pairs = if isa.has_tiles() { None } else { Some(bf16::pairs_of_columns(isa, q, width)) };
            let halved = AttentionShape { head_width: s.head_width / 2, ..*s };
            forward_sample(isa, s, &halved, [q_pairs.as_deref().unwrap_or(q), &k, &v], y, seen);
        } else {
            forward_sample(isa, s, s, [q, k, v], y, seen);
        }
    });
    Attended { y, shown: seen }
}

/// `x` in as many equal parts, which may be empty.
fn of_samples(x: &mut [f32], batch: usize) -> Vec<&mut [f32]> {
    let size = (x.len() / batch.max(1)).max(1);
    let mut parts = x.chunks_mut(size);
    (0..batch).map(|_| parts.next().unwrap_or_default()).collect()
}

/// One sample. `inner` is the shape that keys have, and queries unless tiles round them: that of `s`, or half as wide in
/// pairs.
fn forward_sample(
    isa: Isa,
    s: &AttentionShape,
    inner: &AttentionShape,
    [q, k, v]: [&[f32]; 3],
    y: &mut [f32],
    shown: &mut [f32],
) {
    let key_rows = if isa.takes_pairs() { s.keys.div_ceil(2) } else { s.keys };
    let of_queries = if isa.has_tiles() { s } else { inner };
    let mut shown = shown.chunks_exact_mut(s.queries * s.keys);
    for head in 0..s.heads {
        let keys_t = Head { rows: k, shape: inner, head }.packed_transpose(isa);
        let values = pack_rows(isa, key_rows, s.head_width, &v[head * s.head_width..], s.width());
        let mut shown = shown.next();
        for first in (0..s.queries).step_by(QUERIES) {
            let count = QUERIES.min(s.queries - first);
            let queries = of_queries.rows(q, head, first, count);
            let (mut p, reciprocals) = weights(isa, inner, s.scale(), queries, &keys_t, first);
            if let Some(shown) = &mut shown {
                let rows = shown[first * s.keys..].chunks_exact_mut(s.keys);
                for ((to, p), reciprocal) in rows.zip(p.chunks_exact(s.row())).zip(&reciprocals[..count]) {
                    to.iter_mut().zip(p).for_each(|(to, p)| *to = p * reciprocal);
                }
            }
            let mut weights = Rows { values: &p, stride: s.row(), depth: s.keys, count };
            if isa.takes_pairs() && !isa.has_tiles() {
                p = bf16::pairs_of_columns(isa, &p, s.row());
                weights = Rows { values: &p, stride: s.row() / 2, depth: key_rows, count };
            }
            let to = first * s.width() + head * s.head_width;
            multiply(isa, weights, &values, s.head_width, &mut y[to..], s.width());
            scale_rows(isa, &mut y[to..], s.width(), s.head_width, &reciprocals[..count]);
        }
    }
}

/// What is told to attention's backward pass.
#[derive(Debug, Clone, Copy)]
pub struct Upstream<'a> {
    /// ∂L/∂y, `[B, N, heads·d]`.
    pub dy: &'a [f32],
    /// ∂L/∂P of the heads that are shown, `[B, shown, N, L]`, beside what comes from `dy`; empty where none are, or nobody
    /// asks.
    pub dp: &'a [f32],
}

/// (∂L/∂q, ∂L/∂k, ∂L/∂v). The probabilities are computed again: they would be the largest tensors of a
/// network.
pub fn backward(
    isa: Isa,
    s: &AttentionShape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    upstream: Upstream,
) -> (Buffer, Buffer, Buffer) {
    let isa = isa.f32();
    let (query_rows, key_rows) = (s.queries * s.width(), s.keys * s.width());
    let shown_rows = upstream.dp.len() / (q.len() / query_rows);
    let (mut dq, mut dk, mut dv) = (Buffer::any(q.len()), Buffer::zeros(k.len()), Buffer::zeros(v.len()));
    dq.par_chunks_mut(query_rows)
        .zip(dk.par_chunks_mut(key_rows).zip(dv.par_chunks_mut(key_rows)))
        .enumerate()
        .for_each(|(b, (dq, (dk, dv)))| {
            let (q, dy) = (&q[b * query_rows..][..query_rows], &upstream.dy[b * query_rows..][..query_rows]);
            let (k, v) = (&k[b * key_rows..][..key_rows], &v[b * key_rows..][..key_rows]);
            let mut dp = upstream.dp[b * shown_rows..][..shown_rows].chunks_exact(s.queries * s.keys);
            for head in 0..s.heads {
                let upstream = Upstream { dy, dp: dp.next().unwrap_or(&[]) };
                backward_head(isa, s, head, [q, k, v], upstream, [&mut *dq, &mut *dk, &mut *dv]);
            }
        });
    (dq, dk, dv)
}

/// One head of one sample, and ∂L/∂P of it: P = softmax(Q Kᵀ/√d), dV = Pᵀ dY, dP = dY Vᵀ + ∂L/∂P,
/// dS = P ⊙ (dP − Σ_row dP ⊙ P)/√d, dQ = dS K, dK = dSᵀ Q.
fn backward_head(
    isa: Isa,
    s: &AttentionShape,
    head: usize,
    [q, k, v]: [&[f32]; 3],
    Upstream { dy, dp: shown }: Upstream,
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let (column, row) = (head * s.head_width, s.row());
    let keys = Head { rows: k, shape: s, head };
    let (keys_t, keys) = (keys.packed_transpose(isa), keys.packed(isa));
    let values_t = Head { rows: v, shape: s, head }.packed_transpose(isa);
    let mut dp = Buffer::any(QUERIES * row);
    for first in (0..s.queries).step_by(QUERIES) {
        let count = QUERIES.min(s.queries - first);
        let at = first * s.width() + column;
        let p = probabilities(isa, s, s.rows(q, head, first, count), &keys_t, first);
        // dP = dY Vᵀ
        multiply(isa, s.rows(dy, head, first, count), &values_t, row, &mut dp, row);
        if !shown.is_empty() {
            let shown = shown[first * s.keys..].chunks_exact(s.keys);
            dp.chunks_exact_mut(row).zip(shown).take(count).for_each(|(dp, shown)| {
                add_assign_piece(isa, shown, &mut dp[..s.keys]);
            });
        }
        // dV += Pᵀ dY
        let rows_of_queries = |x: &[f32]| pack_rows(isa, count, s.head_width, &x[at..], s.width());
        let onto_keys = |b: &[f32], a: &[f32], c: &mut [f32]| {
            let product = Product {
                a_row: 1,
                a_step: row,
                terms: &[Term { a: 0, b: 0, length: count }],
                b: Columns::packed(isa, b, count),
                rows: s.keys,
                columns: s.head_width,
                c_row: s.width(),
                start: Start::Accumulate,
            };
            product::run(isa, &product, a, &mut c[column..], &[(0, 0)]);
        };
        onto_keys(&rows_of_queries(dy), &p, dv);
        softmax_backward(isa, &p, row, s.scale(), &mut dp[..count * row]);
        // dK += dSᵀ Q
        onto_keys(&rows_of_queries(q), &dp, dk);
        // dQ = dS K
        let rows = Rows { values: &dp, stride: row, depth: s.keys, count };
        multiply(isa, rows, &keys, s.head_width, &mut dq[at..], s.width());
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
    let Rows { values, stride, depth, count: rows } = a;
    if isa.has_tiles() {
        let product = amx::product::Product { rows, depth: depth.div_ceil(2), columns, b, bias: None };
        let tiles = |rows, steps, to: &mut [f32]| {
            amx::operands::from_rows(isa, values, stride, depth, rows, steps, to);
        };
        return product.run_here(isa, tiles, |row| row * c_row, c);
    }
    let product = Product {
        a_row: stride,
        a_step: 1,
        terms: &[Term { a: 0, b: 0, length: depth }],
        b: Columns::packed(isa, b, depth),
        rows,
        columns,
        c_row,
        start: Start::Zero,
    };
    product::run(isa, &product, values, c, &[(0, 0)]);
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

/// softmax(Q Kᵀ/√d) of queries from `first` on: `[count, keys]`, rows filled up with zeros.
fn probabilities(isa: Isa, s: &AttentionShape, q: Rows, keys_t: &[f32], first: usize) -> Buffer {
    let (mut p, reciprocals) = weights(isa, s, s.scale(), q, keys_t, first);
    scale_rows(isa, &mut p, s.row(), s.row(), &reciprocals[..q.count]);
    p
}

/// The same before each row is divided by its sum, and the reciprocals of the sums.
fn weights(
    isa: Isa,
    s: &AttentionShape,
    scale: f32,
    q: Rows,
    keys_t: &[f32],
    first: usize,
) -> (Buffer, [f32; QUERIES]) {
    let row = s.row();
    let mut p = Buffer::aligned(q.count * row);
    multiply(isa, q, keys_t, row, &mut p, row);
    if s.causal || row > s.keys {
        for (i, row) in p.chunks_exact_mut(row).enumerate() {
            let seen = if s.causal { s.keys.min(first + i + 1) } else { s.keys };
            row[seen..].fill(f32::NEG_INFINITY);
        }
    }
    let mut reciprocals = [0.0; QUERIES];
    exponentials(isa, &mut p, row, scale, &mut reciprocals[..q.count]);
    (p, reciprocals)
}
