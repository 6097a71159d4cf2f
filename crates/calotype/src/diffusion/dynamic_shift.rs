//! How far the noise levels of a run are shifted where the size of the picture decides: Flux's dynamic shifting.

use super::SchedulerConfig;
use crate::{Error, Result};

/// μ as a line through two sizes of pictures, counted in tokens of the transformer; the factor is e^μ
/// ([`shift_exponential`](super::flow::shift_exponential)). Esser et al. 2024, arXiv:2403.03206, section 5.3.2, with the
/// numbers of the model's file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DynamicShift {
    /// μ of [`Self::base_tokens`].
    base: f64,
    /// μ of [`Self::most_tokens`].
    most: f64,
    base_tokens: f64,
    most_tokens: f64,
}

impl DynamicShift {
    /// That of a model's `scheduler_config.json`; `None` unless it has `use_dynamic_shifting`.
    ///
    /// # Errors
    /// `Error::Config` for values of another type, and for numbers of tokens that are one.
    pub fn of(config: &SchedulerConfig) -> Result<Option<Self>> {
        if config.option::<bool>("use_dynamic_shifting")? != Some(true) {
            return Ok(None);
        }
        let number =
            |key: &str, otherwise: f64| Ok::<_, Error>(config.option::<f64>(key)?.unwrap_or(otherwise));
        let shift = Self {
            base: number("base_shift", 0.5)?,
            most: number("max_shift", 1.15)?,
            base_tokens: number("base_image_seq_len", 256.0)?,
            most_tokens: number("max_image_seq_len", 4096.0)?,
        };
        if shift.most_tokens == shift.base_tokens {
            let expected = format!("another number than base_image_seq_len, {}", shift.base_tokens);
            return Err(Error::config(
                "scheduler_config.json",
                "max_image_seq_len",
                expected,
                shift.most_tokens,
            ));
        }
        Ok(Some(shift))
    }

    /// μ of a picture of so many tokens; the line goes on below and above.
    pub fn mu(&self, tokens: usize) -> f64 {
        let slope = (self.most - self.base) / (self.most_tokens - self.base_tokens);
        self.base + slope * (tokens as f64 - self.base_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_refuses;

    fn shift(text: &str) -> Result<Option<DynamicShift>> {
        DynamicShift::of(&SchedulerConfig::parse(text).unwrap())
    }

    #[test]
    fn the_line_is_not_clamped() {
        let flux = shift(r#"{"use_dynamic_shifting": true}"#).unwrap().unwrap();
        for (tokens, mu) in [(256, 0.5), (4096, 1.15), (64, 0.4675), (1024, 0.63), (6000, 1.4722916666666666)]
        {
            assert!((flux.mu(tokens) - mu).abs() < 1e-12, "{tokens} tokens: {}", flux.mu(tokens));
        }
        assert_eq!(shift(r#"{"use_dynamic_shifting": false}"#).unwrap(), None);
        assert_eq!(shift("{}").unwrap(), None);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        let same = r#"{"use_dynamic_shifting": true, "max_image_seq_len": 256}"#;
        assert_refuses(
            shift(same),
            "`scheduler_config.json`: key `max_image_seq_len`: expected another number",
        );
        let text = r#"{"use_dynamic_shifting": true, "base_shift": "half"}"#;
        assert_refuses(shift(text), "`scheduler_config.json`: key `base_shift`");
    }
}
