//! Denoisers in closed form: D(x, σ) = E[x₀ | x₀ + σ·ε = x].

use burn::tensor::Tensor;

use crate::diffusion::guidance::classifier_free;
use crate::error::Result;
use crate::self_test::case::{Inputs, unreadable};
use crate::self_test::tensors::{samples, values};

/// The input `model`.
pub enum Model {
    /// x₀ = x.
    Identity,
    /// x₀ ~ Σ w_k N(m_k, s_k²).
    Mixture(Vec<WeightedNormal>),
    /// Two Gaussians, guided.
    Guided { cond: WeightedNormal, uncond: WeightedNormal, scale: f64 },
}

/// w·N(m, s²).
#[derive(Clone, Copy)]
pub struct WeightedNormal {
    pub w: f64,
    pub m: f64,
    pub s: f64,
}

impl WeightedNormal {
    fn read(inputs: Inputs) -> Result<Self> {
        match inputs.text("model")? {
            "gaussian" => Ok(Self { w: 1.0, m: inputs.number("m")?, s: inputs.number("s")? }),
            other => Err(unreadable("model", "gaussian", other)),
        }
    }

    /// E[x₀ | x] = (s² x + σ² m)/(s² + σ²).
    fn x_0(self, x: f64, sigma: f64) -> f64 {
        let (s, v) = (self.s * self.s, sigma * sigma);
        if s + v == 0.0 {
            return self.m;
        }
        (s * x + v * self.m) / (s + v)
    }

    /// ln of w·N(x; m, s² + σ²), but for a constant.
    fn log_density(self, x: f64, sigma: f64) -> f64 {
        let v = self.s * self.s + sigma * sigma;
        self.w.ln() - 0.5 * v.ln() - (x - self.m).powi(2) / (2.0 * v)
    }
}

impl Model {
    pub fn read(inputs: Inputs) -> Result<Self> {
        let model = inputs.object("model")?;
        Ok(match model.text("model")? {
            "identity" => Self::Identity,
            "gaussian" => Self::Mixture(vec![WeightedNormal::read(model)?]),
            "mixture" => {
                let (w, m, s) = (model.list("w")?, model.list("m")?, model.list("s")?);
                let each = w.iter().zip(&m).zip(&s);
                Self::Mixture(each.map(|((&w, &m), &s)| WeightedNormal { w, m, s }).collect())
            }
            "guided" => Self::Guided {
                cond: WeightedNormal::read(model.object("cond")?)?,
                uncond: WeightedNormal::read(model.object("uncond")?)?,
                scale: model.number("scale")?,
            },
            other => {
                return Err(unreadable("model", "gaussian, mixture, identity or guided", other));
            }
        })
    }

    /// The only component.
    pub fn gaussian(inputs: Inputs) -> Result<WeightedNormal> {
        WeightedNormal::read(inputs.object("model")?)
    }

    /// The components of a Gaussian or a mixture.
    pub fn components(&self) -> &[WeightedNormal] {
        match self {
            Self::Mixture(components) => components,
            _ => &[],
        }
    }

    /// D(x, σ), element by element.
    pub fn x_0(&self, x: &Tensor<4>, sigma: f64) -> Result<Tensor<4>> {
        let each =
            |f: &dyn Fn(f64) -> f64| samples(&values(x.clone()).into_iter().map(f).collect::<Vec<_>>());
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Mixture(components) => Ok(each(&|x| mixture(components, x, sigma))),
            Self::Guided { cond, uncond, scale } => {
                classifier_free(each(&|x| cond.x_0(x, sigma)), each(&|x| uncond.x_0(x, sigma)), *scale)
            }
        }
    }
}

/// Each component's D, by how likely x is its own.
fn mixture(components: &[WeightedNormal], x: f64, sigma: f64) -> f64 {
    let log: Vec<f64> = components.iter().map(|c| c.log_density(x, sigma)).collect();
    if components.len() == 1 {
        return components[0].x_0(x, sigma);
    }
    let most = log.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = log.iter().map(|l| (l - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    components.iter().zip(weights).map(|(c, w)| w / sum * c.x_0(x, sigma)).sum()
}
