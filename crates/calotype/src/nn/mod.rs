//! Blocks that the networks share.
//!
//! Every block keeps its parameters under diffusers' and transformers' tensor names and in
//! PyTorch's shapes (`Linear::weight` is `[out, in]`), so that a field's path *is* the key in the
//! weight file and nothing is renamed or transposed on the way in or out.

pub mod attention;
pub mod component;
pub mod compute;
pub mod conv2d;
pub mod embedding;
pub mod init;
pub mod layout;
pub mod linear;
pub mod lora;
pub mod norm;
mod offload;
pub mod parameters;
pub mod pooling;
pub mod resample;
pub mod resnet_block;
pub mod softplus;
pub mod timestep_embedding;
pub mod transformer_2d;

pub use attention::{Attention, AttentionHook, Qkv, Reads, Weigh};
pub use component::Component;
pub use compute::{Compute, Precision, Products};
pub use conv2d::Conv2d;
pub use embedding::Embedding;
pub use init::Init;
pub use linear::Linear;
pub use lora::Lora;
pub use norm::{GroupNorm, LayerNorm, RmsNorm};
pub use resnet_block::ResnetBlock;
pub use softplus::softplus;
