//! Progress bars with rate and remaining time on a terminal, nothing elsewhere; Ctrl-C.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use calotype::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// One bar at a time.
pub struct Bars {
    bar: Mutex<Option<ProgressBar>>,
    started: Instant,
}

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        Self { bar: Mutex::new(None), started: Instant::now() }
    }

    /// For work that asks [`Progress::interrupted`]: the first Ctrl-C asks it to stop and save, the
    /// second ends the process. Without this the first one ends it.
    pub fn catch_ctrl_c(&self) {
        // A second handler cannot be installed; the first does the same.
        let _ = ctrlc::set_handler(|| {
            if INTERRUPTED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
        });
    }

    /// One line on stderr about what begins or happens, above the bar.
    pub fn say(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs();
        let line = format!("[{:>2}:{:02}] {text}", seconds / 60, seconds % 60);
        self.with(|bar| match bar {
            Some(bar) => bar.println(&line),
            None => eprintln!("{line}"),
        });
    }

    fn with(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        // The lock is only poisoned if drawing panicked; then there is nothing left to draw.
        if let Ok(mut bar) = self.bar.lock() {
            act(&mut bar);
        }
    }
}

impl Progress for Bars {
    fn begin(&self, part: &str, first: usize, steps: usize) {
        if !std::io::stderr().is_terminal() {
            return self.say(&format!("{part}: {steps} steps"));
        }
        let bar = ProgressBar::new(steps as u64).with_position(first as u64);
        // The template is a constant that indicatif accepts.
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>12} {bar:30} {pos}/{len} {per_sec} {eta} left  {msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(part.to_owned());
        bar.reset_eta();
        self.with(|slot| *slot = Some(bar));
    }

    fn step(&self, step: usize, message: &str) {
        self.with(|slot| {
            if let Some(bar) = slot {
                bar.set_position(step as u64);
                bar.set_message(message.to_owned());
            }
        });
    }

    fn end(&self, part: &str) {
        self.with(|slot| {
            if let Some(bar) = slot.take() {
                bar.finish();
            }
        });
        self.say(&format!("{part}: done"));
    }

    fn say(&self, text: &str) {
        Self::say(self, text);
    }

    fn clock(&self) -> Box<dyn Fn() -> f64 + Send> {
        // Before 1970 the log's times are not worth an error.
        Box::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()))
    }

    fn interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::SeqCst)
    }
}
