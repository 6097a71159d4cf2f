//! The reverse process: one file per sampler.
