//! EDM: what goes into the network and comes out of it has unit variance at every noise level.
//!
//! Karras et al. 2022, arXiv:2206.00364, Table 1 and Section 5.

use crate::{Error, Result};

/// D(x; σ) = c_skip·x + c_out·F(c_in·x; c_noise), F being the network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preconditioning {
    /// σ_d²/(σ² + σ_d²).
    pub c_skip: f64,
    /// σ·σ_d/√(σ² + σ_d²).
    pub c_out: f64,
    /// 1/√(σ² + σ_d²).
    pub c_in: f64,
    /// ln(σ)/4.
    pub c_noise: f64,
    /// λ = (σ² + σ_d²)/(σ·σ_d)², the weight of the squared error of D: 1/c_out².
    pub weight: f64,
}

impl Preconditioning {
    /// At noise level `sigma` for data of standard deviation `sigma_data`, σ_d.
    ///
    /// # Errors
    /// `Error::Argument` unless both are finite and above 0.
    pub fn new(sigma: f64, sigma_data: f64) -> Result<Self> {
        for (name, value) in [("sigma", sigma), ("sigma_data", sigma_data)] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::argument(name, "a finite number above 0", value));
            }
        }
        let total = sigma * sigma + sigma_data * sigma_data;
        Ok(Self {
            c_skip: sigma_data * sigma_data / total,
            c_out: sigma * sigma_data / total.sqrt(),
            c_in: 1.0 / total.sqrt(),
            c_noise: sigma.ln() / 4.0,
            weight: total / (sigma * sigma_data).powi(2),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_of_the_network_has_unit_variance() {
        let (sigma, sigma_data) = (1.7_f64, 0.4_f64);
        let c = Preconditioning::new(sigma, sigma_data).unwrap();
        // F's target is (y − c_skip (y + n))/c_out for y ~ N(0, σ_d²), n ~ N(0, σ²).
        let variance = ((1.0 - c.c_skip) * sigma_data).powi(2) + (c.c_skip * sigma).powi(2);
        assert!((variance / (c.c_out * c.c_out) - 1.0).abs() < 1e-12);
        assert!((c.weight * c.c_out * c.c_out - 1.0).abs() < 1e-12);
        assert!(Preconditioning::new(0.0, 0.5).is_err());
    }
}
