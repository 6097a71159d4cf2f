//! What watches long work: trainings, measurements, generation.

/// Watches a long piece of work; the command line draws progress bars with it.
pub trait Progress: Sync {
    /// The work called `name`, of `steps` steps, begins at `first` (not 0 after a resume).
    fn begin(&self, name: &str, first: usize, steps: usize);
    /// `step` steps are done; `message` has the losses.
    fn step(&self, step: usize, message: &str);
    /// The work called `name` is complete.
    fn end(&self, name: &str);
    /// One line about something that happened.
    fn say(&self, text: &str);
    /// Seconds since 1970, for logs that want them; a test may stop the clock.
    fn clock(&self) -> Box<dyn Fn() -> f64 + Send> {
        Box::new(|| 0.0)
    }
    /// Whether the user wants to stop: a training saves and returns [`crate::Error::Interrupted`].
    fn interrupted(&self) -> bool;
}

/// Says nothing and never stops.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: usize, _: usize) {}
    fn step(&self, _: usize, _: &str) {}
    fn end(&self, _: &str) {}
    fn say(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        false
    }
}
