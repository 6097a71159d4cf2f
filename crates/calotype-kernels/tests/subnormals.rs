//! Numbers below 1.2e-38 are zero: products with them take some hundred times as long on processors of Intel.

use calotype_kernels::Isa;
use calotype_kernels::attention::{self, AttentionShape, Upstream};

/// Numbers in ±`size`, the same in every run.
fn numbers(n: usize, size: f32, seed: u32) -> Vec<f32> {
    (0..n as u32)
        .map(|i| {
            let x = (i ^ seed.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
            let x = (x ^ (x >> 13)).wrapping_mul(0xC2B2_AE35);
            ((x >> 8) as f32 / 8_388_608.0 - 1.0) * size
        })
        .collect()
}

fn subnormal(x: &[f32]) -> usize {
    x.iter().filter(|x| x.is_subnormal()).count()
}

/// A key that a query does not see, or hardly, has no weight at all: of its value, however large, nothing arrives.
#[test]
fn what_a_query_does_not_see_weighs_nothing() {
    let s = AttentionShape { queries: 40, keys: 40, heads: 2, head_width: 8, causal: true };
    let n = s.queries * s.heads * s.head_width;
    let (q, k) = (numbers(n, 1.0, 1), numbers(n, 1.0, 2));
    // Only the last place has a value, and only the last query sees it.
    let mut v = vec![0.0; n];
    let last = n - s.heads * s.head_width;
    v[last..].fill(1e38);
    for isa in Isa::available() {
        let y = attention::forward(isa, &s, &q, &k, &v, 0).y;
        assert!(y[..last].iter().all(|&y| y == 0.0), "{isa:?}");
        assert!(y[last..].iter().all(|&y| y > 1e35), "{isa:?}");
    }
}

/// Scores as far apart as those of a trained text tower.
#[test]
fn attention_makes_no_subnormal_numbers() {
    for (size, causal) in [(1.0, true), (8.0, true), (8.0, false), (20.0, false)] {
        let s = AttentionShape { queries: 70, keys: 70, heads: 2, head_width: 16, causal };
        let n = s.queries * s.heads * s.head_width;
        let [q, k] = [1, 2].map(|seed| numbers(n, size, seed));
        let [v, dy] = [3, 4].map(|seed| numbers(n, 1.0, seed));
        for isa in Isa::available() {
            let y = attention::forward(isa, &s, &q, &k, &v, 0).y;
            let (dq, dk, dv) = attention::backward(isa, &s, &q, &k, &v, Upstream { dy: &dy, dp: &[] });
            let found = [&y[..], &dq, &dk, &dv].map(subnormal);
            assert_eq!(found, [0; 4], "{isa:?}, {size}, causal {causal}");
        }
    }
}
