//! A GPU that has failed ends the program, in our words, a server too.
//!
//! burn and wgpu tell of it by a panic, often in a thread of their own, and what is computed after that is wrong or ends the
//! driver. So nothing is: no result is written but by renaming a whole file, and a training goes on from its last
//! checkpoint.

use std::panic::{set_hook, take_hook};
use std::process::exit;

use calotype::machine::device_name::{DeviceKind, DeviceName};

use crate::options::Context;

/// What such panics have in them: wgpu's, and those of burn's runtimes for memory and for devices that are lost.
const SIGNS: [&str; 5] = [
    "wgpu error: ",
    "out of device memory",
    "An out-of-memory error happened",
    "The device is poisoned",
    "The device was poisoned",
];

/// From now on a failure of the GPU ends the program; any other panic goes its usual way.
pub fn ends_the_program(context: &Context) {
    let device = context.device_name;
    if device.kind == DeviceKind::Cpu {
        return;
    }
    let usual = take_hook();
    set_hook(Box::new(move |panic| match panic.payload_as_str().and_then(reason) {
        Some(reason) => {
            eprintln!("{}", message(device, reason));
            exit(1);
        }
        None => usual(panic),
    }));
}

/// The line that says why the GPU has failed, if a panic's text is about that.
fn reason(text: &str) -> Option<&str> {
    let sign = SIGNS.into_iter().find(|sign| text.contains(sign))?;
    let line = text.lines().find(|line| line.contains(sign))?;
    Some(line.trim().trim_start_matches(SIGNS[0]))
}

fn message(device: DeviceName, reason: &str) -> String {
    let is_full = ["out of memory", "out of device memory", "out-of-memory"]
        .iter()
        .any(|words| reason.to_lowercase().contains(words));
    let hint = if is_full {
        "make fewer or smaller pictures at once, or add --offload or --vae-tiling; train with a smaller `batch_size`, more \
         `parts` or `gradient_checkpointing`"
    } else {
        "the same with `--device cpu` needs no driver; what a run has saved is intact"
    };
    format!("error: {device} has failed: {reason}\nhint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_device_are_told_from_other_panics() {
        assert_eq!(reason("wgpu error: Out of Memory"), Some("Out of Memory"));
        let read =
            "Failed to read tensor data: An error\nCaused by:\n  out of device memory allocating 64 bytes\n…";
        assert_eq!(reason(read), Some("out of device memory allocating 64 bytes"));
        assert_eq!(reason("The device is poisoned\nCaused by:\n  lost"), Some("The device is poisoned"));
        assert_eq!(reason("index out of bounds"), None);
    }

    #[test]
    fn what_to_do_next_depends_on_the_reason() {
        let device: DeviceName = "gpu:1".parse().unwrap();
        for full in ["Out of Memory", "out of device memory allocating 64 bytes"] {
            let full = message(device, full);
            assert!(
                full.starts_with("error: gpu:1 has failed: ") && full.contains("hint: make fewer"),
                "{full}"
            );
        }
        let other = message(device, "The device is poisoned");
        assert!(other.contains("poisoned\nhint: the same with `--device cpu`"), "{other}");
    }
}
