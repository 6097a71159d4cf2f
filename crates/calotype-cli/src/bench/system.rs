//! `calotype bench --system`: what this machine can do, and what each recipe will take here.

use std::path::Path;

use calotype::Result;
use calotype::bench::{Capabilities, PartEstimate, RecipeEstimate, recipes};
use calotype::machine::device_name::{FoundDevice, found_devices};
use serde::Serialize;

use crate::message;
use crate::options::Context;
use crate::progress::minutes;

/// The page, as JSON has it.
#[derive(Serialize)]
struct Page {
    /// That `--device` takes in this build on this machine.
    devices: Vec<String>,
    /// The same with what their drivers call them.
    found_devices: Vec<FoundDevice>,
    /// Where the recipes were timed.
    device: String,
    #[serde(flatten)]
    capabilities: Capabilities,
    recipes: Vec<RecipeEstimate>,
}

pub fn run(recipe: Option<&Path>, context: &Context) -> Result<()> {
    let recipes = recipes(recipe)?;
    context.bars.catch_ctrl_c();
    context.bars.say("measuring the processor and its memory");
    let found_devices = found_devices();
    let mut page = Page {
        devices: found_devices.iter().map(|device| device.name.clone()).collect(),
        found_devices,
        device: context.device_name.to_string(),
        capabilities: Capabilities::measure(context.threads),
        recipes: vec![],
    };
    if !context.json {
        print_capabilities(&page);
    }
    for (name, recipe) in &recipes {
        let estimate = RecipeEstimate::measure(name, recipe, context.machine())?;
        if !context.json {
            print_estimate(&estimate);
        }
        page.recipes.push(estimate);
    }
    if context.json {
        message::json(&page);
    } else {
        print_ending(&page.capabilities);
    }
    Ok(())
}

fn print_capabilities(page: &Page) {
    let Page { found_devices, device, capabilities, .. } = page;
    let Capabilities { processor, cores, threads, .. } = capabilities;
    println!("{:<14} {processor}, {cores} cores, {threads} threads used", "processor");
    let devices: Vec<String> = found_devices.iter().map(FoundDevice::to_string).collect();
    println!("{:<14} {}; {device} used", "devices", devices.join(", "));
    println!("{:<14} {}", "instructions", capabilities.instruction_sets.join(", "));
    for choice in &capabilities.products {
        let what = format!("{} products", choice.precision);
        println!("{what:<14} {}: {}", choice.instruction_set, choice.why);
    }
    for peak in &capabilities.peaks {
        let (one, all) = (peak.gflops_one_core, peak.gflops_all);
        println!("{:<14} {one:.0} GFLOP/s on one core, {all:.0} on {threads} threads", peak.instruction_set);
    }
    let free =
        capabilities.free_memory_mib.map_or("unknown".into(), |mib| format!("{:.1} GiB", mib / 1024.0));
    let speed =
        capabilities.memory_gb_per_second.map_or("unknown".into(), |speed| format!("{speed:.1} GB/s"));
    println!("{:<14} {free} free; a copy reads and writes {speed}", "memory");
}

fn print_estimate(estimate: &RecipeEstimate) {
    println!("\nrecipe {}", estimate.recipe);
    estimate.parts.iter().for_each(print_part);
    let seconds = estimate.seconds.map_or("unknown".into(), |seconds| format!("about {}", minutes(seconds)));
    let memory = estimate.peak_rss_mib.map_or(String::new(), |mib| format!(", peak memory {mib:.0} MiB"));
    println!("  {:<10} {seconds} in all{memory}", "training");
    for unknown in &estimate.not_estimated {
        println!("  not estimated: {}: {}", unknown.what, unknown.why);
    }
}

fn print_part(part: &PartEstimate) {
    let steps = match part.batch_size {
        None => format!("{} pictures", part.steps),
        Some(batch) => format!("{} steps of {batch}", part.steps),
    };
    let (each, whole) = (part.ms_per_step, minutes(part.seconds));
    println!("  {:<10} {whole:>7}  {steps:<17} {each:>8.2} ms each, of {} done", part.part, part.done_steps);
}

/// How to read the estimates.
fn print_ending(Capabilities { cores, load_average, .. }: &Capabilities) {
    println!(
        "\nThese are estimates: each part was trained for a few steps on the embedded scenes; the other steps are taken to \
         last\nas long as the median of these. Memory is the most that this process had, with what earlier recipes left \
         in it."
    );
    if let Some(load) = load_average.filter(|load| 2.0 * load > *cores as f64) {
        println!("Other work ran beside it (load {load:.1} on {cores} cores): a quiet machine is faster.");
    }
}
