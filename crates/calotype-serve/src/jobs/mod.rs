//! Work that is asked for and takes a while: it waits its turn, is computed by one thread, and is watched.

mod asked;
mod batch;
pub mod events;
mod explain;
mod generate;
mod job;
pub mod maps;
mod preview;
mod queue;
mod worker;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;

use crate::problem::{Answer, Problem};
use crate::security::Client;
pub use asked::{Asked, JobKind, settings};
pub use generate::prepare;
pub use job::{Job, State};
pub use preview::thumbnail_of;
use queue::Queue;
pub use worker::{bytes, work};

/// All jobs: those that wait, the ones that run, and those that have ended and are remembered.
pub struct Jobs {
    shared: Mutex<Board>,
    /// A job has come, or the server stops.
    woken: Condvar,
    most_waiting: usize,
    most_ended: usize,
    most_preview_bytes: usize,
}

#[derive(Default)]
struct Board {
    queue: Queue,
    /// All that are remembered, the oldest first.
    known: Vec<Arc<Job>>,
    stopping: bool,
}

impl Jobs {
    /// None yet.
    pub fn new(limits: &crate::config::Limits) -> Self {
        Self {
            shared: Mutex::default(),
            woken: Condvar::new(),
            most_waiting: limits.queue,
            most_ended: limits.ended_jobs,
            most_preview_bytes: limits.preview_bytes,
        }
    }

    /// Puts a job into the queue; its position.
    ///
    /// # Errors
    /// 429 where the queue is full, 503 where the server stops.
    pub fn add(&self, client: &Client, asked: Asked) -> Answer<(Arc<Job>, usize)> {
        let mut board = self.lock();
        if board.stopping {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
            return Err(problem.retry_after(10));
        }
        if board.queue.len() >= self.most_waiting {
            let message = format!("the queue is full: {} jobs wait", board.queue.len());
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, message).retry_after(2));
        }
        let job = Arc::new(Job::new(client.clone(), asked)?);
        board.queue.push(job.clone());
        board.known.push(job.clone());
        self.forget_old(&mut board);
        let position = board.queue.position(&job).unwrap_or(0);
        job.queued(position);
        drop(board);
        self.woken.notify_all();
        Ok((job, position))
    }

    /// Waits for a job, and takes it with all that wait and may be computed with it, as `together` says of the first and
    /// another; `None` where the server stops.
    fn next(&self, together: impl Fn(&[Arc<Job>], &Arc<Job>) -> bool) -> Option<Vec<Arc<Job>>> {
        let mut board = self.lock();
        loop {
            if board.stopping {
                return None;
            }
            if let Some(first) = board.queue.pop() {
                let mut taken = vec![first];
                board.queue.take_while_fits(&mut taken, together);
                board.queue.tell_positions();
                return Some(taken);
            }
            board = self.woken.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The job of this id, if it is remembered.
    pub fn get(&self, id: &str) -> Option<Arc<Job>> {
        self.lock().known.iter().find(|job| job.id == id).cloned()
    }

    /// All that are remembered, the newest first.
    pub fn all(&self) -> Vec<Arc<Job>> {
        self.lock().known.iter().rev().cloned().collect()
    }

    /// Stops a job: one that waits at once, one that runs after its step.
    pub fn cancel(&self, job: &Arc<Job>) {
        job.cancel();
        let mut board = self.lock();
        if board.queue.remove(job) {
            job.cancelled();
            board.queue.tell_positions();
        }
    }

    /// (waiting, running).
    pub fn counts(&self) -> (usize, usize) {
        let board = self.lock();
        let running = board.known.iter().filter(|job| job.state() == State::Running).count();
        (board.queue.len(), running)
    }

    /// Takes no more; those that wait are cancelled, those that run end after their step.
    pub fn stop(&self) {
        let mut board = self.lock();
        board.stopping = true;
        while let Some(job) = board.queue.pop() {
            job.cancel();
            job.cancelled();
        }
        board.known.iter().for_each(|job| job.cancel());
        drop(board);
        self.woken.notify_all();
    }

    /// Forgets the oldest of those that have ended, and the previews of the oldest.
    fn forget_old(&self, board: &mut Board) {
        let ended = board.known.iter().filter(|job| job.state().is_end()).count();
        let mut surplus = ended.saturating_sub(self.most_ended);
        board.known.retain(|job| {
            let forget = surplus > 0 && job.state().is_end();
            surplus -= usize::from(forget);
            !forget
        });
        let mut left = self.most_preview_bytes;
        for job in board.known.iter().rev().filter(|job| job.state().is_end()) {
            match left.checked_sub(job.preview_bytes()) {
                Some(rest) => left = rest,
                None => job.drop_previews(),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
