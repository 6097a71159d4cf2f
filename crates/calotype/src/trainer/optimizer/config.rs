//! The optimiser's settings.

use serde::{Deserialize, Serialize};

use super::ema::EmaConfig;

/// How a gradient becomes a change of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateRule {
    /// Both moments of every weight. Loshchilov & Hutter 2019, arXiv:1711.05101.
    #[default]
    AdamW,
    /// The sign of a momentum: half of AdamW's memory. Chen et al. 2023, arXiv:2302.06675.
    Lion,
    /// The second moment by rows and columns: little memory. Shazeer & Stern 2018, arXiv:1804.04235.
    Adafactor,
}

impl UpdateRule {
    /// β₁ and β₂ where a recipe has none; Adafactor has no such settings.
    fn default_betas(self) -> Option<[f64; 2]> {
        match self {
            UpdateRule::AdamW => Some([0.9, 0.99]),
            UpdateRule::Lion => Some([0.9, 0.99]),
            UpdateRule::Adafactor => None,
        }
    }

    /// The name in a recipe.
    fn name(self) -> &'static str {
        match self {
            UpdateRule::AdamW => "adamw",
            UpdateRule::Lion => "lion",
            UpdateRule::Adafactor => "adafactor",
        }
    }
}

/// Settings of [`Optimizer`](super::Optimizer): `[….training.optimizer]` of a recipe.
///
/// A key that is `None` has the default of its rule. Written out, the defaults are filled in, so that a
/// checkpoint's settings stay the same text when a default is spelled out in the recipe; two settings are
/// equal if they are written alike.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, into = "Written")]
pub struct OptimizerConfig {
    /// The rule.
    pub rule: UpdateRule,
    /// β₁: decay of the first moment (AdamW), share of the momentum in the step (Lion). 0.9.
    pub beta_1: Option<f64>,
    /// β₂: decay of the second moment (AdamW), of the momentum (Lion). 0.99.
    pub beta_2: Option<f64>,
    /// ε of AdamW. 1e-8.
    pub epsilon: Option<f64>,
    /// Adafactor only: the learning rate is relative to the root mean square of each parameter. True.
    pub scale_parameter: Option<bool>,
    /// λ, applied to matrices and kernels only: norms and biases keep their scale.
    pub weight_decay: f64,
    /// Largest Euclidean norm of all gradients together; larger ones are scaled down.
    pub max_gradient_norm: f64,
    /// Decay of the first average of the weights: [`EmaConfig::Decay`]. 0.999 if there are no `emas`.
    pub ema_decay: Option<f64>,
    /// More averages of the weights. Without `ema_decay` the first of them is the first average.
    pub emas: Vec<EmaConfig>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            rule: UpdateRule::AdamW,
            beta_1: None,
            beta_2: None,
            epsilon: None,
            scale_parameter: None,
            weight_decay: 0.01,
            max_gradient_norm: 1.0,
            ema_decay: None,
            emas: Vec::new(),
        }
    }
}

/// A key, what may stand there, and what does: the parts of `Error::Config`.
pub type Refusal = (&'static str, String, String);

impl OptimizerConfig {
    /// β₁ and β₂; zeros for Adafactor, which does not read them.
    pub(super) fn betas(&self) -> [f64; 2] {
        let [beta_1, beta_2] = self.rule.default_betas().unwrap_or_default();
        [self.beta_1.unwrap_or(beta_1), self.beta_2.unwrap_or(beta_2)]
    }

    /// ε of AdamW.
    pub(super) fn epsilon(&self) -> f64 {
        self.epsilon.unwrap_or(1e-8)
    }

    /// Whether Adafactor's rate is relative to the parameter.
    pub(super) fn scale_parameter(&self) -> bool {
        self.scale_parameter.unwrap_or(true)
    }

    /// All averages: `ema_decay`'s, then `emas`; at least one.
    pub fn averages(&self) -> Vec<EmaConfig> {
        let first = self.first_decay().map(EmaConfig::Decay);
        first.into_iter().chain(self.emas.iter().copied()).collect()
    }

    fn first_decay(&self) -> Option<f64> {
        self.ema_decay.or(self.emas.is_empty().then_some(0.999))
    }

    /// Refuses a value out of range, or a key that the rule does not have.
    ///
    /// # Errors
    /// The key, dotted from `optimizer`'s table, what is expected and what there is.
    pub fn validate(&self) -> std::result::Result<(), Refusal> {
        let decay = |x: f64| (0.0..1.0).contains(&x);
        let above_0 = |x: f64| x > 0.0 && x.is_finite();
        let adafactor = self.rule == UpdateRule::Adafactor;
        self.fits_rule("beta_1", self.beta_1, !adafactor)?;
        self.fits_rule("beta_2", self.beta_2, !adafactor)?;
        self.fits_rule("epsilon", self.epsilon, self.rule == UpdateRule::AdamW)?;
        self.fits_rule("scale_parameter", self.scale_parameter, adafactor)?;
        let [beta_1, beta_2] = self.betas();
        check("beta_1", decay(beta_1), "at least 0 and below 1", beta_1)?;
        check("beta_2", decay(beta_2), "at least 0 and below 1", beta_2)?;
        check("epsilon", above_0(self.epsilon()), "above 0", self.epsilon())?;
        let weight_decay = self.weight_decay;
        check("weight_decay", weight_decay == 0.0 || above_0(weight_decay), "at least 0", weight_decay)?;
        check("max_gradient_norm", above_0(self.max_gradient_norm), "above 0", self.max_gradient_norm)?;
        if let Some(ema_decay) = self.ema_decay {
            check("ema_decay", decay(ema_decay), "at least 0 and below 1", ema_decay)?;
        }
        self.emas.iter().try_for_each(|ema| ema.validate().map_err(|(expected, got)| ("emas", expected, got)))
    }

    fn fits_rule(
        &self,
        key: &'static str,
        value: Option<impl ToString>,
        has: bool,
    ) -> std::result::Result<(), Refusal> {
        match value {
            Some(value) if !has => {
                Err((key, format!("no such key with rule `{}`", self.rule.name()), value.to_string()))
            }
            _ => Ok(()),
        }
    }
}

fn check(
    key: &'static str,
    holds: bool,
    expected: &str,
    got: impl ToString,
) -> std::result::Result<(), Refusal> {
    if holds { Ok(()) } else { Err((key, expected.to_owned(), got.to_string())) }
}

impl PartialEq for OptimizerConfig {
    fn eq(&self, other: &Self) -> bool {
        Written::from(self.clone()) == Written::from(other.clone())
    }
}

/// The settings with defaults filled in; what was there before there were other rules comes out as it did
/// then, so that a run of that time can go on.
#[derive(PartialEq, Serialize)]
struct Written {
    #[serde(skip_serializing_if = "is_adamw")]
    rule: UpdateRule,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beta_2: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epsilon: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scale_parameter: Option<bool>,
    weight_decay: f64,
    max_gradient_norm: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ema_decay: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    emas: Vec<EmaConfig>,
}

fn is_adamw(rule: &UpdateRule) -> bool {
    *rule == UpdateRule::AdamW
}

impl From<OptimizerConfig> for Written {
    fn from(config: OptimizerConfig) -> Self {
        let rule = config.rule;
        let betas = config.rule.default_betas();
        Self {
            rule,
            beta_1: config.beta_1.or(betas.map(|betas| betas[0])),
            beta_2: config.beta_2.or(betas.map(|betas| betas[1])),
            epsilon: config.epsilon.or((rule == UpdateRule::AdamW).then(|| config.epsilon())),
            scale_parameter: config
                .scale_parameter
                .or((rule == UpdateRule::Adafactor).then(|| config.scale_parameter())),
            weight_decay: config.weight_decay,
            max_gradient_norm: config.max_gradient_norm,
            ema_decay: config.first_decay(),
            emas: config.emas,
        }
    }
}
