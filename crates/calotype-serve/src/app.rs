//! All that the handlers share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::Config;
use crate::history::History;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::models::Models;
use crate::security::rate::Rates;
use crate::security::{Hosts, Secret};
use crate::tasks::Tasks;
use crate::webui::Options;

/// All that the handlers share.
pub struct App {
    /// What the server was started with.
    pub config: Config,
    /// The names under which it answers.
    pub hosts: Hosts,
    /// Its token.
    pub secret: Option<Secret>,
    /// Requests by address.
    pub rates: Rates,
    /// Models by name.
    pub models: Models,
    /// Jobs.
    pub jobs: Jobs,
    /// Pictures.
    pub history: History,
    /// What it has done.
    pub metrics: Metrics,
    /// Trainings.
    pub trainings: Tasks,
    /// Evaluations.
    pub evaluations: Tasks,
    /// What webui's clients have set.
    pub options: Options,
    /// Whether it is stopping.
    pub stopping: watch::Sender<bool>,
}

/// The same for all.
pub type Shared = Arc<App>;

impl App {
    /// Nothing done yet.
    ///
    /// # Errors
    /// As [`History::open`]; `Error::Argument` where the system has no random numbers for the session of a token.
    pub fn new(config: Config) -> calotype::Result<Self> {
        let limits = &config.limits;
        let secret = config.token.as_deref().map(Secret::new).transpose();
        let secret =
            secret.map_err(|e| calotype::Error::argument("token", "random numbers of the system", e))?;
        let own_name = std::fs::read_to_string("/etc/hostname").ok();
        Ok(Self {
            hosts: Hosts::of(&config.host, own_name),
            secret,
            rates: Rates::new(limits.requests_per_second, limits.burst),
            models: Models::new(&config),
            jobs: Jobs::new(limits),
            history: History::open(&config.history, limits.history_pictures, limits.history_bytes)?,
            metrics: Metrics::default(),
            trainings: Tasks::new("t", "training"),
            evaluations: Tasks::new("e", "evaluation"),
            options: Options::default(),
            stopping: watch::Sender::new(false),
            config,
        })
    }
}
