//! What a machine can do: its processor, which instructions compute products and why, how fast they and its memory are.

use std::thread;

use calotype_kernels::{Isa, Processor, bandwidth, peak};
use serde::Serialize;

use super::name;
use crate::machine::memory::{available_bytes, mib};
use crate::nn::Precision;

/// What a machine can do.
#[derive(Debug, Clone, Serialize)]
pub struct Capabilities {
    /// What its maker calls the processor, or the architecture.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Threads that it uses.
    pub threads: usize,
    /// Instruction sets that kernels are written for and the processor has.
    pub instruction_sets: Vec<String>,
    /// What computes products of each precision.
    pub products: Vec<Choice>,
    /// What it can do at most.
    pub peaks: Vec<Peak>,
    /// Copying 256 MiB, bytes read and bytes written, in 10⁹ a second, where there is that much memory.
    pub memory_gb_per_second: Option<f64>,
    /// Memory that is free, where the system tells.
    pub free_memory_mib: Option<f64>,
    /// Processes that ran or wanted to, a mean over the last minute, where the system tells: with others than this one
    /// everything takes longer.
    pub load_average: Option<f64>,
}

/// Which instructions compute products.
#[derive(Debug, Clone, Serialize)]
pub struct Choice {
    /// Of the operands.
    pub precision: Precision,
    /// The set that is used.
    pub instruction_set: String,
    /// Why it is.
    pub why: &'static str,
}

/// Multiply–adds between registers, measured.
#[derive(Debug, Clone, Serialize)]
pub struct Peak {
    /// The set.
    pub instruction_set: String,
    /// 10⁹ operations a second of one thread.
    pub gflops_one_core: f64,
    /// The same of all threads.
    pub gflops_all: f64,
}

impl Capabilities {
    /// Looks, and measures for a second or two. `threads`: as many as will compute.
    pub fn measure(threads: usize) -> Self {
        let (bf16, load_average) = (Isa::available_bf16(), load_average());
        let peaks = bf16.iter().copied().chain([Isa::best()]).map(|isa| Peak {
            instruction_set: name(isa),
            gflops_one_core: peak::gflops(isa, 1),
            gflops_all: peak::gflops(isa, threads),
        });
        Self {
            processor: Processor::this().map_or(std::env::consts::ARCH.into(), |this| this.name),
            cores: thread::available_parallelism().map_or(1, usize::from),
            threads,
            instruction_sets: bf16.iter().copied().chain(Isa::available()).map(name).collect(),
            products: Precision::ALL.map(Choice::of).to_vec(),
            peaks: peaks.collect(),
            memory_gb_per_second: bandwidth::copied_gb_per_second(threads).ok(),
            free_memory_mib: available_bytes().map(mib),
            load_average,
        }
    }
}

impl Choice {
    fn of(precision: Precision) -> Self {
        let isa = Isa::of(precision.products());
        let why = match precision {
            Precision::F32 => "the widest that this processor has",
            Precision::Bf16 if isa.has_tiles() => "its tiles multiply many times faster than f32",
            Precision::Bf16 if isa.takes_pairs() => "multiplies faster than f32",
            Precision::Bf16 if !Isa::available_bf16().is_empty() => {
                "products in f32: this model of processor is known to be slower with its bf16 instruction; weights in bf16 \
                 stay so in memory"
            }
            Precision::Bf16 => "products in f32: no instruction for bf16; weights in bf16 stay so in memory",
        };
        Self { precision, instruction_set: name(isa), why }
    }
}

/// Of the last minute, where Linux tells.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_among_what_was_found_and_measured() {
        let found = Capabilities::measure(1);
        assert_eq!(found.products.len(), 2);
        for choice in &found.products {
            assert!(found.instruction_sets.contains(&choice.instruction_set), "{found:?}");
            assert!(
                found.peaks.iter().any(|peak| peak.instruction_set == choice.instruction_set),
                "{found:?}"
            );
        }
        assert!(
            found.peaks.iter().all(|peak| peak.gflops_one_core > 0.1 && peak.gflops_all > 0.1),
            "{found:?}"
        );
        assert!(
            cfg!(not(target_os = "linux")) || found.load_average.is_some_and(|load| load >= 0.0),
            "{found:?}"
        );
        assert!(found.memory_gb_per_second.is_some_and(|speed| speed > 0.05), "{found:?}");
    }
}
