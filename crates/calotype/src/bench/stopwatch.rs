//! When each step of a training was done.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::median;
use crate::progress::Progress;

/// A piece of work as its [`Progress`] tells of it; times are seconds on one clock.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Phase {
    name: String,
    /// Steps of the whole.
    pub steps: usize,
    began: f64,
    /// Steps done, and when that was said.
    said: Vec<(usize, f64)>,
}

impl Phase {
    /// Of steps done, and when.
    #[cfg(test)]
    pub(super) fn of(name: &str, began: f64, said: &[(usize, f64)]) -> Self {
        let steps = said.last().map_or(0, |(done, _)| *done);
        Self { name: name.into(), steps, began, said: said.to_vec() }
    }

    /// Seconds from its beginning until its last step was done.
    pub(super) fn seconds(&self) -> f64 {
        self.said.last().map_or(0.0, |(_, last)| last - self.began)
    }

    /// Seconds of a step: the median of those after the first one that was told of, which also meets what comes once.
    /// Where there is no other, its own; 0 where there is none.
    pub(super) fn seconds_per_step(&self) -> f64 {
        let each: Vec<f64> = self
            .said
            .windows(2)
            .filter(|pair| pair[1].0 > pair[0].0)
            .map(|pair| (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0) as f64)
            .collect();
        match self.said.last() {
            _ if !each.is_empty() => median(&each),
            Some((done, _)) if *done > 0 => self.seconds() / *done as f64,
            _ => 0.0,
        }
    }
}

/// Notes the time of every step, and passes on to somebody else what is done under a longer name. What is said of such a
/// short training is of no interest.
pub(super) struct Stopwatch<'a> {
    prefix: &'a str,
    watched: &'a dyn Progress,
    started: Instant,
    phases: Mutex<Vec<Phase>>,
}

impl<'a> Stopwatch<'a> {
    pub(super) fn new(prefix: &'a str, watched: &'a dyn Progress) -> Self {
        Self { prefix, watched, started: Instant::now(), phases: Mutex::new(vec![]) }
    }

    /// Seconds since it was made.
    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// The work of this name, if it has begun.
    pub(super) fn phase(&self, name: &str) -> Option<Phase> {
        self.phases().iter().rfind(|phase| phase.name == name).cloned()
    }

    fn phases(&self) -> MutexGuard<'_, Vec<Phase>> {
        // No code panics while it holds the lock.
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn long(&self, name: &str) -> String {
        format!("{} {name}", self.prefix)
    }
}

impl Progress for Stopwatch<'_> {
    fn begin(&self, name: &str, first: usize, steps: usize) {
        self.watched.begin(&self.long(name), first, steps);
        let began = self.seconds();
        self.phases().push(Phase { name: name.to_owned(), steps, began, said: vec![] });
    }

    fn step(&self, step: usize, message: &str) {
        self.watched.step(step, message);
        let now = self.seconds();
        if let Some(phase) = self.phases().last_mut() {
            phase.said.push((step, now));
        }
    }

    fn end(&self, name: &str) {
        self.watched.end(&self.long(name));
    }

    fn say(&self, _: &str) {}

    fn interrupted(&self) -> bool {
        self.watched.interrupted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn phase(said: &[(usize, f64)]) -> Phase {
        Phase::of("vae", 10.0, said)
    }

    #[test]
    fn the_first_step_and_one_that_was_disturbed_do_not_count() {
        let steps = phase(&[(1, 15.0), (2, 16.0), (3, 17.5), (4, 30.0)]);
        assert_eq!((steps.seconds(), steps.seconds_per_step()), (20.0, 1.5));
        // Told of every 32 pictures.
        let pictures = phase(&[(32, 14.0), (64, 16.0), (96, 18.0), (104, 19.0)]);
        assert_eq!((pictures.seconds(), pictures.seconds_per_step()), (9.0, 0.0625));
    }

    #[test]
    fn a_single_step_counts_and_none_takes_no_time() {
        assert_eq!(phase(&[(4, 12.0)]).seconds_per_step(), 0.5);
        assert_eq!((phase(&[]).seconds(), phase(&[]).seconds_per_step()), (0.0, 0.0));
    }

    #[test]
    fn steps_belong_to_the_work_that_began_last() {
        let watch = Stopwatch::new("demo", &Silent);
        watch.begin("latents", 0, 64);
        watch.step(32, "");
        watch.begin("diffusion", 0, 8);
        (1..=3).for_each(|step| watch.step(step, "loss 1"));
        let counts = |name| watch.phase(name).map(|phase| (phase.steps, phase.said.len()));
        assert_eq!(["latents", "diffusion", "vae"].map(counts), [Some((64, 1)), Some((8, 3)), None]);
    }
}
