//! Is it any good?

pub mod scene_checker;
