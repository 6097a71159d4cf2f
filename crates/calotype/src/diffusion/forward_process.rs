//! The forward process q(x_t | x₀): how much signal and how much noise a timestep holds.

use burn::tensor::{Tensor, TensorData};

use super::{NoiseSchedule, same_shape};
use crate::{Error, Result};

/// Signal rate √ᾱ and noise rate √(1−ᾱ), or those of a flow: one pair for a whole batch, or one per sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    signal: Vec<f64>,
    noise: Vec<f64>,
}

impl Rates {
    /// From ᾱ, one number for the whole batch or one per sample.
    ///
    /// # Errors
    /// `Error::Argument` if an ᾱ lies outside [0, 1].
    pub fn new(alpha_bar: &[f64]) -> Result<Self> {
        if let Some(bad) = alpha_bar.iter().find(|a| !(0.0..=1.0).contains(*a)) {
            return Err(Error::argument("alpha_bar", "0 to 1", bad));
        }
        Ok(Self {
            signal: alpha_bar.iter().map(|a| a.sqrt()).collect(),
            noise: alpha_bar.iter().map(|a| (1.0 - a).sqrt()).collect(),
        })
    }

    /// Of a flow at times `t` in [0, 1]: signal 1−t, noise t. One for the whole batch or one per sample.
    ///
    /// Esser et al. 2024, arXiv:2403.03206, Eq. 13.
    ///
    /// # Errors
    /// `Error::Argument` for t outside [0, 1].
    pub fn flow(t: &[f64]) -> Result<Self> {
        if let Some(bad) = t.iter().find(|t| !(0.0..=1.0).contains(*t)) {
            return Err(Error::argument("t", "0 to 1", bad));
        }
        Ok(Self { signal: t.iter().map(|t| 1.0 - t).collect(), noise: t.to_vec() })
    }

    /// At timesteps `t` of a schedule, one for the whole batch or one per sample.
    ///
    /// # Errors
    /// `Error::Argument` if a timestep is T or more.
    pub fn at(schedule: &NoiseSchedule, t: &[usize]) -> Result<Self> {
        let alpha_bar = t.iter().map(|&t| schedule.alpha_bar(t)).collect::<Result<Vec<_>>>()?;
        Self::new(&alpha_bar)
    }

    /// √ᾱ, as given to the constructor.
    pub fn signal(&self) -> &[f64] {
        &self.signal
    }

    /// √(1−ᾱ), as given to the constructor.
    pub fn noise(&self) -> &[f64] {
        &self.noise
    }

    /// Refuses two tensors of different shape, and a count of rates that is neither 1 nor B.
    pub(super) fn check(&self, what: &str, x: &Tensor<4>, y: &Tensor<4>) -> Result<()> {
        same_shape(what, x, y)?;
        let batch = x.dims()[0];
        if self.signal.len() != 1 && self.signal.len() != batch {
            let expected = format!("1 or {batch} timesteps for a batch of {batch}");
            return Err(Error::shape(what, expected, self.signal.len()));
        }
        Ok(())
    }
}

/// Multiplies sample i of `x` `[B, C, H, W]` by `factors[i]`, or all of it by the only factor.
pub(super) fn scale(x: Tensor<4>, factors: &[f64]) -> Tensor<4> {
    if let [factor] = factors {
        return x.mul_scalar(*factor);
    }
    let column = TensorData::new(factors.to_vec(), [factors.len(), 1, 1, 1]);
    let column = Tensor::from_data(column, (&x.device(), x.dtype())); // [B, 1, 1, 1]
    x * column
}

/// x_t = √ᾱ_t·x₀ + √(1−ᾱ_t)·ε, a sample of q(x_t | x₀); or (1−t)·x₀ + t·ε with the rates of a flow.
///
/// Ho et al. 2020, arXiv:2006.11239, Eq. 4.
///
/// - `x_0`: `[B, C, H, W]`, scaled latents; `eps`: the same shape, ~ N(0, I).
///
/// # Errors
/// `Error::Shape` if the shapes differ, or the rates are neither one nor B.
pub fn add_noise(x_0: Tensor<4>, eps: Tensor<4>, rates: &Rates) -> Result<Tensor<4>> {
    rates.check("forward process", &x_0, &eps)?;
    Ok(scale(x_0, &rates.signal) + scale(eps, &rates.noise))
}

/// Noise that also moves whole channels: ε + strength·z. Plain noise hardly changes the mean of a
/// picture, so a model trained with it makes no very dark or very bright ones.
///
/// Guttenberg 2023, "Diffusion with Offset Noise", where the strength is 0.1.
///
/// - `eps`: `[B, C, H, W]`; `z`: `[B, C, 1, 1]`, ~ N(0, I).
///
/// # Errors
/// `Error::Shape` unless `z` has one number for each channel of each sample.
pub fn offset_noise(eps: Tensor<4>, z: Tensor<4>, strength: f64) -> Result<Tensor<4>> {
    let [b, c, _, _] = eps.dims();
    if z.dims() != [b, c, 1, 1] {
        return Err(Error::shape("offset noise", format!("[{b}, {c}, 1, 1]"), format!("{:?}", z.dims())));
    }
    Ok(eps + z * strength)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::testing::{assert_refuses, values};

    #[test]
    fn every_sample_has_its_own_timestep() {
        let schedule = NoiseSchedule::linear(0.0001, 0.02, 1000).unwrap();
        let device = Device::flex();
        let x_0 = Tensor::<4>::from_data(
            TensorData::new((0..24).map(|i| i as f32 - 12.0).collect(), [3, 2, 2, 2]),
            &device,
        );
        let eps = x_0.clone().sin();
        let t = [0, 999, 400];
        let batch = add_noise(x_0.clone(), eps.clone(), &Rates::at(&schedule, &t).unwrap()).unwrap();
        assert_eq!(batch.dtype(), DType::F32);
        for (i, t) in t.into_iter().enumerate() {
            let one = |x: &Tensor<4>| x.clone().narrow(0, i, 1);
            let alone = add_noise(one(&x_0), one(&eps), &Rates::at(&schedule, &[t]).unwrap()).unwrap();
            assert_eq!(values(one(&batch)), values(alone), "sample {i}");
        }
    }

    #[test]
    fn offset_noise_moves_a_channel_as_one() {
        let device = Device::flex();
        let eps = Tensor::<4>::ones([1, 2, 2, 2], &device);
        let z = Tensor::from_data(TensorData::new(vec![1.0f32, -2.0], [1, 2, 1, 1]), &device);
        let got = values(offset_noise(eps.clone(), z.clone(), 0.5).unwrap());
        assert_eq!(got, [1.5, 1.5, 1.5, 1.5, 0.0, 0.0, 0.0, 0.0]);
        assert_refuses(offset_noise(eps.clone(), eps, 0.5), "offset noise: expected [1, 2, 1, 1]");
    }

    #[test]
    fn a_flow_starts_at_the_data_and_ends_at_the_noise() {
        let device = Device::flex();
        let tensor =
            |values: [f32; 2]| Tensor::from_data(TensorData::new(values.to_vec(), [2, 1, 1, 1]), &device);
        let (x_0, eps) = (tensor([1.0, -2.0]), tensor([0.5, 3.0]));
        let at = |t: &[f64]| values(add_noise(x_0.clone(), eps.clone(), &Rates::flow(t).unwrap()).unwrap());
        assert_eq!(at(&[0.0]), [1.0, -2.0]);
        assert_eq!(at(&[1.0]), [0.5, 3.0]);
        assert_eq!(at(&[0.5, 1.0]), [0.75, 3.0]);
        assert_refuses(Rates::flow(&[1.1]), "t: expected 0 to 1");
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let schedule = NoiseSchedule::linear(0.0001, 0.02, 1000).unwrap();
        assert_refuses(Rates::at(&schedule, &[1000]), "timestep: expected 0 to 999");
        assert_refuses(Rates::new(&[f64::NAN]), "alpha_bar: expected 0 to 1");
        let zeros = |batch| Tensor::<4>::zeros([batch, 1, 1, 1], &Device::flex());
        let rates = Rates::at(&schedule, &[1, 2]).unwrap();
        assert!(add_noise(zeros(2), zeros(2), &rates).is_ok());
        assert_refuses(add_noise(zeros(3), zeros(3), &rates), "forward process: expected 1 or 3 timesteps");
        assert_refuses(add_noise(zeros(2), zeros(1), &rates), "forward process: expected [2, 1, 1, 1]");
    }
}
