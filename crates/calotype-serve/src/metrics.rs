//! What a server has done, as Prometheus reads it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;

use crate::jobs::State;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// More by `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a server has done.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By the first digit of their status.
    answers: [Counter; 6],
    /// Pictures that were kept.
    pub pictures: Counter,
    /// Network calls for one or several jobs.
    pub batches: Counter,
    done: Counter,
    failed: Counter,
    cancelled: Counter,
    seconds: Mutex<f64>,
}

impl Metrics {
    /// A request was answered.
    pub fn answered(&self, status: StatusCode) {
        self.answers[usize::from(status.as_u16() / 100).min(5)].add(1);
    }

    /// A job has ended.
    pub fn ended(&self, state: State, seconds: f64) {
        match state {
            State::Done => self.done.add(1),
            State::Cancelled => self.cancelled.add(1),
            State::Failed | State::Queued | State::Running => self.failed.add(1),
        }
        *self.seconds.lock().unwrap_or_else(PoisonError::into_inner) += seconds;
    }

    /// As text; with what waits and runs now.
    pub fn text(&self, (waiting, running): (usize, usize), free: Option<u64>) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
            text += &format!("# HELP calotype_{name} {help}\n# TYPE calotype_{name} {kind}\n");
            values.iter().for_each(|(labels, value)| text += &format!("calotype_{name}{labels} {value}\n"));
        };
        let one = |value: f64| vec![(String::new(), value)];
        let answers =
            (1..6).map(|class| (format!("{{status=\"{class}xx\"}}"), self.answers[class].get() as f64));
        family("requests_total", "counter", "Requests answered.", &answers.collect::<Vec<_>>());
        let ended = [("done", &self.done), ("failed", &self.failed), ("cancelled", &self.cancelled)];
        let ended = ended.map(|(state, count)| (format!("{{state=\"{state}\"}}"), count.get() as f64));
        family("jobs_total", "counter", "Jobs that have begun and ended.", &ended);
        family("pictures_total", "counter", "Pictures made.", &one(self.pictures.get() as f64));
        family("batches_total", "counter", "Batches of jobs computed.", &one(self.batches.get() as f64));
        let seconds = *self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        family("job_seconds_total", "counter", "Seconds that jobs have taken.", &one(seconds));
        family("jobs_waiting", "gauge", "Jobs in the queue.", &one(waiting as f64));
        family("jobs_running", "gauge", "Jobs being computed.", &one(running as f64));
        if let Some(free) = free {
            family("memory_free_bytes", "gauge", "Memory that is free.", &one(free as f64));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.answered(StatusCode::OK);
        metrics.answered(StatusCode::NOT_FOUND);
        metrics.ended(State::Done, 1.5);
        let text = metrics.text((3, 1), None);
        for line in [
            "calotype_requests_total{status=\"2xx\"} 1",
            "calotype_jobs_total{state=\"done\"} 1",
            "calotype_job_seconds_total 1.5",
            "calotype_jobs_waiting 3",
            "# TYPE calotype_jobs_running gauge",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} in {text}");
        }
    }
}
