//! Adapters that are not LoRA, refused by name: applied as LoRA they would give another picture.

use super::LoraFile;
use crate::error::Result;

/// Marks in tensor names, and what they are marks of.
const OTHERS: [(&str, &str); 14] = [
    (".dora_scale", "DoRA (weight-decomposed adaptation)"),
    (".lora_magnitude_vector", "DoRA (weight-decomposed adaptation)"),
    (".hada_", "LoHa (Hadamard products)"),
    (".lokr_", "LoKr (Kronecker products)"),
    (".oft_", "OFT (orthogonal finetuning)"),
    (".boft_", "BOFT (orthogonal finetuning)"),
    (".on_input", "(IA)³"),
    (".a1.weight", "GLoRA"),
    (".b1.weight", "GLoRA"),
    (".diff", "full weight differences"),
    (".w_norm", "trained normalisation layers"),
    (".lora_embedding_", "adapters of embeddings"),
    (".lora_B.bias", "LoRA with biases"),
    (".lora_up.bias", "LoRA with biases"),
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
            let reason = format!("`{name}` is of {method}; only plain LoRA can be applied");
            return Err(file.fault(reason));
        }
    }
    Ok(())
}
