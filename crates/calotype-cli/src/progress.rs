//! Progress bars with rate and remaining time on a terminal, a line every ten seconds elsewhere; Ctrl-C.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use calotype::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Seconds between two lines about the same work, where there is no terminal.
const EVERY: f64 = 10.0;
/// How often a thread looks whether a line is due.
const LOOK: Duration = Duration::from_millis(500);

/// One bar at a time, or one piece of work that lines are written about.
pub struct Bars {
    bar: Mutex<Option<ProgressBar>>,
    pace: Arc<Mutex<Option<Pace>>>,
    lines: Once,
    started: Instant,
    /// Whether another process speaks for this one.
    hidden: AtomicBool,
}

/// Where a piece of work is: what the lines of a pipe or a log say. Times are seconds on any one clock.
#[derive(Debug, Clone)]
struct Pace {
    name: String,
    first: usize,
    done: usize,
    steps: usize,
    message: String,
    began: f64,
    said: f64,
}

impl Pace {
    fn new(name: &str, first: usize, steps: usize, now: f64) -> Self {
        Self { name: name.into(), first, done: first, steps, message: String::new(), began: now, said: now }
    }

    /// The line that is due, if one is.
    fn due(&mut self, now: f64) -> Option<String> {
        if now - self.said < EVERY {
            return None;
        }
        self.said = now;
        Some(self.line(now))
    }

    /// `sampling: 3 of 30 steps, 1:20 left`; before the first step is done, how long it has taken so far.
    fn line(&self, now: f64) -> String {
        let Self { name, first, done, steps, message, began, .. } = self;
        let (taken, new) = (now - began, done.saturating_sub(*first));
        let time = if new == 0 {
            format!("{} so far", minutes(taken))
        } else {
            format!("{} left", minutes(taken / new as f64 * steps.saturating_sub(*done) as f64))
        };
        let message = if message.is_empty() { String::new() } else { format!("  {message}") };
        format!("{name}: {done} of {steps} steps, {time}{message}")
    }
}

/// `1:05`, `2:00:09`.
pub fn minutes(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// Writes the lines that are due, until nobody has the work any more.
fn say_what_is_due(pace: &Weak<Mutex<Option<Pace>>>, started: Instant) {
    while let Some(pace) = pace.upgrade() {
        let now = started.elapsed();
        // Under the lock, so that no line comes after the work's end.
        if let Ok(mut pace) = pace.lock()
            && let Some(line) = pace.as_mut().and_then(|pace| pace.due(now.as_secs_f64()))
        {
            eprintln!("{}", stamped(now, &line));
        }
        drop(pace);
        std::thread::sleep(LOOK);
    }
}

fn stamped(since: Duration, text: &str) -> String {
    let seconds = since.as_secs();
    format!("[{:>2}:{:02}] {text}", seconds / 60, seconds % 60)
}

impl Bars {
    /// No bar yet.
    pub fn new() -> Self {
        let pace = Arc::new(Mutex::new(None));
        let hidden = AtomicBool::new(false);
        Self { bar: Mutex::new(None), pace, lines: Once::new(), started: Instant::now(), hidden }
    }

    /// Says and draws nothing from here on: another process speaks for this one.
    pub fn hide(&self) {
        self.hidden.store(true, Ordering::SeqCst);
    }

    fn is_hidden(&self) -> bool {
        self.hidden.load(Ordering::SeqCst)
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

    /// Ends the process, failed: after `time`, or without a word at the next signal.
    pub fn leave_after(&self, time: Duration) -> ! {
        INTERRUPTED.store(true, Ordering::SeqCst);
        std::thread::sleep(time);
        std::process::exit(1)
    }

    /// One line on stderr about what begins or happens, above the bar.
    pub fn say(&self, text: &str) {
        if self.is_hidden() {
            return;
        }
        let line = stamped(self.started.elapsed(), text);
        self.with(|bar| match bar {
            Some(bar) => bar.println(&line),
            None => eprintln!("{line}"),
        });
    }

    /// Says every ten seconds where the work is.
    fn begin_lines(&self, part: &str, first: usize, steps: usize) {
        self.say(&format!("{part}: {steps} steps"));
        self.set_pace(Some(Pace::new(part, first, steps, self.started.elapsed().as_secs_f64())));
        self.lines.call_once(|| {
            let (pace, started) = (Arc::downgrade(&self.pace), self.started);
            std::thread::spawn(move || say_what_is_due(&pace, started));
        });
    }

    fn set_pace(&self, to: Option<Pace>) {
        if let Ok(mut pace) = self.pace.lock() {
            *pace = to;
        }
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
        if self.is_hidden() {
            return;
        }
        if !std::io::stderr().is_terminal() {
            return self.begin_lines(part, first, steps);
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
        if let Ok(mut pace) = self.pace.lock()
            && let Some(pace) = pace.as_mut()
        {
            pace.done = step;
            message.clone_into(&mut pace.message);
        }
        self.with(|slot| {
            if let Some(bar) = slot {
                bar.set_position(step as u64);
                bar.set_message(message.to_owned());
            }
        });
    }

    fn end(&self, part: &str) {
        self.set_pace(None);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_the_work_is_and_how_long_the_rest_takes() {
        let mut pace = Pace::new("sampling", 0, 4, 100.0);
        assert_eq!(pace.line(112.0), "sampling: 0 of 4 steps, 0:12 so far");
        pace.done = 1;
        assert_eq!(pace.line(115.0), "sampling: 1 of 4 steps, 0:45 left");
        pace.done = 4;
        assert_eq!(pace.line(160.0), "sampling: 4 of 4 steps, 0:00 left");
        // After a resume only the new steps count.
        let mut pace = Pace::new("vae", 100, 1000, 0.0);
        pace.done = 200;
        pace.message = "loss 0.5".into();
        assert_eq!(pace.line(1000.0), "vae: 200 of 1000 steps, 2:13:20 left  loss 0.5");
    }

    #[test]
    fn a_line_is_due_every_ten_seconds() {
        let mut pace = Pace::new("sampling", 0, 4, 100.0);
        let due: Vec<usize> = (100..=135).filter(|&now| pace.due(now as f64).is_some()).collect();
        assert_eq!(due, [110, 120, 130]);
    }
}
