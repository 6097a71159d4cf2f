//! GGUF files of Flux.1's transformer, as ComfyUI-GGUF makes them, and of T5's encoder, as llama.cpp does.

use std::path::Path;

use super::write::header;
use super::{Checkpoint, flux_file, is_t5, t5};
use crate::error::{Error, Result};
use crate::files::gguf::{self, BlockKind, TensorType, Value};
use crate::files::{Encoding, Packing, Stack, Storage};
use crate::model::ComponentKind;

/// What the names of Flux's layers outside of its blocks begin with: small ones that much depends on. ComfyUI-GGUF leaves
/// them unquantised.
const KEPT: [&str; 6] = ["img_in.", "txt_in.", "time_in.", "vector_in.", "guidance_in.", "final_layer."];
/// T5's table of distances, a few numbers that llama.cpp leaves unquantised.
const DISTANCES: &str = ".attn_rel_b.";
/// Tensors of at most so many numbers are f32, and vectors: programs add them as they are.
const SMALL: usize = 1024;
/// Of ggml's blocks.
const QUANTIZATION_VERSION: u32 = 2;

/// Writes the transformer, or T5's encoder where there is nothing else, and returns which, and the type of its largest
/// tensor.
///
/// - `dtype`: of all tensors but those that stay in f32, f16 or bf16; `None`: as they are.
///
/// # Errors
/// `Error::Io`; `Error::Argument` for another network; `Error::Config`, `Error::Weights` for one that does not fit;
/// `Error::Data` for numbers that the type does not hold.
pub fn write(
    checkpoint: &Checkpoint,
    path: &Path,
    dtype: Option<TensorType>,
) -> Result<(ComponentKind, TensorType)> {
    let transformer = checkpoint.components.get(&ComponentKind::Transformer);
    let t5 = checkpoint.alone().filter(|(_, stored)| is_t5(stored));
    let (kind, stored, architecture) = match (transformer, t5) {
        (Some(stored), _) => (ComponentKind::Transformer, stored, "flux"),
        (None, Some((kind, stored))) => (kind, stored, t5::ARCHITECTURE),
        (None, None) => {
            let expected =
                "a folder or a .safetensors file: as GGUF, Flux.1's transformer and T5's encoder are written";
            return Err(Error::argument("OUT", expected, path.display()));
        }
    };
    let mut metadata = vec![("general.architecture".to_owned(), Value::Text(architecture.into()))];
    let mut stacks = if transformer.is_some() { flux_file::stacks(stored) } else { t5::stacks(stored) }?;
    if transformer.is_none() {
        metadata.extend(t5::metadata(stored)?);
    }
    if let Some(dtype) = dtype {
        metadata.push(("general.quantization_version".into(), Value::U32(QUANTIZATION_VERSION)));
        metadata.extend(file_type(dtype).map(|id| ("general.file_type".into(), Value::U32(id))));
    }
    let mut ours: Vec<(String, String)> = header(checkpoint, &[kind]).into_iter().collect();
    ours.sort();
    metadata.extend(ours.into_iter().map(|(key, text)| (key, Value::Text(text))));
    for stack in &mut stacks {
        stack.kind = kind_of(stack, dtype).ok_or_else(|| flux_file::several_types(stored, &stack.name))?;
    }
    stacks.sort_by(|one, other| one.name.cmp(&other.name));
    gguf::write(path, &metadata, &stacks)?;
    let largest = stacks.iter().max_by_key(|stack| stack.shape.iter().product::<usize>());
    Ok((kind, largest.map_or(TensorType::Plain(Storage::F32), |stack| stack.kind)))
}

/// What a tensor is written as; `None` if that is to be as it is, and its rows differ.
fn kind_of(stack: &Stack, dtype: Option<TensorType>) -> Option<TensorType> {
    let Stack { name, shape, .. } = stack;
    if shape.len() < 2 || shape.iter().product::<usize>() <= SMALL || name.contains(DISTANCES) {
        return Some(TensorType::Plain(Storage::F32));
    }
    let own = stack.encoding();
    let unquantised = match own {
        Some(Encoding::Plain(Storage::Bf16)) => TensorType::Plain(Storage::Bf16),
        _ => TensorType::Plain(Storage::F16),
    };
    let kept = || KEPT.iter().any(|start| name.starts_with(start));
    Some(match dtype {
        Some(plain @ TensorType::Plain(_)) => plain,
        Some(blocks) if kept() || blocks.size(shape).is_none() => unquantised,
        Some(blocks) => blocks,
        None => match own? {
            Encoding::Plain(storage) => TensorType::Plain(storage),
            Encoding::Packed(Packing::Blocks(kind)) => TensorType::Blocks(kind),
            // GGUF has no fp8; f16 has room for its codes.
            Encoding::Packed(Packing::Fp8 { .. }) => unquantised,
        },
    })
}

/// llama.cpp's number of files whose tensors are mostly of a type.
fn file_type(dtype: TensorType) -> Option<u32> {
    match dtype {
        TensorType::Plain(Storage::F32) => Some(0),
        TensorType::Plain(Storage::F16) => Some(1),
        TensorType::Plain(Storage::Bf16) => Some(32),
        TensorType::Blocks(BlockKind::Q4_0) => Some(2),
        TensorType::Blocks(BlockKind::Q8_0) => Some(7),
        TensorType::Blocks(BlockKind::Q4K) => Some(14),
        TensorType::Blocks(BlockKind::Q5K) => Some(16),
        TensorType::Blocks(BlockKind::Q6K) => Some(18),
        TensorType::Blocks(_) => None,
    }
}
