//! Ranks that `mpirun` or `srun` has started, and MPI between them.
//!
//! MPI is called by one thread of its own, which owns it. Whoever waits for an exchange waits for that thread, and no longer
//! than the time that was set: a rank that hangs or has died ends the training instead of stopping it for ever.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use calotype_mpi::{MpiError, World};

use super::Ranks;
use crate::error::{Error, Result};

/// What MPI is asked for.
enum Call {
    AllToAll { send: Vec<u8>, to: Vec<usize>, from: Vec<usize> },
    AllGather { send: Vec<u8>, counts: Vec<usize> },
    Broadcast(Vec<u8>),
    Finalize,
}

type Answer = std::result::Result<Vec<u8>, MpiError>;

/// The way to the thread that calls MPI.
struct Line {
    calls: Sender<Call>,
    answers: Receiver<Answer>,
    /// Why nothing can be asked any more: an answer that nobody has waited for would be taken for the next one's.
    broken: Option<String>,
    /// What the training is doing, for messages.
    doing: String,
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
        let (answer, answers) = channel();
        let (introduce, introduced) = channel();
        let library = library.map(Path::to_owned);
        std::thread::Builder::new()
            .name("mpi".into())
            .spawn(move || {
                let world = World::join(library.as_deref());
                let of = |world: &World| (world.rank(), world.count(), world.library().to_owned());
                let said = introduce.send(world.as_ref().map(of).map_err(ToString::to_string));
                if let (Ok(world), Ok(())) = (world, said) {
                    serve(world, &asked, &answer);
                }
            })
            .map_err(|e| Error::Ranks { reason: format!("cannot start a thread for MPI: {e}") })?;
        let gone = |_| "the thread that calls MPI has ended".to_owned();
        let (rank, count, library) = introduced
            .recv()
            .map_err(gone)
            .and_then(|introduced| introduced)
            .map_err(|reason| Error::Ranks { reason })?;
        let line = Line { calls, answers, broken: None, doing: "the start".into() };
        Ok(Self { rank, count, library, timeout, line: Mutex::new(line) })
    }

    /// What MPI calls itself.
    pub fn library(&self) -> &str {
        &self.library
    }

    /// Leaves the world, after success only: where a rank has failed, its launcher ends the others.
    ///
    /// # Errors
    /// `Error::Ranks` if the others do not leave.
    pub fn finalize(&self) -> Result<()> {
        self.ask(Call::Finalize).map(|_| ())
    }

    fn ask(&self, call: Call) -> Result<Vec<u8>> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &line.broken {
            return Err(Error::Ranks { reason: reason.clone() });
        }
        let answer = line.calls.send(call).ok().map(|()| line.answers.recv_timeout(self.timeout));
        let reason = match answer {
            Some(Ok(Ok(bytes))) => return Ok(bytes),
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

    fn all_to_all(&self, send: Vec<u8>, to: &[usize], from: &[usize]) -> Result<Vec<u8>> {
        self.ask(Call::AllToAll { send, to: to.to_vec(), from: from.to_vec() })
    }

    fn all_gather(&self, send: Vec<u8>, counts: &[usize]) -> Result<Vec<u8>> {
        self.ask(Call::AllGather { send, counts: counts.to_vec() })
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.ask(Call::Broadcast(bytes))
    }

    fn begin(&self, what: &str) {
        what.clone_into(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner).doing);
    }
}

/// Answers until it is left, or nobody asks any more: then the process ends, and MPI's launcher sees to the others.
fn serve(world: World, calls: &Receiver<Call>, answers: &Sender<Answer>) {
    for call in calls {
        let answer = match call {
            Call::AllToAll { send, to, from } => {
                let mut received = vec![0; from.iter().sum()];
                world.all_to_all(&send, &to, &mut received, &from).map(|()| received)
            }
            Call::AllGather { send, counts } => {
                let mut received = vec![0; counts.iter().sum()];
                world.all_gather(&send, &mut received, &counts).map(|()| received)
            }
            Call::Broadcast(mut bytes) => world.broadcast(&mut bytes, 0).map(|()| bytes),
            Call::Finalize => {
                let _ = answers.send(world.finalize().map(|()| vec![]));
                return;
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}
