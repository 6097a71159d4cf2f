//! Which word lit which pixel.

pub mod heat_map;
pub mod localisation;
pub mod overlay;
