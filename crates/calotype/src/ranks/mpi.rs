//! Ranks that `mpirun` or `srun` has started, and MPI between them.
//!
//! MPI is called by one thread of its own, which owns it. Whoever waits for an exchange waits for that thread, and no longer
//! than the time that was set: a rank that hangs or has died ends the training instead of stopping it for ever.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use calotype_kernels::memory::Buffer;
use calotype_mpi::{MpiError, World};

use super::Ranks;
use crate::error::{Error, Result};

/// What MPI is asked for.
enum Call {
    /// An exchange, which gives its answer itself.
    Exchange(Box<dyn FnOnce(&World) + Send>),
    /// To leave the world.
    Finalize(Sender<Answer<()>>),
}

type Answer<T> = std::result::Result<T, MpiError>;

/// The way to the thread that calls MPI.
struct Line {
    calls: Sender<Call>,
    /// Why nothing can be asked any more: the others may be at another exchange.
    broken: Option<String>,
    /// What the training is doing, for messages.
    doing: String,
    /// Time that exchanges have taken.
    exchanging: Duration,
}

/// The ranks of an MPI world.
pub struct Mpi {
    rank: usize,
    count: usize,
    library: String,
    timeout: Duration,
    line: Mutex<Line>,
}

impl Mpi {
    /// Loads MPI, from `library` or where the system has one, and joins its world. An exchange that takes longer than
    /// `timeout` is an error.
    ///
    /// # Errors
    /// `Error::Ranks` if there is no MPI, or this process was started by the launcher of another one.
    pub fn join(library: Option<&Path>, timeout: Duration) -> Result<Self> {
        let (calls, asked) = channel();
        let (introduce, introduced) = channel();
        let library = library.map(Path::to_owned);
        std::thread::Builder::new()
            .name("mpi".into())
            .spawn(move || {
                let world = World::join(library.as_deref());
                let of = |world: &World| (world.rank(), world.count(), world.library().to_owned());
                let said = introduce.send(world.as_ref().map(of).map_err(ToString::to_string));
                if let (Ok(world), Ok(())) = (world, said) {
                    serve(world, &asked);
                }
            })
            .map_err(|e| Error::Ranks { reason: format!("cannot start a thread for MPI: {e}") })?;
        let gone = |_| "the thread that calls MPI has ended".to_owned();
        let (rank, count, library) = introduced
            .recv()
            .map_err(gone)
            .and_then(|introduced| introduced)
            .map_err(|reason| Error::Ranks { reason })?;
        let line = Line { calls, broken: None, doing: "the start".into(), exchanging: Duration::ZERO };
        Ok(Self { rank, count, library, timeout, line: Mutex::new(line) })
    }

    /// What MPI calls itself.
    pub fn library(&self) -> &str {
        &self.library
    }

    /// Time that this rank's exchanges have taken so far, waiting for the others among it.
    pub fn exchanging(&self) -> Duration {
        self.line().exchanging
    }

    /// Leaves the world, after success only: where a rank has failed, its launcher ends the others.
    ///
    /// # Errors
    /// `Error::Ranks` if the others do not leave.
    pub fn finalize(&self) -> Result<()> {
        let (answer, answered) = channel();
        self.ask(Call::Finalize(answer), &answered)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange<T: Send + 'static>(
        &self,
        exchange: impl FnOnce(&World) -> Answer<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = channel();
        // Nobody waits for it any more after the time is over.
        let exchange = move |world: &World| drop(answer.send(exchange(world)));
        self.ask(Call::Exchange(Box::new(exchange)), &answered)
    }

    fn ask<T>(&self, call: Call, answered: &Receiver<Answer<T>>) -> Result<T> {
        let mut line = self.line();
        if let Some(reason) = &line.broken {
            return Err(Error::Ranks { reason: reason.clone() });
        }
        let asked = Instant::now();
        let answer = line.calls.send(call).ok().map(|()| answered.recv_timeout(self.timeout));
        line.exchanging += asked.elapsed();
        let reason = match answer {
            Some(Ok(Ok(answer))) => return Ok(answer),
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(_)) | None => format!(
                "rank {} of {} has waited {} s for the others at {}: one of them hangs, has died, or needs a longer \
                 `--rank-timeout`",
                self.rank,
                self.count,
                self.timeout.as_secs(),
                line.doing
            ),
        };
        line.broken = Some(reason.clone());
        Err(Error::Ranks { reason })
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn all_to_all(&self, send: Buffer, to: &[usize], from: &[usize]) -> Result<Buffer> {
        let (to, from) = (in_bytes(to), in_bytes(from));
        self.exchange(move |world| {
            let mut received = Buffer::any(from.iter().sum::<usize>() / size_of::<f32>());
            let (sent, places) = (bytemuck::cast_slice(&send), bytemuck::cast_slice_mut(&mut received));
            world.all_to_all(sent, &to, places, &from).map(|()| received)
        })
    }

    fn all_gather(&self, mut all: Buffer, counts: &[usize]) -> Result<Buffer> {
        let counts = in_bytes(counts);
        self.exchange(move |world| {
            world.all_gather_in_place(bytemuck::cast_slice_mut(&mut all), &counts).map(|()| all)
        })
    }

    fn all_gather_bytes(&self, send: Vec<u8>, counts: &[usize]) -> Result<Vec<u8>> {
        let counts = counts.to_vec();
        self.exchange(move |world| {
            let mut received = vec![0; counts.iter().sum()];
            world.all_gather(&send, &mut received, &counts).map(|()| received)
        })
    }

    fn broadcast(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.exchange(move |world| world.broadcast(&mut bytes, 0).map(|()| bytes))
    }

    fn begin(&self, what: &str) {
        what.clone_into(&mut self.line().doing);
    }
}

/// Lengths of numbers.
fn in_bytes(numbers: &[usize]) -> Vec<usize> {
    numbers.iter().map(|numbers| numbers * size_of::<f32>()).collect()
}

/// Answers until it is left, or nobody asks any more: then the process ends, and MPI's launcher sees to the others.
fn serve(world: World, calls: &Receiver<Call>) {
    for call in calls {
        match call {
            Call::Exchange(exchange) => exchange(&world),
            Call::Finalize(answer) => {
                // The process may have given up waiting.
                let _ = answer.send(world.finalize());
                return;
            }
        }
    }
}
