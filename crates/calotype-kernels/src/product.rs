//! The matrix product under every kernel: register tiles over strided rows.
//!
//! C[i, j] = Σ over terms Σ_k A[i, k]·B[k, j], where A is read through strides and B row by row. A
//! convolution is such a product without a copy of its windows: in a channels-last picture the pixels
//! of a row are A's rows, and each row of the kernel is one term (Chellapilla et al. 2006 unroll the
//! windows instead).

use crate::isa::Isa;
use crate::simd::{Portable, Simd};

/// Numbers that stay in a first level cache of 32 KiB while other numbers pass by.
const CACHED: usize = 6 * 1024;

/// One stretch of the inner dimension.
#[derive(Debug, Clone, Copy)]
pub struct Term {
    /// Where its A begins, from the origin of the rows.
    pub a: usize,
    /// Where its B begins: rows of B before it.
    pub b: usize,
    /// Length.
    pub length: usize,
}

/// B of a product.
#[derive(Debug, Clone, Copy)]
pub enum Columns<'a> {
    /// In panels of [`Isa::panel_width`] columns, which begin `panel` numbers apart.
    Packed { values: &'a [f32], panel: usize },
    /// Row k begins at k·`stride`. Its last column block is read whole: [`Isa::round_up`].
    Rows { values: &'a [f32], stride: usize },
}

impl<'a> Columns<'a> {
    /// Panels one after the other, of an inner dimension `depth`, as [`mod@crate::panels`] makes them.
    pub fn packed(isa: Isa, values: &'a [f32], depth: usize) -> Self {
        Self::Packed { values, panel: isa.panel_depth(depth) * isa.panel_width() }
    }
}

/// What C holds before and gets beside the product.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// C = A·B.
    Zero,
    /// C = A·B + row vector of at least [`Isa::round_up`]`(columns)` numbers.
    Bias(&'a [f32]),
    /// C = C + A·B.
    Accumulate,
}

impl Start<'_> {
    /// Of a sum that is taken in several products: C is what it was by chance before the first.
    pub fn first_or_more(first: bool) -> Self {
        if first { Self::Zero } else { Self::Accumulate }
    }
}

/// Everything about a product but the numbers of A and C.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// Distance of A's rows.
    pub a_row: usize,
    /// Distance of A's columns.
    pub a_step: usize,
    /// The inner dimension.
    pub terms: &'a [Term],
    /// B.
    pub b: Columns<'a>,
    /// Rows of A and C for each origin.
    pub rows: usize,
    /// Columns of B and C.
    pub columns: usize,
    /// Distance of C's rows.
    pub c_row: usize,
    /// What C begins with.
    pub start: Start<'a>,
}

impl Isa {
    /// Numbers in a vector.
    pub fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Bf16 | Self::Amx => crate::simd::Avx512::LANES,
            #[cfg(test)]
            Self::AmxEmulated => crate::amx::tile::ROWS,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => crate::simd::Avx2::LANES,
            Self::Portable => Portable::LANES,
        }
    }

    /// `columns` up to a whole number of vectors.
    pub fn round_up(self, columns: usize) -> usize {
        columns.next_multiple_of(self.lanes())
    }
}

/// A bias as [`Start::Bias`] wants it.
pub fn padded_bias(isa: Isa, bias: &[f32]) -> Vec<f32> {
    let mut padded = bias.to_vec();
    padded.resize(isa.round_up(bias.len()), 0.0);
    padded
}

/// Runs the product for each origin (beginning of rows in A, beginning of rows in C).
pub fn run(isa: Isa, product: &Product, a: &[f32], c: &mut [f32], origins: &[(usize, usize)]) {
    check(isa, product, a, c, origins);
    match isa {
        // SAFETY: the instruction set is there ([`Isa::available`]), the bounds have been checked.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(product, a, c, origins) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => unsafe { avx512_bf16(product, a, c, origins) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(product, a, c, origins) },
        // SAFETY: as above.
        Isa::Portable => unsafe { panels::<Portable>(product, a, c, origins) },
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => unreachable!("tiles have products of their own"),
        #[cfg(test)]
        Isa::AmxEmulated => unreachable!("tiles have products of their own"),
    }
}

/// Columns of a band.
const BAND: usize = 64;

impl Product<'_> {
    /// Rows of A and of B, an inner dimension, that stay in the first level cache while a product runs
    /// [`in_bands`].
    pub(crate) fn cached_depth(rows: usize, columns: usize) -> usize {
        CACHED / (rows + columns.min(BAND))
    }
}

/// [`run`] for one origin and rows of B that are not packed, some columns after the others: a wide C would leave the
/// cache no room for an inner dimension that is worth loading and storing C.
pub(crate) fn in_bands(isa: Isa, product: &Product, a: &[f32], c: &mut [f32]) {
    let Columns::Rows { values, stride } = product.b else {
        unreachable!("packed columns are in panels already")
    };
    for first in (0..product.columns).step_by(BAND) {
        let columns = BAND.min(product.columns - first);
        let b = Columns::Rows { values: &values[first..], stride };
        run(isa, &Product { b, columns, ..*product }, a, &mut c[first..], &[(0, 0)]);
    }
}

/// Every number that a tile will touch lies inside its slice; a mistake of a caller ends here.
fn check(isa: Isa, p: &Product, a: &[f32], c: &[f32], origins: &[(usize, usize)]) {
    if p.rows == 0 || p.columns == 0 || origins.is_empty() {
        return;
    }
    let width = isa.round_up(p.columns);
    let last_a = p.terms.iter().filter(|t| t.length > 0).map(|t| t.a + (t.length - 1) * p.a_step).max();
    let depth = p.terms.iter().map(|t| t.b + t.length).max().unwrap_or(0);
    let (first_a, first_c) = origins.iter().fold((0, 0), |(a, c), origin| (a.max(origin.0), c.max(origin.1)));
    if let Some(last_a) = last_a {
        assert!(first_a + (p.rows - 1) * p.a_row + last_a < a.len(), "A ends too early");
    }
    assert!(first_c + (p.rows - 1) * p.c_row + p.columns <= c.len(), "C ends too early");
    match p.b {
        Columns::Packed { values, panel } => {
            let panels = p.columns.div_ceil(isa.panel_width());
            let end = (panels - 1) * panel + depth * isa.panel_width();
            assert!(end <= values.len(), "packed B is {} numbers, not {end}", values.len());
        }
        Columns::Rows { values, stride } => {
            assert!(depth == 0 || (depth - 1) * stride + width <= values.len(), "B ends too early");
        }
    }
    if let Start::Bias(bias) = p.start {
        assert!(width <= bias.len(), "the bias ends too early");
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(product: &Product, a: &[f32], c: &mut [f32], origins: &[(usize, usize)]) {
    // SAFETY: the caller's promise.
    unsafe { panels::<crate::simd::Avx512>(product, a, c, origins) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512_bf16(product: &Product, a: &[f32], c: &mut [f32], origins: &[(usize, usize)]) {
    // SAFETY: the caller's promise.
    unsafe { panels::<crate::simd::Avx512Bf16>(product, a, c, origins) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(product: &Product, a: &[f32], c: &mut [f32], origins: &[(usize, usize)]) {
    // SAFETY: the caller's promise.
    unsafe { panels::<crate::simd::Avx2>(product, a, c, origins) }
}

/// Panel by panel, so that a panel of B stays in the cache while all rows pass by.
///
/// # Safety
/// [`check`] has passed and the processor has the instructions of `S`.
#[inline(always)]
unsafe fn panels<S: Simd>(p: &Product, a: &[f32], c: &mut [f32], origins: &[(usize, usize)]) {
    let width = p.columns.next_multiple_of(S::LANES);
    let tiles = p.rows.div_ceil(S::ROWS);
    let mut first = 0;
    while first < width {
        let vectors = 2.min((width - first) / S::LANES);
        // SAFETY: `check` has seen that B has this panel.
        let (b, b_row) = unsafe {
            match p.b {
                Columns::Packed { values, panel } => {
                    (values.as_ptr().add(first / (2 * S::LANES) * panel), 2 * S::LANES)
                }
                Columns::Rows { values, stride } => (values.as_ptr().add(first), stride),
            }
        };
        for &(a_origin, c_origin) in origins {
            let mut row = 0;
            for tile in 0..tiles {
                // Tiles of nearly equal height: 16 rows are 6 + 5 + 5, not 6 + 6 + 4.
                let height = (p.rows - row).div_ceil(tiles - tile);
                // SAFETY: the caller's promise covers rows `row..row + height` and this panel.
                unsafe {
                    let a = a.as_ptr().add(a_origin + row * p.a_row);
                    let c = c.as_mut_ptr().add(c_origin + row * p.c_row + first);
                    dispatch::<S>(p, a, (b, b_row), c, first, vectors, height);
                }
                row += height;
            }
        }
        first += vectors * S::LANES;
    }
}

#[inline(always)]
unsafe fn dispatch<S: Simd>(
    p: &Product,
    a: *const f32,
    b: (*const f32, usize),
    c: *mut f32,
    first: usize,
    vectors: usize,
    height: usize,
) {
    macro_rules! heights {
        ($($height:literal)*) => {
            // Heights above `S::ROWS` do not occur; the condition lets the compiler leave them out.
            match (height, vectors) {
                $(
                    ($height, 1) if $height <= S::ROWS => {
                        // SAFETY: the caller's promise.
                        unsafe { tile::<S, $height, 1>(p, a, b, c, first) }
                    }
                    ($height, _) if $height <= S::ROWS => {
                        // SAFETY: the caller's promise.
                        unsafe { tile::<S, $height, 2>(p, a, b, c, first) }
                    }
                )*
                _ => unreachable!("tiles have 1 to {} rows", S::ROWS),
            }
        };
    }
    heights!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// One block of C in registers while all terms pass by.
#[inline(always)]
unsafe fn tile<S: Simd, const HEIGHT: usize, const VECTORS: usize>(
    p: &Product,
    a: *const f32,
    (b, b_row): (*const f32, usize),
    c: *mut f32,
    first: usize,
) {
    // SAFETY: the caller's promise: all addresses below were covered by `check`.
    unsafe {
        let mut sums = [[S::zero(); VECTORS]; HEIGHT];
        if let Start::Bias(bias) = p.start {
            for v in 0..VECTORS {
                let bias = S::load(bias.as_ptr().add(first + v * S::LANES));
                for row in &mut sums {
                    row[v] = bias;
                }
            }
        }
        for term in p.terms {
            let mut a = a.add(term.a);
            let mut b = b.add(term.b * b_row);
            for _ in 0..term.length {
                let mut columns = [S::zero(); VECTORS];
                for (v, column) in columns.iter_mut().enumerate() {
                    *column = S::load(b.add(v * S::LANES));
                }
                for (i, row) in sums.iter_mut().enumerate() {
                    let x = S::splat(*a.add(i * p.a_row));
                    for (sum, column) in row.iter_mut().zip(columns) {
                        *sum = S::mul_add(x, column, *sum);
                    }
                }
                a = a.add(p.a_step);
                b = b.add(b_row);
            }
        }
        // Short bodies: the loops must unroll, or `sums` would live in memory and not in registers.
        let whole = first + VECTORS * S::LANES <= p.columns;
        let accumulate = matches!(p.start, Start::Accumulate);
        if whole && accumulate {
            for (i, row) in sums.iter().enumerate() {
                for (v, &sum) in row.iter().enumerate() {
                    let to = c.add(i * p.c_row + v * S::LANES);
                    S::store(to, S::add(sum, S::load(to)));
                }
            }
        } else if whole {
            for (i, row) in sums.iter().enumerate() {
                for (v, &sum) in row.iter().enumerate() {
                    S::store(c.add(i * p.c_row + v * S::LANES), sum);
                }
            }
        } else {
            let mut scratch = [[0.0f32; 32]; HEIGHT];
            for (row, scratch) in sums.iter().zip(&mut scratch) {
                for (v, &sum) in row.iter().enumerate() {
                    S::store(scratch.as_mut_ptr().add(v * S::LANES), sum);
                }
            }
            store_part(&scratch, p.columns - first, accumulate, c, p.c_row);
        }
    }
}

/// The last columns of rows that are no whole number of vectors.
///
/// # Safety
/// C has `columns` numbers in each row of the tile.
unsafe fn store_part(rows: &[[f32; 32]], columns: usize, accumulate: bool, c: *mut f32, c_row: usize) {
    for (i, row) in rows.iter().enumerate() {
        for (j, &x) in row[..columns].iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let to = c.add(i * c_row + j);
                *to = if accumulate { *to + x } else { x };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panels::{pack_columns, pack_rows};
    use crate::testing::numbers;

    #[test]
    fn equals_the_definition_on_every_instruction_set() {
        for isa in Isa::available() {
            for (rows, depth, columns) in
                [(1, 1, 1), (5, 3, 7), (13, 17, 33), (6, 40, 16), (25, 9, 48), (4, 0, 3)]
            {
                let (a, b) = (numbers(rows * depth, 1), numbers(depth * columns, 2));
                let bias = numbers(columns, 3);
                let packed = pack_rows(isa, depth, columns, &b, columns);
                let transposed: Vec<f32> =
                    (0..depth * columns).map(|i| b[i % depth * columns + i / depth]).collect();
                assert_eq!(packed[..], pack_columns(isa, depth, columns, &transposed, depth)[..]);
                let terms = [
                    Term { a: 0, b: 0, length: depth / 2 },
                    Term { a: depth / 2, b: depth / 2, length: depth - depth / 2 },
                ];
                let product = Product {
                    a_row: depth,
                    a_step: 1,
                    terms: &terms,
                    b: Columns::packed(isa, &packed, depth),
                    rows,
                    columns,
                    c_row: columns,
                    start: Start::Bias(&padded_bias(isa, &bias)),
                };
                let mut c = vec![9.0; rows * columns];
                run(isa, &product, &a, &mut c, &[(0, 0)]);
                run(isa, &Product { start: Start::Accumulate, ..product }, &a, &mut c, &[(0, 0)]);
                for i in 0..rows {
                    for j in 0..columns {
                        let sum: f64 = (0..depth)
                            .map(|k| f64::from(a[i * depth + k]) * f64::from(b[k * columns + j]))
                            .sum();
                        let expected = 2.0 * sum + f64::from(bias[j]);
                        assert!(
                            (f64::from(c[i * columns + j]) - expected).abs() < 1e-5,
                            "{isa:?} {rows} {depth} {columns}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn bands_change_no_bit() {
        for isa in Isa::available() {
            for (rows, depth, columns) in [(1, 1, 1), (13, 17, 64), (5, 9, 70), (25, 40, 192), (7, 3, 201)] {
                let stride = isa.round_up(columns);
                let (a, b) = (numbers(depth * rows, 1), numbers(depth * stride, 2));
                let product = Product {
                    a_row: 1,
                    a_step: rows,
                    terms: &[Term { a: 0, b: 0, length: depth }],
                    b: Columns::Rows { values: &b, stride },
                    rows,
                    columns,
                    c_row: columns,
                    start: Start::Zero,
                };
                let [mut whole, mut in_bands] = [(); 2].map(|()| vec![9.0; rows * columns]);
                for start in [Start::Zero, Start::Accumulate] {
                    let product = Product { start, ..product };
                    run(isa, &product, &a, &mut whole, &[(0, 0)]);
                    super::in_bands(isa, &product, &a, &mut in_bands);
                    assert_eq!(whole, in_bands, "{isa:?} {rows} {depth} {columns}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "A ends too early")]
    fn refuses_to_read_past_the_end() {
        let product = Product {
            a_row: 2,
            a_step: 1,
            terms: &[Term { a: 0, b: 0, length: 2 }],
            b: Columns::Packed { values: &[0.0; 64], panel: 64 },
            rows: 3,
            columns: 1,
            c_row: 1,
            start: Start::Zero,
        };
        run(Isa::best(), &product, &[0.0; 5], &mut [0.0; 3], &[(0, 0)]);
    }
}
