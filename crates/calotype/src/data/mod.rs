//! Captioned pictures: the embedded emoji-scenes, and collections of files.

pub mod buckets;
pub mod collection;
pub mod division;
pub mod emoji_scenes;
pub mod image_folder;
pub mod inspection;
pub mod item;
mod json;
pub mod loader;
pub mod open;
pub mod parquet;
pub mod picture;
pub mod pictures;
pub mod resize;
pub mod source;
mod splits;
pub mod tensors;
mod text;
pub mod timing;
pub mod transform;
pub mod web_dataset;
