//! Integration tests, one module for each concern.
#![recursion_limit = "256"]

mod gradients;
mod layering;
mod pipeline;
mod support;
mod training;
mod weights;
