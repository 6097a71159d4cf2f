//! CLIP: the text tower that steers the U-Net, the vision tower that it is trained against.
//!
//! Radford et al. 2021, arXiv:2103.00020.

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
pub mod textual_inversion;
pub mod tokenizer;

pub use clip::Clip;
pub use clip_text::ClipText;
pub use clip_vision::ClipVision;
pub use config::{ClipConfig, ClipTextConfig, ClipVisionConfig};
