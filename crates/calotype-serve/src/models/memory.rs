//! Whether there is memory for what is asked: an estimate, made before anything is computed.
//!
//! A picture takes at most about 3 KiB for each pixel while it is decoded (the last blocks of Stable Diffusion's decoder
//! hold 256 to 512 channels of f32 at full or half size, several at once), and 1 KiB for each pixel of each picture that
//! is sampled with it. A model that is not in memory takes what its files take.

use std::fs;
use std::path::Path;

use axum::http::StatusCode;
use calotype::machine::memory::available_bytes;

use crate::problem::{Answer, Problem};

/// For each pixel of one picture, once.
const DECODING: u64 = 3 << 10;
/// For each pixel of every picture of a batch.
const SAMPLING: u64 = 1 << 10;
/// Bytes that are left to others.
const LEFT: u64 = 256 << 20;

/// Bytes that `count` pictures of this size take at once.
pub fn of_pictures(width: usize, height: usize, count: usize) -> u64 {
    let pixels = width as u64 * height as u64;
    pixels * (DECODING + SAMPLING * count as u64)
}

/// Bytes of a model's files.
pub fn bytes_of(path: &Path) -> u64 {
    let Ok(facts) = fs::metadata(path) else { return 0 };
    if facts.is_file() {
        return facts.len();
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    below.map(|entry| bytes_of(&entry.path())).sum()
}

/// Whether so many bytes are free; where the system does not tell, they are.
pub fn is_enough(bytes: u64) -> bool {
    available_bytes().is_none_or(|free| bytes.saturating_add(LEFT) <= free)
}

/// Refuses what there is no memory for.
///
/// # Errors
/// 413.
pub fn require(bytes: u64) -> Answer<()> {
    if is_enough(bytes) {
        return Ok(());
    }
    let free = available_bytes().map_or(0, mib);
    let message = format!("memory: this takes about {} MiB, and {free} MiB are free", mib(bytes));
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message).hint("ask for smaller or fewer pictures"))
}

/// In units of 2²⁰.
pub fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_machine_has_is_refused() {
        assert!(require(of_pictures(64, 64, 1)).is_ok());
        if available_bytes().is_some() {
            let problem = require(1 << 50).unwrap_err();
            assert_eq!(problem.status, StatusCode::PAYLOAD_TOO_LARGE);
            assert!(problem.message.contains("1073741824 MiB"), "{}", problem.message);
        }
    }
}
