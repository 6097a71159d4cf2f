//! Attention's gradients.

use rayon::prelude::*;

use super::{AttentionShape, Head, QUERIES, Rows, Softmax, multiply, scores};
use crate::elementwise::add_assign_piece;
use crate::isa::Isa;
use crate::memory::Buffer;
use crate::panels::pack_rows;
use crate::product::{self, Columns, Product, Start, Term};
use crate::softmax::{scale_rows, softmax_backward};

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

/// softmax(Q Kᵀ/√d) of queries from `first` on: `[count, keys]`, rows filled up with zeros.
fn probabilities(isa: Isa, s: &AttentionShape, q: Rows, keys_t: &[f32], first: usize) -> Buffer {
    let mut p = scores(isa, s, q, keys_t, [first, 0]);
    let mut softmax = Softmax::default();
    softmax.exponentials(isa, &mut p, s.row(), s.scale());
    scale_rows(isa, &mut p, s.row(), s.row(), &softmax.reciprocals()[..q.count]);
    p
}
