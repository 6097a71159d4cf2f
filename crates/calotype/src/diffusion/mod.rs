//! Noise schedule, forward process, predictions, guidance.
//!
//! Timesteps run from 0 (clean) to T−1 (noise). Coefficients are computed in `f64`; tensors keep
//! their own dtype.

pub mod dynamic_shift;
pub mod edm;
pub mod flow;
pub mod forward_process;
pub mod guidance;
pub mod loss_weight;
pub mod prediction;
pub mod schedule;
pub mod scheduler_class;
pub mod scheduler_config;
pub mod sigma_grid;
pub mod training_sample;
pub mod x_0_limit;

pub use dynamic_shift::DynamicShift;
pub use edm::Edm;
pub use forward_process::Rates;
pub use loss_weight::LossWeight;
pub use prediction::PredictionType;
pub use schedule::{BetaSchedule, NoiseSchedule};
pub use scheduler_class::SchedulerClass;
pub use scheduler_config::{SchedulerConfig, TimestepSpacing, VarianceType};
pub use sigma_grid::SigmaSpacing;
pub use training_sample::{Times, TrainingSample};
pub use x_0_limit::X0Limit;

use burn::tensor::Tensor;

use crate::{Error, Result};

/// Refuses two tensors of different shape.
pub(crate) fn same_shape(what: &str, x: &Tensor<4>, y: &Tensor<4>) -> Result<()> {
    if x.dims() == y.dims() {
        return Ok(());
    }
    Err(Error::shape(what, format!("{:?}", x.dims()), format!("{:?}", y.dims())))
}
