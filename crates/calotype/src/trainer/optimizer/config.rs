//! The optimiser's settings.

use serde::{Deserialize, Serialize};

use super::ema::EmaConfig;
use crate::named::named_enum;

named_enum! {
    /// How a gradient becomes a change of the weights.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum UpdateRule {
        /// Both moments of every weight. Loshchilov & Hutter 2019, arXiv:1711.05101.
        #[default]
        AdamW = "adamw",
        /// The sign of a momentum: half of AdamW's memory. Chen et al. 2023, arXiv:2302.06675.
        Lion = "lion",
        /// The second moment by rows and columns: little memory. Shazeer & Stern 2018, arXiv:1804.04235.
        Adafactor = "adafactor",
        /// An orthogonalised momentum for the matrices of hidden layers, AdamW for the rest. Jordan et al. 2024.
        Muon = "muon",
    }
}

impl UpdateRule {
    /// β₁ and β₂ where a recipe has none; Adafactor has no such settings.
    fn default_betas(self) -> Option<[f64; 2]> {
        match self {
            UpdateRule::AdamW | UpdateRule::Lion | UpdateRule::Muon => Some([0.9, 0.99]),
            UpdateRule::Adafactor => None,
        }
    }
}

/// Settings of [`Optimizer`](super::Optimizer): `[….training.optimizer]` of a recipe.
///
/// A key that is `None` has the default of its rule; [`filled_in`](Self::filled_in) puts it there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// The rule.
    pub rule: UpdateRule,
    /// β₁: decay of the first moment (AdamW, and Muon's rest), share of the momentum in the step (Lion). 0.9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_1: Option<f64>,
    /// β₂: decay of the second moment (AdamW), of the momentum (Lion). 0.99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta_2: Option<f64>,
    /// μ: decay of Muon's momentum. 0.95.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Muon's learning rate of the matrices of hidden layers, in learning rates. 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_rate: Option<f64>,
    /// ε of AdamW. 1e-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Adafactor only: the learning rate is relative to the root mean square of each parameter. True.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_parameter: Option<bool>,
    /// λ, applied to matrices and kernels only: norms and biases keep their scale.
    pub weight_decay: f64,
    /// Largest Euclidean norm of all gradients together; larger ones are scaled down.
    pub max_gradient_norm: f64,
    /// Decay of the first average of the weights: [`EmaConfig::Decay`]. 0.999 if there are no `emas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// More averages of the weights. Without `ema_decay` the first of them is the first average.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emas: Vec<EmaConfig>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            rule: UpdateRule::AdamW,
            beta_1: None,
            beta_2: None,
            momentum: None,
            hidden_rate: None,
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
    /// The same settings with the rule's defaults written out: settings that mean the same are then equal, and
    /// are stored alike, whether or not a recipe spells a default out.
    pub fn filled_in(mut self) -> Self {
        if let Some([beta_1, beta_2]) = self.rule.default_betas() {
            self.beta_1.get_or_insert(beta_1);
            self.beta_2.get_or_insert(beta_2);
        }
        match self.rule {
            UpdateRule::AdamW => self.epsilon = Some(self.epsilon()),
            UpdateRule::Muon => {
                self.epsilon = Some(self.epsilon());
                self.momentum = Some(self.momentum());
                self.hidden_rate = Some(self.hidden_rate());
            }
            UpdateRule::Lion => {}
            UpdateRule::Adafactor => self.scale_parameter = Some(self.scale_parameter()),
        }
        self.ema_decay = self.first_decay();
        self
    }

    /// β₁ and β₂; zeros for Adafactor, which does not read them.
    pub(super) fn betas(&self) -> [f64; 2] {
        let [beta_1, beta_2] = self.rule.default_betas().unwrap_or_default();
        [self.beta_1.unwrap_or(beta_1), self.beta_2.unwrap_or(beta_2)]
    }

    /// μ of Muon.
    pub(super) fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(0.95)
    }

    /// The rate of Muon's matrices in learning rates.
    pub(super) fn hidden_rate(&self) -> f64 {
        self.hidden_rate.unwrap_or(16.0)
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
        let muon = self.rule == UpdateRule::Muon;
        let has_epsilon = muon || self.rule == UpdateRule::AdamW;
        self.fits_rule("momentum", self.momentum, muon)?;
        self.fits_rule("hidden_rate", self.hidden_rate, muon)?;
        self.fits_rule("epsilon", self.epsilon, has_epsilon)?;
        self.fits_rule("scale_parameter", self.scale_parameter, adafactor)?;
        let [beta_1, beta_2] = self.betas();
        check("beta_1", decay(beta_1), "at least 0 and below 1", beta_1)?;
        check("beta_2", decay(beta_2), "at least 0 and below 1", beta_2)?;
        check("momentum", decay(self.momentum()), "at least 0 and below 1", self.momentum())?;
        check("hidden_rate", above_0(self.hidden_rate()), "above 0", self.hidden_rate())?;
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
