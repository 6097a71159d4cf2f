//! Adapters that are not known here, refused by name: applied in part they would give another picture.

use super::LoraFile;
use crate::error::Result;

/// Marks in tensor names, and what they are marks of.
const OTHERS: [(&str, &str); 12] = [
    (".oft_", "OFT or BOFT (orthogonal finetuning)"),
    (".boft_", "BOFT (orthogonal finetuning)"),
    (".a1.weight", "GLoRA"),
    (".a2.weight", "GLoRA"),
    (".b1.weight", "GLoRA"),
    (".b2.weight", "GLoRA"),
    (".lambda_layer", "T-LoRA"),
    (".lokr_t1", "LoKr with a kernel in its first matrix"),
    (".ia3_l", "PEFT's (IA)³"),
    (".lora_embedding_", "adapters of embeddings"),
    (".vera_lambda_", "VeRA"),
    (".hra_u", "HRA (Householder reflections)"),
];

/// Refuses a file of another method.
///
/// # Errors
/// `Error::Format` with the tensor and the method.
pub(super) fn refuse_others(file: LoraFile) -> Result<()> {
    for name in file.tensors.keys() {
        // A mark ends a name or stands before its last pieces: `.diff` is one, `.diffusion_model` is none.
        let marked = OTHERS.iter().find(|(mark, _)| {
            name.rfind(mark).is_some_and(|at| {
                let rest = &name[at + mark.len()..];
                mark.ends_with('_') || rest.is_empty() || rest.starts_with(['.', '_'])
            })
        });
        if let Some((_, method)) = marked {
            let reason = format!("`{name}` is of {method}, which cannot be applied here");
            return Err(file.fault(reason));
        }
    }
    Ok(())
}
