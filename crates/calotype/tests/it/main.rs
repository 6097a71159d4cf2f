//! Integration tests, one module for each concern.
#![recursion_limit = "256"]

mod diffusers_schedulers;
mod formula;
mod fuzz;
mod golden;
mod gradients;
mod inception;
mod layering;
#[cfg(feature = "onnx")]
mod onnx;
mod perceptual;
mod pipeline;
mod stable_diffusion;
mod support;
mod training;
mod weights;
