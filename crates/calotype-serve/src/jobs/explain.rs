//! What the words of a prompt lit in a picture that was sent: nothing is sampled.

use std::ops::ControlFlow;
use std::sync::Arc;

use calotype::Error;
use calotype::explain::explain_pictures;
use calotype::model::Model;
use calotype::pipeline::Generation;

use super::generate::{Seat, end_if_asked, keep, map_options};
use super::job::Job;
use super::maps;
use crate::app::App;
use crate::problem::{Answer, Problem};

/// Explains the picture of a job, and keeps it with its maps.
///
/// # Errors
/// Those of the network and of the history.
pub(super) fn run(app: &App, model: &Model, job: &Arc<Job>, ready: &[Arc<Generation>]) -> Answer<()> {
    let Some(generation) = ready.first() else { return Ok(()) };
    let Generation { pictures, sampling, origin, .. } = &**generation;
    let Some(picture) = &origin.picture else {
        return Err(Problem::internal("a job that explains has no picture"));
    };
    let steps = sampling.sampler.steps;
    job.ready(steps, ready);
    job.stage("sampling");
    let on_step = &mut |done: usize, steps: usize| {
        job.step((done, steps), vec![]);
        end_if_asked(app, job);
        if job.state().is_end() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let one = &pictures[..1];
    let explained = explain_pictures(model, picture, one, sampling, None, &map_options(), on_step);
    let explained = match explained {
        Err(Error::Stopped { .. }) => return Ok(()),
        other => other?,
    };
    for explanation in &explained {
        let seat = Seat { job: job.clone(), index: 0, generation: generation.clone(), picture: 0 };
        keep(app, &seat, &explanation.image, maps::of(explanation))?;
    }
    job.done();
    Ok(())
}
