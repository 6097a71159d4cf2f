//! Why a file cannot be used, where whoever read it knows: what to do about it follows.

/// The cause of an error about a file. Whoever knows it says it with [`Error::because`](super::Error::because).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The end is missing.
    CutOff,
    /// The bytes contradict each other.
    Damaged,
    /// Numbers are NaN or infinite.
    NotFinite,
    /// Git has left a pointer in place of the file.
    GitLfsPointer,
    /// A server has answered with a page or a message in place of the file.
    ServersAnswer,
    /// The file is packed in an archive.
    Packed,
    /// Numbers of 8 bits and fewer, in a way that is not read.
    Quantised,
    /// The config and the weights lie beside each other and do not fit.
    ConfigOfAnotherModel,
    /// A LoRA in place of a model or a learned word.
    IsLora,
    /// A learned word in place of a model or a LoRA.
    IsEmbedding,
    /// A LoRA for a model with another denoiser.
    LoraOfAnotherModel,
}

impl Cause {
    /// What the user can do next.
    pub fn hint(self) -> &'static str {
        match self {
            Self::CutOff => "the file may be truncated: copy or download it again",
            Self::Damaged => "the file is damaged: copy or download it again",
            Self::NotFinite => {
                "its training has diverged, or the file is damaged: take another checkpoint or copy"
            }
            Self::GitLfsPointer => {
                "`git lfs pull` puts the file itself in its place; without git-lfs, download it from the website"
            }
            Self::ServersAnswer => {
                "download the file itself: is the address that of the file, and do you have access to it?"
            }
            Self::Packed => "unpack it first",
            Self::Quantised => "take the model in f32, f16 or bf16, in fp8 (safetensors) or as GGUF",
            Self::ConfigOfAnotherModel => "do config.json and the weight file come from the same model?",
            Self::IsLora => "it changes a model: name the model, and this as its LoRA",
            Self::IsEmbedding => "it is a learned word of a model: name the model, and this as its embedding",
            Self::LoraOfAnotherModel => "take the model that it was trained for, or a LoRA for this one",
        }
    }
}
