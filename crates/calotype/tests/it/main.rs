//! Integration tests, one module for each concern.
#![recursion_limit = "256"]

mod compute;
mod conversion;
mod devices;
mod diffusers_schedulers;
mod edit_score;
mod editing;
mod exchanged_captions;
mod explain;
mod file_map;
mod fine_tuning;
mod flux;
mod flux_fine_tuning;
mod flux_lora;
mod flux_pipelines;
mod formula;
mod fuzz;
mod golden;
#[cfg(feature = "gpu")]
mod gpu;
mod gradients;
mod grounding;
mod inception;
mod layering;
#[cfg(feature = "onnx")]
mod onnx;
mod patch_gan;
mod perceptual;
mod pipeline;
mod preflight;
mod prompts;
mod ranks;
mod reports;
mod source_files;
mod stable_diffusion;
mod support;
mod t5;
mod training;
mod weights;
