//! The conditional U-Net.
