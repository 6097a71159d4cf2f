//! The one thread that computes: it takes what is next, with what may be computed along, until the server stops.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use calotype::model::Model;
use calotype::pipeline::Generation;
use rayon::ThreadPool;

use super::asked::JobKind;
use super::job::Job;
use super::{batch, explain, generate};
use crate::app::App;
use crate::models::{Usual, memory};
use crate::problem::{Answer, Problem};

/// Computes jobs on these threads until the server stops.
pub fn work(app: &App, threads: &ThreadPool) {
    while let Some(jobs) = app.jobs.next(batch::together) {
        app.metrics.batches.add(1);
        // In a thread of the pool: from outside, each kernel would wake the pool and wait for it to sleep again.
        let computed = catch_unwind(AssertUnwindSafe(|| threads.install(|| run(app, &jobs))));
        let problem = match computed {
            Ok(Ok(())) => None,
            Ok(Err(problem)) => Some(problem),
            // What a panic said is on stderr.
            Err(_) => {
                Some(Problem::internal("a fault of this program: the job was given up, the server goes on"))
            }
        };
        for job in jobs.iter().filter(|job| !job.state().is_end()) {
            let unknown = || Problem::internal("the job was given up without a reason");
            job.failed(problem.clone().unwrap_or_else(unknown));
        }
        jobs.iter().for_each(|job| app.metrics.ended(job.state(), job.seconds()));
    }
}

fn run(app: &App, jobs: &[Arc<Job>]) -> Answer<()> {
    let Some(first) = jobs.first() else { return Ok(()) };
    for job in jobs {
        generate::end_if_asked(app, job);
        if !job.state().is_end() {
            job.stage(if app.models.loaded(&job.asked.model).is_some() { "text" } else { "loading" });
        }
    }
    let model = app.models.load(&first.asked.model, room(jobs))?;
    let usual = Usual::of(&model, app.models.is_released(&first.asked.model));
    let mut ready: Vec<(Arc<Job>, Vec<Arc<Generation>>)> = Vec::new();
    for job in jobs.iter().filter(|job| !job.state().is_end()) {
        match generations(app, job, &model, usual) {
            Ok(generations) => ready.push((job.clone(), generations)),
            Err(problem) => job.failed(problem),
        }
    }
    match (&ready[..], first.asked.kind()) {
        ([(job, generations)], JobKind::Explain) => explain::run(app, &model, job, generations),
        _ => generate::run(app, &model, &ready),
    }
}

/// The requests of a job, made ready, if there is memory for them.
fn generations(app: &App, job: &Job, model: &Model, usual: Usual) -> Answer<Vec<Arc<Generation>>> {
    let generations = if job.asked.ready.is_empty() {
        generate::prepare(&job.asked, model, usual, &app.config.limits)?
    } else {
        job.asked.ready.clone()
    };
    memory::require(bytes(&generations))?;
    Ok(generations)
}

/// Bytes that these pictures take at once.
pub fn bytes(generations: &[Arc<Generation>]) -> u64 {
    let Some(first) = generations.first() else { return 0 };
    let (width, height) = (first.sampling.width, first.sampling.height);
    let count: usize = generations.iter().map(|generation| generation.pictures.len()).sum();
    memory::of_pictures(width, height, count.min(batch::at_once(width, height)))
}

/// What the work takes beside the model, as far as is known before it is read.
fn room(jobs: &[Arc<Job>]) -> u64 {
    let side = |side: Option<usize>| side.unwrap_or(512);
    let of = |job: &Arc<Job>| match job.asked.requests.first() {
        Some((request, count)) => {
            let (width, height) = (side(request.width), side(request.height));
            memory::of_pictures(width, height, (*count).min(batch::at_once(width, height)))
        }
        None => 0,
    };
    jobs.iter().map(of).sum()
}
