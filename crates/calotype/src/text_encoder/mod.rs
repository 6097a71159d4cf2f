//! CLIP and its tokenizer.

pub mod tokenizer;
