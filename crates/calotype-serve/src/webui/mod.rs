//! `/sdapi/v1`: what clients of AUTOMATIC1111's stable-diffusion-webui call.
//!
//! Fields have webui's names and meaning. What there is not here is refused by name, not passed over: scripts, a second
//! pass at another size, styles.

mod asked;
mod info;
mod lists;
mod options;
mod pictures;

pub use asked::random_seed;
pub use lists::{embeddings, loras, memory, models, refresh, samplers, schedulers, scripts, upscalers, vaes};
pub use options::{Options, get_options, set_options};
pub use pictures::{WhileAwaited, image_to_image, interrupt, png_info, progress, text_to_image};
