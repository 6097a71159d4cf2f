//! One block of a product: up to 2 × 2 tiles of C, which stay in registers while the inner dimension passes by.

/// Rows of a tile, and numbers of 32 bits in each.
pub const ROWS: usize = 16;
/// *Pairs* of bf16 numbers (32 bits) in a row of A's tile: the inner dimension of one step.
pub const STEP: usize = 16;
/// Columns of a panel of packed B: two tiles.
pub const PANEL: usize = 2 * ROWS;
/// Pairs of a tile.
pub const TILE: usize = ROWS * STEP;

/// The operands of a block. A's tiles lie one after the other, [`TILE`] pairs for each step. B is a panel: rows of
/// [`PANEL`] pairs, [`STEP`] of them for each step.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Block {
    /// The first tiles of two groups of 16 rows.
    pub a: [*const f32; 2],
    /// The panel's first row.
    pub b: *const f32,
    /// Length of the inner dimension, at least 1.
    pub steps: usize,
    /// What the groups of C begin with: zeros if null.
    pub init: [*const f32; 2],
    /// Bytes from row to row of it; 0: all rows are the same.
    pub init_row: usize,
    /// The groups of C.
    pub c: [*mut f32; 2],
    /// Bytes from row to row of them.
    pub c_row: usize,
}

/// Who multiplies tiles: the processor, or plain Rust in tests.
pub(crate) trait Tiles {
    /// Lives while this thread multiplies.
    type Configured;

    /// Before the first block. Nothing that another piece of work may run inside of (a join of threads) lies between
    /// this and the drop.
    ///
    /// # Safety
    /// The processor has tiles and the system permits them.
    unsafe fn configure() -> Self::Configured;

    /// Asks for C's lines, so that they are there when the block is stored.
    fn prefetch(_block: &Block, _rows: usize) {}

    /// C = what it begins with + A·B, of `rows` groups of rows and `columns` tiles side by side, each 1 or 2.
    ///
    /// # Safety
    /// [`Tiles::configure`]'s guard lives; every row of the tiles lies in memory that may be read (A, B, what C begins
    /// with) or written (C).
    unsafe fn multiply(block: &Block, rows: usize, columns: usize);
}
