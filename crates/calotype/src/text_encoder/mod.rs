//! CLIP and its tokenizer.
