//! Training: the loop that every part runs, what each part is trained for, and everything of a run on disk.

pub mod autoencoder;
pub mod batch;
mod claim;
pub mod clip;
pub mod data_parallel;
pub mod denoiser;
pub mod device_gradients;
mod device_room;
pub mod ema_model;
mod exchange;
pub mod gradient_cache;
pub mod latent_statistics;
mod learner;
pub mod lr_schedule;
pub mod metrics_log;
pub mod objective;
pub mod optimizer;
mod owners;
pub mod preflight;
pub mod recipe;
mod run_log;
pub mod session;
pub mod settings;
pub mod spikes;
pub mod state;
mod swap;
pub mod tensor_store;
pub mod training_loop;
mod watching;
pub mod weights;

pub use recipe::Recipe;
pub use session::Session;
