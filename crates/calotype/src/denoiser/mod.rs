//! `UNet2DConditionModel`: predicts the noise in a latent, given the timestep and the text.
//! Ho et al. 2020, arXiv:2006.11239; Rombach et al. 2022, arXiv:2112.10752, section 3.3.

pub mod unet;

pub use unet::{AddedCondition, Beside, Unet, UnetConfig};
