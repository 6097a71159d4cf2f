//! From a prompt, and perhaps a picture, to a picture.

pub mod batches;
mod generation;
pub mod generation_parameters;
pub mod given_picture;
mod guided;
pub mod latents;
mod load;
mod lora_dir;
pub mod origin;
pub mod prompt_list;
pub mod record;
mod reference;
pub mod request;
pub(crate) mod script;
mod step;
pub mod text_to_image;
mod warnings;

pub use generation::{Generation, GivenPictures};
pub use origin::Origin;
pub use request::Request;
pub use step::Step;
pub use text_to_image::{OnStep, PictureRequest, Sampling};
