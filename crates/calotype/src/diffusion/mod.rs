//! Noise schedule, forward process, predictions, guidance.
