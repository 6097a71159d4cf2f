//! Time and memory of one step of a network, given its `config.json` alone; what a machine can do, and what a recipe will
//! take there.

mod capabilities;
mod estimate;
mod networks;
mod stopwatch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use calotype_kernels::{Isa, has_kernels, peak};
use serde::Serialize;
use serde_json::Value;

pub use self::capabilities::{Capabilities, Choice, Peak};
pub use self::estimate::{PartEstimate, RecipeEstimate, Unknown, recipes};
use self::networks::Bench;
use crate::denoiser::DenoiserConfig;
use crate::error::{Error, Result};
use crate::files::{Storage, atomic};
use crate::machine::Machine;
use crate::machine::device_memory::taken_bytes;
use crate::machine::device_name::hardware;
use crate::machine::memory::{mib, peak_bytes};
use crate::named::{named_enum, serde_by_name};
use crate::nn::{Compute, Init, Precision};

named_enum! {
    /// What a step is.
    pub enum Mode: "mode" {
        Train = "train": "Forward, loss, backward, AdamW with clipping and moving average",
        Forward = "forward": "Forward only, as in sampling; of CLIP both towers, of an autoencoder there and back",
        Decode = "decode": "Of an autoencoder the decoder alone, with which sampling ends",
    }
}

serde_by_name!(Mode);

/// What is asked of a benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Benchmark {
    /// `config.json` of a `UNet2DConditionModel`, an `AutoencoderKL` or a `CLIPModel`.
    pub config: PathBuf,
    /// Samples in a step, 1 to 65536.
    pub batch: usize,
    /// Side of the network's input, 1 to 65536: latents of a U-Net, pictures of an autoencoder or of CLIP, whose config
    /// says it too.
    pub size: usize,
    /// Tokens of the text, 1 to 65536; by default 77 for a U-Net, as many as it can read for CLIP.
    pub context_tokens: Option<usize>,
    /// What a step is.
    pub mode: Mode,
    /// Precision of the operands of products.
    pub precision: Precision,
    /// How weights are stored. By default in f32, but for a forward pass in bf16 in bf16, as sampling has them; a training
    /// has them in f32.
    pub weights: Option<Storage>,
    /// Measured steps, at least 3; one more goes before. By default, for about 10 seconds.
    pub steps: Option<usize>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Timings {
    /// Of the measured steps, in milliseconds.
    pub median_ms: f64,
    /// The fastest.
    pub min_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// Measured steps.
    pub steps: usize,
    /// From the median.
    pub steps_per_second: f64,
    /// Arithmetic of a step by definition, in 10⁹ operations.
    pub gflop_per_step: f64,
    /// 10⁹ operations per second, from the median.
    pub gflops: f64,
    /// Share of `peak_gflops`.
    pub percent_of_peak: Option<f64>,
    /// What the processor's threads reach at most, measured; nothing for another device.
    pub peak_gflops: Option<f64>,
    /// Most memory that the process has had, where the system tells.
    pub peak_rss_mib: Option<f64>,
    /// What is reserved of a device's own memory after the last step.
    pub device_memory_mib: Option<f64>,
    /// Numbers in all parameters.
    pub parameters: usize,
    /// As asked.
    pub mode: Mode,
    /// As asked.
    pub dtype: Precision,
    /// How weights were stored.
    pub weights: Storage,
    /// As asked.
    pub batch: usize,
    /// As asked.
    pub size: usize,
    /// Of the machine.
    pub threads: usize,
    /// What the driver calls the device, where it is not the CPU.
    pub device: Option<String>,
    /// That products are computed with, on the CPU.
    pub instruction_set: Option<String>,
}

impl Benchmark {
    /// Runs it.
    ///
    /// # Errors
    /// `Error::Argument` for a number out of range, bf16 where the processor does not have it, or a training of weights
    /// that are not stored in f32; `Error::Config` for another class of network; `Error::Io`, `Error::Format`.
    pub fn run(&self, machine: Machine) -> Result<Timings> {
        let tokens = self.context_tokens.unwrap_or(1);
        for (name, value) in [("batch", self.batch), ("size", self.size), ("context_tokens", tokens)] {
            if value == 0 || value > 1 << 16 {
                return Err(Error::argument(name, "1 to 65536", value));
            }
        }
        if let Some(steps) = self.steps.filter(|&steps| steps < 3) {
            return Err(Error::argument("steps", "at least 3", steps));
        }
        if self.mode == Mode::Train && self.storage() != Storage::F32 {
            return Err(Error::argument("weights", "f32: trainings store weights so", self.storage()));
        }
        let products = self.precision.required("dtype", machine.device)?;
        let isa = has_kernels(machine.device).then(|| Isa::of(products));
        let mut bench = self.network(machine)?;
        let peak_gflops = isa.map(|isa| peak::gflops(isa, machine.threads));
        let times = self.times(bench.as_mut())?;
        self.timings(bench.as_ref(), &times, peak_gflops, (isa, machine))
    }

    /// How weights are stored.
    fn storage(&self) -> Storage {
        let as_sampled = match (self.mode, self.precision) {
            (Mode::Forward | Mode::Decode, Precision::Bf16) => Storage::Bf16,
            _ => Storage::F32,
        };
        self.weights.unwrap_or(as_sampled)
    }

    /// First weights of the network that is timed.
    fn init(&self, device: &Device) -> Init {
        Init::random(0, Compute::new(device, self.precision.products())).stored_as(self.storage())
    }

    fn network(&self, machine: Machine) -> Result<Box<dyn Bench>> {
        let path = &self.config;
        let value: Value = atomic::read_json(path)?;
        let name = |key: &str| value.get(key).and_then(Value::as_str);
        let class = name("_class_name").or(name("model_type")).unwrap_or("");
        if self.mode == Mode::Decode && class != "AutoencoderKL" {
            let expected = format!("train or forward: only an AutoencoderKL decodes, this is `{class}`");
            return Err(Error::argument("mode", expected, self.mode));
        }
        match class {
            class if DenoiserConfig::CLASSES.contains(&class) => {
                networks::denoiser(&atomic::read_json(path)?, self, machine)
            }
            "AutoencoderKL" => networks::autoencoder(&atomic::read_json(path)?, self, machine),
            "clip" => networks::clip(&atomic::read_json(path)?, self, machine),
            other => Err(Error::Config {
                path: path.to_owned(),
                key: "_class_name".into(),
                expected: format!(
                    "{} or AutoencoderKL, or a `model_type` clip",
                    DenoiserConfig::CLASSES.join(", ")
                ),
                got: format!("`{other}`"),
            }),
        }
    }

    /// Milliseconds of each measured step.
    fn times(&self, bench: &mut dyn Bench) -> Result<Vec<f64>> {
        const BUDGET: Duration = Duration::from_secs(10);
        bench.step(self.mode)?;
        let begin = Instant::now();
        let mut times = Vec::new();
        loop {
            let enough = match self.steps {
                Some(steps) => times.len() == steps,
                None => times.len() >= 5 && begin.elapsed() > BUDGET,
            };
            if enough {
                return Ok(times);
            }
            let start = Instant::now();
            bench.step(self.mode)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }

    fn timings(
        &self,
        bench: &dyn Bench,
        times: &[f64],
        peak_gflops: Option<f64>,
        (isa, machine): (Option<Isa>, Machine),
    ) -> Result<Timings> {
        let median_ms = median(times);
        // Before the arithmetic is counted, which is a pass of its own.
        let peak_rss_mib = peak_bytes().map(mib);
        let device_memory_mib = taken_bytes(machine.device).map(mib);
        let forward = bench.gflop()?;
        // The gradients of a product are two products of the same size.
        let gflop_per_step = if self.mode == Mode::Train { 3.0 * forward } else { forward };
        let gflops = gflop_per_step / (median_ms * 1e-3);
        Ok(Timings {
            median_ms,
            min_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
            max_ms: times.iter().copied().fold(0.0, f64::max),
            steps: times.len(),
            steps_per_second: 1e3 / median_ms,
            gflop_per_step,
            gflops,
            percent_of_peak: peak_gflops.map(|peak| 100.0 * gflops / peak),
            peak_gflops,
            peak_rss_mib,
            device_memory_mib,
            parameters: bench.parameters(),
            mode: self.mode,
            dtype: self.precision,
            weights: self.storage(),
            batch: self.batch,
            size: self.size,
            threads: machine.threads,
            device: hardware(machine.device),
            instruction_set: isa.map(name),
        })
    }
}

/// What reports call an instruction set.
fn name(isa: Isa) -> String {
    format!("{isa:?}").to_lowercase()
}

/// The middle value, or the mean of both; NaN of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    (middle(sorted.len().saturating_sub(1) / 2) + middle(sorted.len() / 2)) / 2.0
}
