//! A network and its optimiser: from the gradients of a batch to new weights, on the host, or where the network runs.

use burn::module::Module;
use calotype_kernels::has_kernels;

use super::batch::Batch;
use super::data_parallel::{BatchGradients, ShareSums, recycle};
use super::device_gradients::DeviceGradients;
use super::exchange;
use super::objective::Objective;
use super::optimizer::{OnDevice, Optimizer};
use super::session::Session;
use super::weights::fill_among;
use crate::error::Result;
use crate::files::NamedTensor;
use crate::ranks::Ranks;
use crate::ranks::agreement::agree;

/// A network in training.
pub(super) struct Learner<N> {
    /// With the optimiser's current weights.
    network: N,
    optimizer: Optimizer,
    /// Has newer numbers than the optimiser, where the device is not the CPU and the training can stay there.
    on_device: Option<OnDevice>,
}

/// Whether a training computes whole steps on its device, and keeps moments and averages there.
pub(super) fn stays_on_device<N: Module + Sync, O: Objective<N>>(
    objective: &O,
    optimizer: &Optimizer,
    session: &Session,
) -> bool {
    !has_kernels(session.device)
        && session.ranks.count() == 1
        && objective.in_one_pass()
        && OnDevice::takes(optimizer)
}

/// What a step tells.
pub(super) struct Learned {
    /// Of the gradients, before clipping.
    pub gradient_norm: f64,
    /// Means over the batch of [`ShareLoss::logged`](super::objective::ShareLoss::logged).
    pub logged: Vec<f64>,
}

impl<N: Module + Sync> Learner<N> {
    /// `network` with the weights of `optimizer`, whose parameters it has.
    ///
    /// # Errors
    /// `Error::Ranks`.
    pub fn new<O: Objective<N>>(
        objective: &O,
        network: N,
        optimizer: Optimizer,
        session: &Session,
    ) -> Result<Self> {
        let stays = stays_on_device(objective, &optimizer, session);
        let on_device = if stays { OnDevice::new(&optimizer, session.device) } else { None };
        let network = fill_among(&optimizer, network, session.ranks)?;
        Ok(Self { network, optimizer, on_device })
    }

    /// One step. Nothing has changed if a gradient is not finite.
    ///
    /// # Errors
    /// As [`Objective::gradients`] and [`Optimizer::step_among`], on all ranks alike.
    pub fn step<O: Objective<N>>(
        &mut self,
        objective: &O,
        step: usize,
        batch: &Batch<O::Share>,
        (threads, ranks): (usize, &dyn Ranks),
    ) -> Result<Learned> {
        let rate = objective.learning_rate(step);
        if self.on_device.is_some() {
            return self.step_on_device(objective, step, batch, rate);
        }
        let computed = agree(ranks, objective.gradients(&self.network, step, batch, threads, ranks))?;
        let (gradients, logged) = self.mean_of_ranks(objective, step, batch, computed, ranks)?;
        let norm = self.optimizer.step_among(&gradients, rate, ranks);
        // Every rank knows the same norm, or the same fault.
        let norm = norm.or_else(|error| agree(ranks, Err(error.in_batch(step, batch.items.clone()))))?;
        recycle(gradients);
        for (name, largest) in objective.bounds() {
            self.optimizer.constrain(name, |x| x.min(largest));
        }
        self.network = fill_among(&self.optimizer, self.network.clone(), ranks)?;
        Ok(Learned { gradient_norm: norm, logged })
    }

    fn step_on_device<O: Objective<N>>(
        &mut self,
        objective: &O,
        step: usize,
        batch: &Batch<O::Share>,
        rate: f64,
    ) -> Result<Learned> {
        let Self { network, on_device: Some(optimizer), .. } = self else {
            unreachable!("the caller has looked")
        };
        let trains = |name: &str| objective.trains(name);
        let loss = |network: &N, share: &O::Share| objective.loss(network, step, share);
        let gradients = DeviceGradients::of_shares(network, batch, step, trains, loss)?;
        let norm = optimizer.step(&gradients, rate);
        let norm = norm.map_err(|error| error.in_batch(step, batch.items.clone()))?;
        for (name, largest) in objective.bounds() {
            optimizer.bound(name, largest);
        }
        *network = optimizer.fill(network.clone());
        Ok(Learned { gradient_norm: norm, logged: gradients.logged })
    }

    /// The gradients that this rank's parameters need, and the means of what is logged.
    fn mean_of_ranks<O: Objective<N>>(
        &self,
        objective: &O,
        step: usize,
        batch: &Batch<O::Share>,
        sums: ShareSums,
        ranks: &dyn Ranks,
    ) -> Result<(Vec<NamedTensor>, Vec<f64>)> {
        if ranks.count() == 1 {
            let BatchGradients { gradients, logged } = sums.whole(step, batch)?;
            return Ok((gradients, logged));
        }
        let logged = exchange::logged(&sums, objective.logged().len(), ranks)?;
        Ok((exchange::owned_gradients(sums, &self.optimizer.owners(), ranks)?, logged))
    }

    /// The network, and the optimiser with the numbers of the last step.
    pub fn look(&mut self) -> (&N, &Optimizer) {
        if let Some(on_device) = &self.on_device {
            self.optimizer.take_back(on_device);
        }
        (&self.network, &self.optimizer)
    }

    /// The same, for good.
    pub fn into_parts(mut self) -> (N, Optimizer) {
        self.look();
        (self.network, self.optimizer)
    }
}
