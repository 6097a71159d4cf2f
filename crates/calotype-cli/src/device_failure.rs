//! A GPU that has failed ends the program, in our words.
//!
//! wgpu tells of it by a panic in a thread of its own, and what is computed after that is wrong or ends the driver, too.
//! So nothing is: no result is written but by renaming a whole file, and a training goes on from its last checkpoint.

use std::panic::{set_hook, take_hook};
use std::process::exit;

use calotype::machine::device_name::{DeviceKind, DeviceName};

use crate::options::Context;

/// How wgpu begins what it says.
const SAYS: &str = "wgpu error: ";

/// From now on a failure of the GPU ends the program; any other panic goes its usual way.
pub fn ends_the_program(context: &Context) {
    let device = context.device_name;
    if device.kind == DeviceKind::Cpu {
        return;
    }
    let usual = take_hook();
    set_hook(Box::new(move |panic| match panic.payload_as_str().and_then(|text| text.strip_prefix(SAYS)) {
        Some(reason) => {
            eprintln!("{}", message(device, reason));
            exit(1);
        }
        None => usual(panic),
    }));
}

fn message(device: DeviceName, reason: &str) -> String {
    let reason = reason.trim();
    let hint = match reason {
        "Out of Memory" => {
            "make fewer or smaller pictures at once, or add --offload or --vae-tiling; train with a smaller `batch_size`, \
             more `parts` or `gradient_checkpointing`"
        }
        _ => "the same with `--device cpu` needs no driver; what a run has saved is intact",
    };
    format!("error: {device} has failed: {reason}\nhint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_next_depends_on_the_reason() {
        let device: DeviceName = "gpu:1".parse().unwrap();
        let full = message(device, "Out of Memory");
        assert!(full.starts_with("error: gpu:1 has failed: Out of Memory\nhint: make fewer"), "{full}");
        let other = message(device, "Validation Error\n");
        assert!(other.contains("Validation Error\nhint: the same with `--device cpu`"), "{other}");
    }
}
