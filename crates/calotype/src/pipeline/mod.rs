//! From a prompt, and perhaps a picture, to a picture.

pub mod generation_parameters;
mod guided;
pub mod origin;
pub mod text_to_image;

pub use origin::Origin;
pub use text_to_image::{OnStep, Request, Sampling};
