//! Which word lit which pixel.
