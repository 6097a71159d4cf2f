//! Whether a text tower looks trained.

use crate::nn::parameters::named_parameters;
use crate::text_encoder::ClipText;

/// What speaks against it. A layer norm starts with weights of exactly 1 and biases of exactly 0, and no training
/// leaves all of them there.
pub fn doubts(text: &ClipText) -> Vec<String> {
    let norms: Vec<_> =
        named_parameters(text).into_iter().filter(|tensor| tensor.name.contains("layer_norm")).collect();
    let untouched = |start: f32, end: &str| {
        let mut these = norms.iter().filter(|tensor| tensor.name.ends_with(end)).peekable();
        these.peek().is_some() && these.all(|tensor| tensor.values.iter().all(|&value| value == start))
    };
    match untouched(1.0, ".weight") && untouched(0.0, ".bias") {
        true => vec![
            "the text encoder looks random: all its layer norms are as they start; captions will mean nothing".into(),
        ],
        false => vec![],
    }
}
