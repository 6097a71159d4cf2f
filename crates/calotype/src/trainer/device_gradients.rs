//! The gradients of a batch that stay where the network runs, and the few numbers of a step that the host reads, in one
//! go.

use burn::module::Module;
use burn::tensor::Tensor;

use super::batch::Batch;
use super::data_parallel::mean;
use super::objective::{Number, ShareLoss};
use crate::error::{Error, Result};
use crate::nn::parameters::on_device::{DeviceTensor, device_gradients};
use crate::nn::parameters::tracked_where;
use crate::ranks::ordered_sum::{Node, OrderedSum};

/// The gradients of the mean loss over a batch.
#[derive(Debug, Clone)]
pub struct DeviceGradients {
    gradients: Vec<DeviceTensor>,
    /// Each one's sum of squares, as the host has read it.
    squares: Vec<f64>,
    /// Means over the shares of [`ShareLoss::logged`].
    pub logged: Vec<f64>,
}

impl DeviceGradients {
    /// The gradients of the mean of `loss` over the shares of a batch, which come one after another, in the order of
    /// [`mean_of_shares`](super::data_parallel::mean_of_shares). The host waits for the device once, when all work is given
    /// to it.
    ///
    /// # Errors
    /// Those of `loss`; `Error::Diverged` for a loss or a gradient that is not finite; `Error::Argument` for no share.
    pub fn of_shares<M: Module, S>(
        network: &M,
        batch: &Batch<S>,
        step: usize,
        trains: impl Fn(&str) -> bool,
        loss: impl Fn(&M, &S) -> Result<ShareLoss>,
    ) -> Result<Self> {
        let (mut sum, mut losses) = (OrderedSum::new(batch.of), Vec::new());
        let scale = 1.0 / batch.of as f32;
        let mut add = |sum: &mut Vec<DeviceTensor>, other, whole: bool| {
            absorb(sum, other, if whole { scale } else { 1.0 });
        };
        for (start, share) in batch.shares.iter().enumerate() {
            // Every share has leaves of its own.
            let leaves = tracked_where(network, &trains);
            let found = loss(&leaves, share)?;
            let mut gradients = found.total.backward();
            let node = Node { start, len: 1, sum: device_gradients(&leaves, &mut gradients, &trains) };
            sum.push(node, &mut add);
            losses.push(found.without_graph());
        }
        let gradients =
            sum.total(&mut add).ok_or_else(|| Error::argument("batch", "at least one part", 0))?;
        let found = Reading::of(&losses, &gradients).read();
        if let Some(bad) = found.totals.iter().position(|loss| !loss.is_finite()) {
            let per_share = batch.items.len().div_ceil(batch.shares.len()).max(1);
            let items = batch.items.chunks(per_share).nth(bad).unwrap_or(&[]);
            return Err(losses[bad].not_finite(found.totals[bad] as f32).in_batch(step, items.to_vec()));
        }
        let computed = Self { gradients, squares: found.squares, logged: mean(&found.logged) };
        computed.refuse_not_finite().map_err(|error| error.in_batch(step, batch.items.clone()))?;
        Ok(computed)
    }

    /// The numbers of each gradient, in the order of the parameters.
    pub fn values(&self) -> impl Iterator<Item = &Tensor<1>> {
        self.gradients.iter().map(|gradient| &gradient.values)
    }

    /// Each gradient's sum of squares.
    pub fn squares(&self) -> &[f64] {
        &self.squares
    }

    /// The parameter that gradient `i` is of.
    pub fn name(&self, i: usize) -> &str {
        &self.gradients[i].name
    }

    /// Refuses gradients of other parameters than these, by name and shape in their order.
    ///
    /// # Errors
    /// `Error::Shape` naming the first that differs.
    pub fn require<'a>(
        &self,
        parameters: impl ExactSizeIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<()> {
        if parameters.len() != self.gradients.len() {
            return Err(Error::shape("gradients", parameters.len(), self.gradients.len()));
        }
        for ((name, shape), gradient) in parameters.zip(&self.gradients) {
            if name != gradient.name || shape != gradient.shape {
                let got = format!("`{}` {:?}", gradient.name, gradient.shape);
                return Err(Error::shape("gradient", format!("`{name}` {shape:?}"), got));
            }
        }
        Ok(())
    }

    /// Refuses NaN and infinity, naming the first tensor; the squares tell, and the tensor itself is read only then.
    fn refuse_not_finite(&self) -> Result<()> {
        let Some(bad) = self.squares.iter().position(|square| !square.is_finite()) else { return Ok(()) };
        let DeviceTensor { name, values, .. } = &self.gradients[bad];
        let bad = values.to_data().iter::<f32>().find(|g| !g.is_finite());
        let got = bad.map_or("squares that overflow".into(), |g| g.to_string());
        Err(Error::NonFinite { what: format!("gradient of `{name}`"), step: 0, got })
    }
}

/// (sum + share)·`scale`.
fn absorb(sum: &mut [DeviceTensor], share: Vec<DeviceTensor>, scale: f32) {
    for (sum, other) in sum.iter_mut().zip(share) {
        let added = sum.values.clone() + other.values;
        sum.values = if scale == 1.0 { added } else { added * scale };
    }
}

/// What the host reads of a step, in one tensor.
struct Reading<'a> {
    losses: &'a [ShareLoss],
    tensors: Vec<Tensor<1>>,
}

/// What it has read.
struct Found {
    /// The loss of each share.
    totals: Vec<f64>,
    /// What each share logs.
    logged: Vec<Vec<f64>>,
    squares: Vec<f64>,
}

impl<'a> Reading<'a> {
    fn of(losses: &'a [ShareLoss], gradients: &[DeviceTensor]) -> Self {
        let mut tensors: Vec<Tensor<1>> = losses.iter().map(|loss| loss.total.clone()).collect();
        tensors.extend(losses.iter().flat_map(|loss| loss.logged.iter().filter_map(Number::tensor)));
        tensors.extend(gradients.iter().map(|gradient| gradient.values.clone().square().sum()));
        Self { losses, tensors }
    }

    fn read(self) -> Found {
        let numbers = Tensor::cat(self.tensors, 0).into_data();
        let mut numbers = numbers.iter::<f32>();
        let totals = numbers.by_ref().take(self.losses.len()).map(f64::from).collect();
        let mut of_share = |loss: &ShareLoss| -> Vec<f64> {
            loss.logged
                .iter()
                .map(|number| number.known_with(|| numbers.next().unwrap_or(f32::NAN)))
                .collect()
        };
        let logged = self.losses.iter().map(&mut of_share).collect();
        Found { totals, logged, squares: numbers.map(f64::from).collect() }
    }
}

#[cfg(test)]
mod tests;
