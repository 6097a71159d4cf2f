//! The embedded emoji-scenes and image folders.

pub mod emoji_scenes;
pub mod image_folder;
pub mod resize;
pub mod source;
pub mod tensors;
