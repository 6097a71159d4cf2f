//! Attention.

use rayon::prelude::*;

use super::{AttentionShape, Head, QUERIES, Rows, Softmax, multiply, multiply_onto, scores};
use crate::bf16;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::pack_rows;
use crate::softmax::scale_rows;

/// Keys whose probabilities are in memory at a time; those of [`QUERIES`] queries are 128 KiB. Even, so that pairs of keys
/// stay together.
const KEYS: usize = 512;

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
/// pairs. Threads share the queries.
fn forward_sample(
    isa: Isa,
    s: &AttentionShape,
    inner: &AttentionShape,
    [q, k, v]: [&[f32]; 3],
    y: &mut [f32],
    shown: &mut [f32],
) {
    let of_queries = if isa.has_tiles() { s } else { inner };
    let mut shown = shown.chunks_exact_mut(s.queries * s.keys);
    for head in 0..s.heads {
        let shown = shown.next();
        // A row that is shown is there as a whole.
        let at_once = if shown.is_some() { s.keys } else { KEYS };
        let blocks = KeyBlock::of_head(isa, inner, s.head_width, head, [k, v], at_once);
        let pieces = s.queries.div_ceil(QUERIES);
        let shown = shown.map_or_else(Vec::new, |shown| shown.chunks_mut(QUERIES * s.keys).collect());
        let shown = shown.into_iter().map(Some).chain(std::iter::repeat_with(|| None)).take(pieces);
        let pieces: Vec<_> = y.chunks_mut(QUERIES * s.width()).zip(shown).collect();
        pieces.into_par_iter().enumerate().for_each(|(piece, (y, shown))| {
            let first = piece * QUERIES;
            let queries = of_queries.rows(q, head, first, y.len() / s.width());
            attend(isa, s, queries, &blocks, first, &mut y[head * s.head_width..], shown);
        });
    }
}

/// Some keys of a head with their values, packed.
struct KeyBlock {
    first: usize,
    /// Sizes of attention to these keys alone, in pairs where the product takes them.
    shape: AttentionShape,
    keys_t: Buffer,
    /// Their rows, or pairs of rows.
    depth: usize,
    values: Buffer,
}

impl KeyBlock {
    /// All keys, `at_once` in a block.
    fn of_head(
        isa: Isa,
        inner: &AttentionShape,
        head_width: usize,
        head: usize,
        [k, v]: [&[f32]; 2],
        at_once: usize,
    ) -> Vec<Self> {
        let in_row = if isa.takes_pairs() { 2 } else { 1 };
        let of_values = inner.heads * head_width;
        let block = |first: usize| {
            let shape = AttentionShape { keys: at_once.min(inner.keys - first), ..*inner };
            let keys = Head { rows: &k[first * inner.width()..], shape: &shape, head };
            let depth = shape.keys.div_ceil(in_row);
            let from = &v[first / in_row * of_values + head * head_width..];
            Self {
                first,
                shape,
                keys_t: keys.packed_transpose(isa),
                depth,
                values: pack_rows(isa, depth, head_width, from, of_values),
            }
        };
        (0..inner.keys).into_par_iter().step_by(at_once).map(block).collect()
    }
}

/// Some queries of a head, from `first` on, and all keys: blocks of keys pass by, and what has been summed is scaled
/// whenever a larger score comes (Milakov & Gimelshein 2018, "Online normalizer calculation for softmax",
/// arXiv:1805.02867; Dao et al. 2022, arXiv:2205.14135). `y` begins with the head's numbers of the first query.
fn attend(
    isa: Isa,
    s: &AttentionShape,
    q: Rows,
    blocks: &[KeyBlock],
    first: usize,
    y: &mut [f32],
    mut shown: Option<&mut [f32]>,
) {
    let count = q.count;
    let mut softmax = Softmax::default();
    for block in blocks {
        if s.causal && block.first >= first + count {
            break;
        }
        let row = block.shape.row();
        let mut p = scores(isa, &block.shape, q, &block.keys_t, [first, block.first]);
        softmax.exponentials(isa, &mut p, row, s.scale());
        if let Some(shown) = &mut shown {
            let rows = shown.chunks_exact_mut(s.keys).zip(p.chunks_exact(row));
            for ((to, p), reciprocal) in rows.zip(softmax.reciprocals()) {
                to.iter_mut().zip(p).for_each(|(to, p)| *to = p * reciprocal);
            }
        }
        let mut weights = Rows { values: &p, stride: row, depth: block.shape.keys, count };
        if isa.takes_pairs() && !isa.has_tiles() {
            p = bf16::pairs_of_columns(isa, &p, row);
            weights = Rows { values: &p, stride: row / 2, depth: block.depth, count };
        }
        if block.first == 0 {
            multiply(isa, weights, &block.values, s.head_width, y, s.width());
        } else {
            scale_rows(isa, y, s.width(), s.head_width, &softmax.factors[..count]);
            multiply_onto(isa, weights, &block.values, s.head_width, y, s.width());
        }
    }
    scale_rows(isa, y, s.width(), s.head_width, &softmax.reciprocals()[..count]);
}
