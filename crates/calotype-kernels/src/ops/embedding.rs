//! Rows of a table, as a burn operation.

use burn::backend::Flex;
use burn::backend::ops::ModuleOps;
use burn_flex::FlexTensor;
use burn_std::DType;

use super::{contiguous, last, tensor};
use crate::quantised;

/// `table`: `[count, width]`; `ids`: `[B, L]`. Of a packed table only the rows that are asked for are unpacked.
pub fn forward(table: FlexTensor, ids: FlexTensor) -> FlexTensor {
    let Some(matrix) = quantised::of(&table) else { return Flex::embedding(table, ids) };
    let ids = contiguous(&ids);
    let rows: Option<Vec<usize>> = match ids.dtype() {
        DType::I64 => ids.as_slice::<i64>().map(|ids| ids.iter().map(|&id| id as usize).collect()),
        DType::I32 => ids.as_slice::<i32>().map(|ids| ids.iter().map(|&id| id as usize).collect()),
        _ => None,
    };
    let Some(rows) = rows else { return Flex::embedding(table, ids) };
    let mut shape = ids.layout().shape().to_vec();
    shape.push(last(&table));
    tensor(matrix.rows(&rows), shape)
}
