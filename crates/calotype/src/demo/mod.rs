//! What `calotype demo` measures of a model that was trained on the embedded scenes, and the page about it.
//!
//! Above everything: it trains no part itself, but uses the pipeline, the explanations, the metrics and the report.

mod accuracy;
mod clip_metrics;
mod evaluation;
mod heat_maps;
mod numbers;
pub mod report;
mod subject;

pub use accuracy::Accuracy;
pub use clip_metrics::ClipMetrics;
pub use evaluation::{Evaluation, evaluate};
