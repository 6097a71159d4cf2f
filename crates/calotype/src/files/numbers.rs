//! Numbers as files have them: little-endian, one after another.

use safetensors::Dtype;

use crate::error::Cause;

/// Numbers of `N` bytes each, in the order of the file; a rest of fewer bytes is left over.
pub(super) fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}

/// Numbers of a weight file in f32; `None` if they are of a type that no weights have.
pub(super) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::F32 => numbers(bytes, f32::from_le_bytes),
        Dtype::F64 => numbers(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F16 => numbers(bytes, |b| half::f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => numbers(bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
        Dtype::I64 => numbers(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => numbers(bytes, |b| i32::from_le_bytes(b) as f32),
        Dtype::I16 => numbers(bytes, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::I8 => numbers(bytes, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::U64 => numbers(bytes, |b| u64::from_le_bytes(b) as f32),
        Dtype::U32 => numbers(bytes, |b| u32::from_le_bytes(b) as f32),
        Dtype::U16 => numbers(bytes, |b| f32::from(u16::from_le_bytes(b))),
        Dtype::U8 => numbers(bytes, |[b]| f32::from(b)),
        Dtype::BOOL => numbers(bytes, |[b]| f32::from(u8::from(b != 0))),
        _ => return None,
    })
}

/// Whether [`to_f32`] reads numbers of this type.
pub(super) fn is_read(dtype: Dtype) -> bool {
    to_f32(dtype, &[]).is_some()
}

/// Bytes of a number; 0 if it is less than one.
pub(super) fn size(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// That a tensor's numbers are of a type that is not read, and the cause of it for fp8 and smaller ones.
pub(super) fn unread(tensor: &str, dtype: Dtype) -> (String, Option<Cause>) {
    let bits = dtype.bitsize();
    if bits > 8 || !dtype.to_string().starts_with('F') {
        return (format!("tensor `{tensor}` has dtype {dtype}, which is not read"), None);
    }
    (format!("tensor `{tensor}` has dtype {dtype} (fp{bits}), which is not read"), Some(Cause::Quantised))
}
