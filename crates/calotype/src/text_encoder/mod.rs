//! What reads the prompt: CLIP's text tower, with the vision tower that it is trained against, and T5's encoder.
//!
//! CLIP: Radford et al. 2021, arXiv:2103.00020.

pub mod clip;
pub mod clip_text;
pub mod clip_vision;
pub mod composition;
pub mod config;
pub mod contrastive_loss;
pub mod encoder;
pub mod extra_network;
pub mod prompt;
pub mod reading;
pub mod schedule;
pub mod stack;
pub mod t5;
pub mod textual_inversion;
pub mod tokenizer;

pub use clip::Clip;
pub use clip_text::ClipText;
pub use clip_vision::ClipVision;
pub use config::{ClipConfig, ClipTextConfig, ClipVisionConfig};
pub use t5::{T5Config, T5Encoder, T5Tokenizer, T5Tower};
