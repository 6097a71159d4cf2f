//! `scheduler_config`: what is read has a noise schedule or says why not, and is read again as it is written.
#![no_main]

use calotype::diffusion::SchedulerConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(config) = SchedulerConfig::parse(text) {
        let _ = config.noise_schedule();
        SchedulerConfig::parse(&config.to_json()).expect("its own text");
    }
});
