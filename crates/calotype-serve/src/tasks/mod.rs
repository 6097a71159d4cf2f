//! Long work beside the pictures, each in a thread of its own: trainings, which save when they are stopped, and
//! evaluations. One of each kind at a time.

pub mod evaluation;
mod task;
mod training;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use axum::http::StatusCode;
use calotype::Error;

use crate::app::Shared;
use crate::problem::{Answer, Problem};
use crate::server::pool;
pub use task::Task;
pub use training::{NewTraining, data_folder, require_no_paths};

/// All tasks of a kind since the server began.
pub struct Tasks {
    /// What their ids begin with.
    prefix: &'static str,
    /// What one of them is called.
    what: &'static str,
    all: Mutex<Vec<Arc<Task>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Tasks {
    /// None yet.
    pub fn new(prefix: &'static str, what: &'static str) -> Self {
        Self { prefix, what, all: Mutex::default(), thread: Mutex::default() }
    }

    /// The newest first.
    pub fn all(&self) -> Vec<Arc<Task>> {
        lock(&self.all).iter().rev().cloned().collect()
    }

    /// The task of this id.
    ///
    /// # Errors
    /// 404.
    pub fn get(&self, id: &str) -> Answer<Arc<Task>> {
        let found = lock(&self.all).iter().find(|task| task.id == id).cloned();
        found.ok_or_else(|| Problem::not_found(self.what, id))
    }

    /// The task that works on this now.
    pub fn on(&self, name: &str) -> Option<String> {
        let all = lock(&self.all);
        all.iter().find(|task| task.name == name && !task.is_ended()).map(|task| task.id.clone())
    }

    /// Begins `work` on what is called `name`.
    ///
    /// # Errors
    /// 409 where another one runs, 503 where the server stops or has no thread.
    pub fn start(
        &self,
        app: &Shared,
        name: &str,
        work: impl FnOnce(&Task) -> calotype::Result<()> + Send + 'static,
    ) -> Answer<Arc<Task>> {
        let mut thread = lock(&self.thread);
        if *app.stopping.borrow() {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"));
        }
        if let Some(other) = lock(&self.all).iter().find(|task| !task.is_ended()) {
            let message = format!("one {} at a time: that of `{}` runs", self.what, other.name);
            return Err(Problem::new(StatusCode::CONFLICT, message));
        }
        let task = Arc::new(Task::new(self.prefix, name)?);
        let threads = pool(app.config.threads)?;
        let working = task.clone();
        let spawned = std::thread::Builder::new().name(format!("calotype-{}", self.what)).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| threads.install(|| work(&working))));
            match outcome {
                Ok(Ok(())) => working.done(),
                Ok(Err(Error::Interrupted { .. } | Error::Stopped { .. })) => working.stopped(),
                Ok(Err(error)) => working.failed(error.into()),
                Err(_) => {
                    working.failed(Problem::internal("a fault of this program: what was saved is intact"))
                }
            }
        });
        *thread = Some(spawned.map_err(|e| Problem::new(StatusCode::SERVICE_UNAVAILABLE, e))?);
        lock(&self.all).push(task.clone());
        Ok(task)
    }

    /// Stops the one that runs, and waits until it has ended.
    pub fn stop(&self) {
        lock(&self.all).iter().for_each(|task| task.stop());
        if let Some(thread) = lock(&self.thread).take() {
            // A panic was caught and reported where it happened.
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
