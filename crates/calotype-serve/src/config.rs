//! What a server is started with, and the limits of what anybody may ask of it.

use std::path::PathBuf;
use std::time::Duration;

use burn::tensor::Device;

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The model that requests get which name none: folder, file, or the name of the released one.
    pub model: PathBuf,
    /// Folder whose models may be asked for by name.
    pub models_dir: Option<PathBuf>,
    /// Address or name to listen on.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
    /// What every request must know; needed beyond this machine.
    pub token: Option<String>,
    /// Folder of the runs that are shown, and that trainings go to.
    pub runs_dir: Option<PathBuf>,
    /// Folder below which trainings find pictures.
    pub data_dir: Option<PathBuf>,
    /// Folder of the pictures that were made.
    pub history: PathBuf,
    /// Whether trainings may be started where the server is reached from beyond this machine.
    pub allow_training: bool,
    /// Where the networks run.
    pub device: Device,
    /// What that is called.
    pub device_name: String,
    /// Threads on the processor; pictures do not depend on it.
    pub threads: usize,
    /// Of the program.
    pub commit: String,
    /// What may be asked for.
    pub limits: Limits,
}

/// What anybody may ask of a server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Pixels of a picture that is sent.
    pub given_pixels: u64,
    /// Longest side of a picture that is made, in pixels.
    pub most_side: usize,
    /// Most steps of a sampler.
    pub most_steps: usize,
    /// Pictures of a job.
    pub most_count: usize,
    /// Jobs that wait.
    pub queue: usize,
    /// Jobs that have ended and are remembered.
    pub ended_jobs: usize,
    /// Bytes of the previews of all jobs in memory.
    pub preview_bytes: usize,
    /// How long a job may run.
    pub job_time: Duration,
    /// Pictures of the history.
    pub history_pictures: usize,
    /// Bytes of the history's files.
    pub history_bytes: u64,
    /// Requests of an address in a second, in the long run.
    pub requests_per_second: f64,
    /// Requests of an address at once.
    pub burst: f64,
    /// Connections at once.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            given_pixels: 1 << 24,
            most_side: 2048,
            most_steps: 1000,
            most_count: 16,
            queue: 64,
            ended_jobs: 256,
            preview_bytes: 64 << 20,
            job_time: Duration::from_secs(3600),
            history_pictures: 5000,
            history_bytes: 4 << 30,
            requests_per_second: 100.0,
            burst: 600.0,
            connections: 512,
        }
    }
}
