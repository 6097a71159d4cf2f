//! Linear multistep: the slopes of up to four steps, one call of the network each.

use burn::tensor::Tensor;

use super::solver::{Solver, Step, slope};
use crate::Result;

/// x ← x + Σ_j d_j·∫ℓ_j(σ)dσ from σ to σ_next, with d_j the slopes at the last levels and ℓ_j the Lagrange
/// polynomial that is 1 at its level and 0 at the others: Adams and Bashforth's method on any grid.
///
/// The first steps know fewer slopes, so the whole run is of second order. Liu et al. 2022,
/// arXiv:2202.09778, section 3.1, has the same on even grids.
#[derive(Debug, Clone, Default)]
pub struct Lms {
    /// (σ, slope), newest first, at most four.
    history: Vec<(f64, Tensor<4>)>,
}

impl Lms {
    fn follow(&mut self, x: Tensor<4>, x_0: Tensor<4>, from: f64, to: f64) -> Tensor<4> {
        self.history.insert(0, (from, slope(&x, x_0, from)));
        self.history.truncate(4);
        let levels: Vec<f64> = self.history.iter().map(|(sigma, _)| *sigma).collect();
        let weighted =
            self.history.iter().enumerate().map(|(j, (_, d))| d.clone() * weight(&levels, j, from, to));
        weighted.fold(x, |x, change| x + change)
    }
}

/// ∫ℓ_j from `from` to `to`: two points of Gauss and Legendre, which is exact for cubics.
fn weight(levels: &[f64], j: usize, from: f64, to: f64) -> f64 {
    let lagrange = |sigma: f64| -> f64 {
        let others = levels.iter().enumerate().filter(|(k, _)| *k != j);
        others.map(|(_, level)| (sigma - level) / (levels[j] - level)).product()
    };
    let (middle, half) = ((from + to) / 2.0, (to - from) / 2.0);
    let offset = half / 3.0_f64.sqrt();
    half * (lagrange(middle - offset) + lagrange(middle + offset))
}

impl Solver for Lms {
    fn step(&mut self, step: Step) -> Result<Tensor<4>> {
        let Step { x, x_0, from, to, .. } = step;
        Ok(self.follow(x, x_0, from, to))
    }

    /// As every other step, since slopes are finite at 0.
    fn last(&mut self, x: Tensor<4>, x_0: Tensor<4>, from: f64) -> Tensor<4> {
        self.follow(x, x_0, from, 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On an even grid the weights are those of Adams and Bashforth.
    #[test]
    fn weights_on_an_even_grid() {
        let adams_bashforth = [55.0, -59.0, 37.0, -9.0];
        for (j, expected) in adams_bashforth.into_iter().enumerate() {
            let got = weight(&[4.0, 5.0, 6.0, 7.0], j, 4.0, 3.0);
            assert!((got + expected / 24.0).abs() < 1e-14, "{j}: {got}");
        }
    }
}
