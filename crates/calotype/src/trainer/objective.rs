//! What a part of the model is trained for, as the training loop sees it.

use std::ops::Range;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use image::RgbImage;
use serde::Serialize;

use super::batch::Batch;
use super::data_parallel::{BatchGradients, ShareSums, differentiated, sums_of_shares};
use super::recipe::{DataRecipe, TrainingRecipe};
use super::session::Session;
use crate::data::source::TrainingSet;
use crate::error::{Error, Result};
use crate::ranks::Ranks;
use crate::runs::folder::TrainedPart;

/// What a loss function says about its share of the batch.
pub struct ShareLoss {
    /// What is differentiated: `[1]`, a mean over the share.
    pub total: Tensor<1>,
    /// The terms of `total` that have a weight above 0 at some step, each `[1]`.
    pub terms: Vec<(&'static str, Tensor<1>)>,
    /// Numbers for the log, means over the share; the first is the loss.
    pub logged: Vec<Number>,
}

impl ShareLoss {
    /// The same numbers without what a pass back needs.
    pub(super) fn without_graph(self) -> Self {
        let Self { total, terms, logged } = self;
        let terms = terms.into_iter().map(|(name, term)| (name, term.without_autodiff())).collect();
        Self { total: total.without_autodiff(), terms, logged }
    }

    /// The fault of a loss whose `value` is not finite: it names the first such term, where there is one.
    pub(super) fn not_finite(&self, value: f32) -> Error {
        let term = self.terms.iter().map(|(name, term)| (name, term.clone().into_scalar::<f32>()));
        let term = term.into_iter().find(|(_, value)| !value.is_finite());
        let (what, got) =
            term.map_or(("loss".into(), value), |(name, value)| (format!("`{name}` of the loss"), value));
        Error::NonFinite { what, step: 0, got: got.to_string() }
    }
}

/// A number for the log. One that a device has computed is read when it is needed, so that nobody waits for it before.
#[derive(Debug, Clone)]
pub enum Number {
    /// The host knows it.
    Known(f64),
    /// `[1]`.
    Tensor(Tensor<1>),
    /// A count, `[1]`, of so many.
    Share(Tensor<1>, usize),
}

impl Number {
    /// The number of a tensor `[1]`.
    pub fn of(x: &Tensor<1>) -> Self {
        Self::Tensor(x.clone().without_autodiff())
    }

    /// What has to be read of it.
    pub fn tensor(&self) -> Option<Tensor<1>> {
        match self {
            Self::Known(_) => None,
            Self::Tensor(x) | Self::Share(x, _) => Some(x.clone()),
        }
    }

    /// The number, by what `read` says its tensor holds.
    pub fn known_with(&self, read: impl FnOnce() -> f32) -> f64 {
        match self {
            Self::Known(number) => *number,
            Self::Tensor(_) => f64::from(read()),
            Self::Share(_, of) => f64::from(read()) / *of as f64,
        }
    }

    /// The number.
    pub fn read(&self) -> f64 {
        self.known_with(|| self.tensor().map_or(f32::NAN, Tensor::into_scalar))
    }
}

/// What a network gets to see, for the check before the first step.
#[derive(Debug, Clone)]
pub struct Input {
    /// What it is.
    pub kind: InputKind,
    /// All its numbers.
    pub values: Vec<f32>,
}

/// What an input should look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputKind {
    /// In [−1, 1].
    Picture,
    /// Of standard deviation 1, about.
    Latent,
}

/// How many pictures may be damaged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Damage {
    /// Different pictures, damaged ones among them; `None` if they have no end, and any number may be damaged.
    pub pictures: Option<usize>,
    /// Share of them that may be damaged.
    pub most: f64,
}

impl Damage {
    /// That of a training set, as the recipe says.
    pub fn of(data: &TrainingSet, recipe: &DataRecipe) -> Self {
        let pictures = data.count().map(|count| count + data.left_out().len());
        Self { pictures, most: recipe.max_damaged }
    }
}

/// What a network `N` is trained for. Everything is a pure function of its arguments: then a resumed run equals one
/// that was never stopped, bit for bit, and the number of workers changes nothing.
pub trait Objective<N: Module + Sync>: Sync {
    /// Equal shares of a batch.
    type Share: Send + Sync;
    /// What the training depends on.
    type Settings: Serialize;

    /// Whose logs and checkpoints these are.
    fn part(&self) -> TrainedPart;

    /// Steps, learning rate and the rest.
    fn training(&self) -> &TrainingRecipe;

    /// What the training depends on: a resume under other settings is refused.
    fn settings(&self) -> Self::Settings;

    /// How many pictures may be damaged; by default any number.
    fn damage(&self) -> Damage {
        Damage::default()
    }

    /// Names of [`ShareLoss::logged`]; the first is the loss.
    fn logged(&self) -> Vec<&'static str>;

    /// Whether the parameter called `name` is trained.
    fn trains(&self, _name: &str) -> bool {
        true
    }

    /// Learning rate of `step`.
    fn learning_rate(&self, step: usize) -> f64 {
        self.training().rate(step)
    }

    /// What the parameter called `name` has of that rate.
    fn rate_factor(&self, _name: &str) -> f64 {
        1.0
    }

    /// Computes what is computed once, for all steps, and kept in the run. Comes after the check and before the first
    /// step; without it the steps only take longer.
    ///
    /// # Errors
    /// Those of the data and of the run's files; `Error::Interrupted`.
    fn fill_caches(&mut self, _session: &Session) -> Result<()> {
        Ok(())
    }

    /// These `shares` of the batch of `step`: runs beside the steps before it.
    ///
    /// # Errors
    /// Those of the data.
    fn prepare(&self, step: usize, shares: Range<usize>) -> Result<Batch<Self::Share>>;

    /// The loss of one share.
    ///
    /// # Errors
    /// `Error::Shape` for what does not fit the network.
    fn loss(&self, network: &N, step: usize, share: &Self::Share) -> Result<ShareLoss>;

    /// The gradients of one share, by default of [`Objective::loss`] in one pass back.
    ///
    /// # Errors
    /// As [`Objective::loss`]; `Error::NonFinite`.
    fn share_gradients(&self, network: &N, step: usize, share: &Self::Share) -> Result<BatchGradients> {
        let trains = |name: &str| self.trains(name);
        differentiated(network, trains, |network| self.loss(network, step, share))
    }

    /// The gradients of a whole batch, of which this rank has some shares, by default the mean of
    /// [`Objective::share_gradients`].
    ///
    /// # Errors
    /// As [`sums_of_shares`].
    fn gradients(
        &self,
        network: &N,
        step: usize,
        batch: &Batch<Self::Share>,
        threads: usize,
        _ranks: &dyn Ranks,
    ) -> Result<ShareSums> {
        sums_of_shares(network, batch, threads, step, |network, share| {
            self.share_gradients(network, step, share)
        })
    }

    /// Whether [`Objective::gradients`] are the mean of what [`differentiated`] makes of [`Objective::loss`]. Then they can
    /// stay on a device.
    fn in_one_pass(&self) -> bool {
        true
    }

    /// Weights that have an upper bound after a step: name and largest value.
    fn bounds(&self) -> Vec<(&'static str, f32)> {
        vec![]
    }

    /// What to say if the mean of the losses, after a fifth of the steps, shows that nothing is learned.
    fn warning(&self, _mean_loss: f64) -> Option<String> {
        None
    }

    /// Whether nothing can be learned from captions that are all equal.
    fn needs_different_captions(&self) -> bool {
        false
    }

    /// What the network gets to see of a share.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn inputs(&self, share: &Self::Share) -> Result<Vec<Input>>;

    /// What is wrong with the networks that are not trained, each in a sentence.
    ///
    /// # Errors
    /// As [`Objective::loss`].
    fn doubts(&self) -> Result<Vec<String>> {
        Ok(vec![])
    }

    /// Writes the trained network into a model folder.
    ///
    /// # Errors
    /// `Error::Io`.
    fn save(&self, network: &N, model: &Path) -> Result<()>;
}

/// Looks at a network now and then while it is trained, on data that training does not see.
pub trait Watch<N>: Sync {
    /// Numbers and pictures of the network (its averaged weights) after `step` steps.
    ///
    /// # Errors
    /// Those of the data and of the network.
    fn look(&self, network: &N, step: usize) -> Result<Observation>;
}

/// What a [`Watch`] sees.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// Names begin with `validation_`.
    pub numbers: Vec<(String, f64)>,
    /// Pictures by name.
    pub pictures: Vec<(String, RgbImage)>,
}

/// Sees nothing.
#[derive(Debug, Clone, Copy)]
pub struct Blind;

impl<N> Watch<N> for Blind {
    fn look(&self, _: &N, _: usize) -> Result<Observation> {
        Ok(Observation::default())
    }
}
