//! AutoencoderKL: image to latent and back.
