//! From a prompt to a picture.

pub mod text_to_image;

pub use text_to_image::{Request, TextToImage};
