//! Beside the gradients that the host sums.

use burn::tensor::{Device, TensorData};

use super::*;
use crate::nn::{Init, Linear};
use crate::trainer::data_parallel::{differentiated, mean_of_shares};

impl DeviceGradients {
    /// Gradients that the host has.
    pub(crate) fn uploaded(gradients: Vec<crate::files::NamedTensor>, device: &Device) -> Self {
        let squares = |values: &[f32]| values.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
        Self {
            squares: gradients.iter().map(|gradient| squares(&gradient.values)).collect(),
            gradients: gradients
                .into_iter()
                .map(|gradient| DeviceTensor {
                    values: Tensor::from_data(
                        TensorData::new(gradient.values, [gradient.shape.iter().product::<usize>()]),
                        device,
                    ),
                    name: gradient.name,
                    shape: gradient.shape,
                })
                .collect(),
            logged: vec![],
        }
    }
}

/// Rows of three numbers.
struct Rows(Vec<f32>);

/// The mean square of what a layer makes of a share, with every kind of number for the log.
fn loss(layer: &Linear, Rows(rows): &Rows) -> Result<ShareLoss> {
    let x = Tensor::<2>::from_data(TensorData::new(rows.clone(), [rows.len() / 3, 3]), &Device::flex());
    let total = layer.forward(x.autodiff()).square().mean();
    let logged = vec![Number::of(&total), Number::Known(2.5), Number::Share(total.clone().inner(), 4)];
    Ok(ShareLoss { terms: vec![("square", total.clone())], total, logged })
}

fn batch(shares: Vec<Vec<f32>>) -> Batch<Rows> {
    let items = (0..shares.len()).map(|i| format!("item {i}")).collect();
    let shares: Vec<Rows> = shares.into_iter().map(Rows).collect();
    Batch { of: shares.len(), shares, first: 0, items, captions: vec![], damaged: vec![] }
}

#[test]
fn the_mean_over_shares_is_the_hosts() {
    let layer = Linear::new(3, 2, true, &mut Init::random(0, &Device::flex()));
    let batch = batch((0..3).map(|i| (0..6).map(|j| (0.7 * (i * 6 + j) as f32).sin()).collect()).collect());
    for trains in [|_: &str| true, |name: &str| name == "weight"] {
        let of_host =
            |layer: &Linear, share: &Rows| differentiated(layer, trains, |layer| loss(layer, share));
        let expected = mean_of_shares(&layer, &batch, 1, 0, of_host).unwrap();
        let got = DeviceGradients::of_shares(&layer, &batch, 0, trains, loss).unwrap();
        assert_eq!(got.logged, expected.logged);
        assert_eq!(got.gradients.len(), expected.gradients.len());
        for (i, gradient) in expected.gradients.iter().enumerate() {
            assert_eq!((got.name(i), &got.gradients[i].shape), (gradient.name.as_str(), &gradient.shape));
            let values: Vec<f32> = got.gradients[i].values.to_data().iter().collect();
            assert_eq!(values, gradient.values, "{}", gradient.name);
            let squares: f64 = values.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
            assert!((got.squares()[i] / squares - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn a_loss_that_is_no_number_is_refused_with_its_share() {
    let layer = Linear::new(3, 2, true, &mut Init::random(0, &Device::flex()));
    let batch = batch(vec![vec![1.0, 2.0, 3.0], vec![1.0, f32::NAN, 3.0]]);
    let error = DeviceGradients::of_shares(&layer, &batch, 7, |_| true, loss).unwrap_err().to_string();
    assert!(error.starts_with("`square` of the loss is not finite at step 7"), "{error}");
    assert!(error.contains("item 1") && !error.contains("item 0"), "{error}");
}
