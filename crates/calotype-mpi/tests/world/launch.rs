//! This program under a launcher, and how that ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::installation::Installation;

/// The first argument of a rank.
pub(crate) const AS_RANK: &str = "--as-rank";
/// After this long, what runs hangs. Ranks that wait for one that is gone wait for ever.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long the ranks of a launcher that has ended may take to end.
const LINGER: Duration = Duration::from_secs(5);

/// How a launch ended.
pub(crate) struct Ended {
    code: Option<i32>,
    /// What launcher and ranks said.
    output: String,
    pub(crate) seconds: f64,
}

impl Ended {
    pub(crate) fn code(self, expected: i32) -> Result<Self, String> {
        if self.code == Some(expected) { Ok(self) } else { Err(self.unlike(&format!("code {expected}"))) }
    }

    pub(crate) fn failed(self) -> Result<Self, String> {
        if self.code.is_some_and(|code| code != 0) {
            Ok(self)
        } else {
            Err(self.unlike("a code other than 0"))
        }
    }

    /// At least `times` lines have `part`.
    pub(crate) fn said(self, part: &str, times: usize) -> Result<Self, String> {
        let lines = self.output.lines().filter(|line| line.contains(part)).count();
        if lines >= times { Ok(self) } else { Err(self.unlike(&format!("{times} lines with `{part}`"))) }
    }

    pub(crate) fn said_one_of(self, parts: &[&str]) -> Result<Self, String> {
        if parts.iter().any(|part| self.output.contains(part)) {
            Ok(self)
        } else {
            Err(self.unlike(&parts.join(" or ")))
        }
    }

    fn unlike(&self, expected: &str) -> String {
        format!("expected {expected}, got code {:?} after {:.1} s\n{}", self.code, self.seconds, self.output)
    }
}

impl Installation {
    /// `ranks` ranks of `case`, with a library's name, or the crate's choice.
    pub(crate) fn launch(&self, ranks: usize, case: &str, library: &str) -> Result<Ended, String> {
        let mut command = Command::new(&self.launcher);
        command.args(self.family.arguments()).args(["-n", &ranks.to_string()]).arg(this_program());
        run(command, case, library)
    }

    /// One rank without a launcher.
    pub(crate) fn alone(&self) -> Result<Ended, String> {
        run(Command::new(this_program()), "collectives", self.library())
    }
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("a program that runs has a file")
}

fn run(mut command: Command, case: &str, library: &str) -> Result<Ended, String> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("calotype-mpi-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let ended = run_in(&folder, command.arg(AS_RANK).arg(case).arg(&folder).arg(library));
    fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    ended
}

/// `folder` is for the files of the ranks, and for what is said.
fn run_in(folder: &Path, command: &mut Command) -> Result<Ended, String> {
    let text = |error: std::io::Error| format!("cannot run ranks: {error}");
    let file = folder.join("output");
    let output = File::create(&file).map_err(text)?;
    command.stdin(Stdio::null()).stderr(output.try_clone().map_err(text)?).stdout(output);
    let started = Instant::now();
    let mut child = command.spawn().map_err(text)?;
    let code = loop {
        match child.try_wait().map_err(text)? {
            Some(status) => break status.code(),
            None if started.elapsed() > DEADLINE => {
                end(&mut child);
                let said = fs::read_to_string(&file).unwrap_or_default();
                return Err(format!("hangs: ended after {} s\n{said}", DEADLINE.as_secs()));
            }
            None => sleep(Duration::from_millis(20)),
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let output = String::from_utf8_lossy(&fs::read(&file).map_err(text)?).into_owned();
    all_gone(&output)
        .map_err(|rank| format!("process {rank} still runs after the launcher's end\n{output}"))?;
    Ok(Ended { code, output, seconds })
}

/// The launcher first, so that it can end its ranks.
fn end(child: &mut Child) {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    sleep(LINGER);
    let _ = child.kill();
    let _ = child.wait();
}

/// No rank lives on: each has said its process number.
fn all_gone(output: &str) -> Result<(), String> {
    let started = Instant::now();
    let ranks = output.lines().filter_map(|line| line.strip_prefix("process "));
    for rank in ranks {
        // A zombie is gone; `pid (name) Z`. Without `/proc` all seem to be.
        let lives = || {
            fs::read_to_string(format!("/proc/{rank}/stat"))
                .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
        };
        while lives() {
            if started.elapsed() > LINGER {
                return Err(rank.to_owned());
            }
            sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}
