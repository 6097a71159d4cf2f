//! Many processes train as one, under the `mpirun` of this machine. Without one the tests say so and pass; Debian has
//! `openmpi-bin` and `mpich`.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;

use super::*;

/// A launcher of processes that share two cores.
struct Launcher {
    program: &'static str,
    options: &'static [&'static str],
}

const OPEN_MPI: Launcher = Launcher {
    program: "mpirun.openmpi",
    options: &[
        "--allow-run-as-root",
        "--oversubscribe",
        "--bind-to",
        "none",
        "--mca",
        "mpi_yield_when_idle",
        "1",
        "-n",
    ],
};
const MPICH: Launcher = Launcher { program: "mpirun.mpich", options: &["-n"] };

impl Launcher {
    /// Whether it is there; says so where it is not.
    fn is_here(&self) -> bool {
        let here = Command::new(self.program).arg("--version").output().is_ok_and(|out| out.status.success());
        if !here {
            eprintln!("skipped: no `{}`", self.program);
        }
        here
    }

    /// `calotype ARGS… --ranks mpi` in `dir`, by so many ranks of one thread each.
    fn command(&self, dir: &TempDir, ranks: usize, args: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.current_dir(dir.join("")).args(self.options).arg(ranks.to_string());
        command.arg(env!("CARGO_BIN_EXE_calotype")).args(args).args(["--ranks", "mpi", "--threads", "1"]);
        command
    }

    /// The same where each rank has a command line of its own, by a shell that first does what `before` says.
    fn commands(&self, dir: &TempDir, ranks: &[(&str, Vec<&str>)]) -> Command {
        let mut command = Command::new(self.program);
        command.current_dir(dir.join(""));
        for (i, (before, args)) in ranks.iter().enumerate() {
            if i > 0 {
                command.args([":", "-n"]);
            } else {
                command.args(self.options);
            }
            let script = format!("{before}; exec \"$0\" \"$@\"");
            command.args(["1", "sh", "-c", &script, env!("CARGO_BIN_EXE_calotype")]);
            command.args(args).args(["--ranks", "mpi", "--threads", "1"]);
        }
        command
    }
}

/// [`TINY`] in four shares.
fn recipe(dir: &TempDir, steps: usize) {
    let text = TINY.replace("parts = 2\n", "").replace("batch_size = 4", "batch_size = 4\nparts = 4");
    dir.write("four.toml", text.replace("steps = 20", &format!("steps = {steps}")).as_bytes());
}

fn training<'a>(part: &'a str, run: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", part, "--config", "four.toml", "--run", run, "--no-check"], more].concat()
}

/// Model, checkpoints and losses.
fn left(dir: &TempDir, run: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut left = files(&dir.join(run).join("model"));
    left.extend(files(&dir.join(run).join("state")));
    left
}

#[test]
fn ranks_write_the_bytes_of_one_process() {
    for launcher in [OPEN_MPI, MPICH] {
        if !launcher.is_here() {
            continue;
        }
        let dir = TempDir::new();
        recipe(&dir, 6);
        for part in ["vae", "clip", "diffusion"] {
            succeeds(&dir, &training(part, "alone", &[]));
            let output = launcher.command(&dir, 2, &training(part, "two", &[])).output().unwrap();
            assert!(output.status.success(), "{}: {}", launcher.program, stderr(&output));
        }
        let (alone, two) = (left(&dir, "alone"), left(&dir, "two"));
        assert!(alone.keys().eq(two.keys()), "{:?} {:?}", alone.keys(), two.keys());
        for (path, bytes) in &alone {
            assert!(two[path] == *bytes, "{}: {} differs", launcher.program, path.display());
        }
    }
}

#[test]
fn a_rank_that_is_killed_ends_all_and_the_run_goes_on() {
    if !OPEN_MPI.is_here() {
        return;
    }
    let dir = TempDir::new();
    recipe(&dir, 400);
    let mut launched = started(OPEN_MPI.command(&dir, 2, &training("vae", "run", &[])));
    let state = dir.join("run/state/vae");
    let saved = || files_of(&state).iter().any(|name| name.ends_with(".safetensors"));
    wait_until(saved);
    assert!(saved(), "no checkpoint was written");
    signal(&launched, 2, 1, "-9");
    let ended = Instant::now();
    let status = launched.wait().unwrap();
    assert!(!status.success() && ended.elapsed() < Duration::from_secs(10), "{status:?}");
    // Alone, from the checkpoint of two.
    recipe(&dir, 400);
    let output = run(&dir, &training("vae", "run", &["--resume"]));
    assert!(output.status.success(), "{}", stderr(&output));
    succeeds(&dir, &training("vae", "whole", &[]));
    assert!(files(&dir.join("run/model")) == files(&dir.join("whole/model")), "other bits after the kill");
}

/// Of all ranks one alone says what is wrong.
fn assert_one_error(message: &str) {
    assert_eq!(message.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{message}");
}

/// Starts ranks that write nothing here.
fn started(mut ranks: Command) -> Child {
    ranks.stderr(Stdio::null()).spawn().unwrap()
}

/// Waits, but not for ever.
fn wait_until(happened: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !happened() && Instant::now() < until {
        sleep(Duration::from_millis(2));
    }
}

/// Sends a signal to one of the `count` ranks of a launcher.
fn signal(launched: &Child, count: usize, rank: usize, signal: &str) {
    let ranks = children_of(launched.id());
    assert_eq!(ranks.len(), count, "{ranks:?}");
    assert!(Command::new("kill").args([signal, &ranks[rank].to_string()]).status().unwrap().success());
}

fn files_of(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Processes whose parent is `id`.
fn children_of(id: u32) -> Vec<u32> {
    let output = Command::new("ps").args(["-o", "pid=", "--ppid", &id.to_string()]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

#[test]
fn what_stops_one_rank_stops_all_with_one_message() {
    if !OPEN_MPI.is_here() {
        return;
    }
    let dir = TempDir::new();
    recipe(&dir, 6);
    let wild = fs::read_to_string(dir.join("four.toml")).unwrap();
    let wild = wild.replace("learning_rate = 2e-3", "learning_rate = 1e30");
    dir.write("four.toml", wild.as_bytes());
    let alone = fails(&dir, 1, &training("vae", "alone", &[]));
    let output = OPEN_MPI.command(&dir, 3, &training("vae", "three", &[])).output().unwrap();
    assert!(!output.status.success());
    let message = stderr(&output);
    let error = alone.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.contains("is not finite"), "{error}");
    assert_eq!(message.lines().filter(|line| *line == error).count(), 1, "{error}\n{message}");
    assert_one_error(&message);
}

#[test]
fn a_rank_that_trains_something_else_is_refused() {
    if !OPEN_MPI.is_here() {
        return;
    }
    let dir = with_data();
    recipe(&dir, 6);
    let other = fs::read_to_string(dir.join("four.toml")).unwrap();
    dir.write("other.toml", other.replacen("learning_rate = 2e-3", "learning_rate = 3e-3", 1).as_bytes());
    succeeds(&dir, &["data", "render", "--out", "others", "-n", "4", "--size", "32", "--seed", "4"]);
    let mut recipes = training("vae", "run", &[]);
    recipes[3] = "other.toml";
    let data = ["data", "others"].map(|data| training("vae", "run", &["--data", data]));
    let [data, others] = data;
    for (zero, one, key) in [
        (training("vae", "run", &[]), recipes, "learning_rate`: expected 0.002, as rank 0, got 0.003"),
        (data, others, "captions`"),
    ] {
        let output = OPEN_MPI.commands(&dir, &[(":", zero), (":", one)]).output().unwrap();
        let message = stderr(&output);
        assert!(!output.status.success(), "{message}");
        assert_says(&message, &["error: ", "rank 1 has another `training.", key]);
        assert_one_error(&message);
        assert!(!dir.join("run/model").exists() && !dir.join("run/state").exists());
    }
}

/// The newest checkpoint.
fn newest(state: &Path) -> (PathBuf, Vec<u8>) {
    let checkpoint = |path: &Path| path.extension().is_some_and(|extension| extension == "safetensors");
    files(state).into_iter().rfind(|(path, _)| checkpoint(path)).unwrap()
}

#[test]
fn a_full_disk_of_rank_0_ends_all_and_costs_no_checkpoint() {
    if !OPEN_MPI.is_here() {
        return;
    }
    let dir = TempDir::new();
    recipe(&dir, 200);
    // A checkpoint from before.
    let mut launched = started(OPEN_MPI.command(&dir, 2, &training("clip", "run", &[])));
    let state = dir.join("run/state/clip");
    wait_until(|| state.join("000000005.safetensors").exists());
    assert!(launched.try_wait().unwrap().is_none(), "it is done before it could be killed");
    signal(&launched, 2, 0, "-9");
    launched.wait().unwrap();
    let before = newest(&state);
    // MPI's files in memory count, too: bytes go through the loopback instead.
    let resume = || training("clip", "run", &["--resume"]);
    let mut ranks = OPEN_MPI.commands(&dir, &[("trap '' XFSZ; ulimit -f 40", resume()), (":", resume())]);
    ranks.env("OMPI_MCA_btl", "tcp,self").env("OMPI_MCA_btl_tcp_if_include", "lo");
    let output = ranks.output().unwrap();
    let message = stderr(&output);
    assert!(!output.status.success(), "{message}");
    assert_says(&message, &["error: cannot write", "run/state/clip/", "too large"]);
    assert_one_error(&message);
    assert!(newest(&state) == before, "the checkpoint is another one");
    let output = OPEN_MPI.command(&dir, 3, &resume()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    succeeds(&dir, &training("clip", "whole", &[]));
    assert!(
        files(&dir.join("run/model")) == files(&dir.join("whole/model")),
        "other bits after the full disk"
    );
}

#[test]
fn a_long_validation_is_no_hang() {
    if !OPEN_MPI.is_here() {
        return;
    }
    let dir = TempDir::new();
    recipe(&dir, 2);
    write_files(&dir.join("run/model"), &components(DIFFUSION.reads));
    // Many pictures are made before the first step and after the last one.
    let prompts = vec!["\"a cat\""; 400].join(", ");
    replace(&dir.join("four.toml"), "[diffusion]\n", &format!("[diffusion]\nprompts = [{prompts}]\n"));
    replace(&dir.join("four.toml"), "[diffusion.training]\n", "[diffusion.training]\nvalidate_every = 2\n");
    let started = Instant::now();
    let args = training("diffusion", "run", &["--rank-timeout", "2"]);
    let output = OPEN_MPI.command(&dir, 2, &args).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    // Two validations, each longer than that, and little else.
    assert!(started.elapsed() > Duration::from_secs(5), "too short to tell: {:?}", started.elapsed());
}

#[test]
fn what_cannot_be_ranks_is_refused() {
    let dir = TempDir::new();
    recipe(&dir, 2);
    let missing = ["--ranks", "mpi", "--mpi-library", "no-such-library.so"];
    let message = fails(&dir, 1, &training("vae", "run", &missing));
    assert!(message.contains("no-such-library.so"), "{message}");
    // A launcher that speaks with another MPI.
    if MPICH.is_here() && OPEN_MPI.is_here() {
        let library = ["--mpi-library", "libmpi.so.40"];
        let output = MPICH.command(&dir, 2, &training("vae", "run", &library)).output().unwrap();
        let message = stderr(&output);
        assert!(!output.status.success() && message.contains("launcher of another MPI"), "{message}");
    }
    if OPEN_MPI.is_here() {
        let output = OPEN_MPI.command(&dir, 5, &training("vae", "run", &[])).output().unwrap();
        let expected = "expected at most 4, the `parts` of a batch in the recipe, got 5";
        let message = stderr(&output);
        assert!(!output.status.success() && message.contains(expected), "{message}");
        // Had another one left first, mpirun might have ended rank 0 before it spoke.
        let first = message.lines().find(|line| line.contains("Process name:"));
        assert!(first.is_none_or(|line| line.trim_end().ends_with(",0]")), "{message}");
        assert_one_error(&message);
    }
    assert!(!dir.join("run/model").exists());
}

#[test]
fn a_rank_that_hangs_is_given_up() {
    if !OPEN_MPI.is_here() {
        return;
    }
    let dir = TempDir::new();
    recipe(&dir, 4000);
    let args = training("vae", "run", &["--rank-timeout", "3"]);
    let mut launched = OPEN_MPI.command(&dir, 2, &args).stderr(Stdio::piped()).spawn().unwrap();
    // Until the first step is written down.
    let log = dir.join("run/logs/vae.jsonl");
    wait_until(|| fs::metadata(&log).is_ok_and(|log| log.len() > 0));
    signal(&launched, 2, 1, "-STOP");
    let since = Instant::now();
    let status = launched.wait().unwrap();
    assert!(!status.success() && status.signal().is_none(), "{status:?}");
    assert!(since.elapsed() < Duration::from_secs(20), "it took {:?}", since.elapsed());
    let mut message = String::new();
    launched.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert!(message.contains("has waited 3 s for the others at step"), "{message}");
}

#[test]
fn pictures_and_features_do_not_depend_on_the_shares() {
    let dir = TempDir::new();
    write_model(&dir.join("model"));
    let prompts: String = (0..6).map(|i| format!("a cat number {i}\n")).collect();
    dir.write("prompts.txt", prompts.as_bytes());
    let generate = |out: &str, shard: &[&str]| {
        let args = ["generate", "--model", "model", "--prompts", "prompts.txt", "--steps", "2", "--out", out];
        succeeds(&dir, &[&args, shard].concat());
    };
    generate("whole", &[]);
    for shard in ["2/3", "1/3", "3/3"] {
        generate("shared", &["--shard", shard]);
    }
    assert_eq!(files(&dir.join("whole")).len(), 6);
    assert!(files(&dir.join("whole")) == files(&dir.join("shared")), "pictures depend on the shares");
    // One that is there stays, one that is missing is made.
    fs::remove_file(dir.join("shared/00004.png")).unwrap();
    let args = [
        "generate",
        "--model",
        "model",
        "--prompts",
        "prompts.txt",
        "--steps",
        "2",
        "--out",
        "shared",
        "--json",
    ];
    let made: Value = serde_json::from_slice(&succeeds(&dir, &args).stdout).unwrap();
    assert_eq!((&made["pictures"], &made["made"]), (&Value::from(6), &Value::from(1)));
    assert!(files(&dir.join("whole")) == files(&dir.join("shared")));

    let statistics = |shard: Option<&str>, out: &str| {
        let args = [
            "evaluate",
            "--generated",
            "whole",
            "--weights",
            "model",
            "--extractor",
            "clip",
            "--stats-out",
            out,
        ];
        let shard: Vec<&str> = shard.map_or(vec![], |shard| vec!["--shard", shard]);
        succeeds(&dir, &[&args[..], &shard].concat());
    };
    statistics(Some("1/1"), "whole.npz");
    for of in [2, 3] {
        let parts: Vec<String> = (1..=of).map(|i| format!("part-{i}-{of}.npz")).collect();
        parts.iter().enumerate().for_each(|(i, part)| statistics(Some(&format!("{}/{of}", i + 1)), part));
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let merged = format!("merged-{of}.npz");
        succeeds(&dir, &[&["evaluate", "--merge"], &parts[..], &["--stats-out", &merged]].concat());
        assert!(
            fs::read(dir.join(&merged)).unwrap() == fs::read(dir.join("whole.npz")).unwrap(),
            "{of} shares"
        );
    }
    let message = fails(
        &dir,
        2,
        &["generate", "--model", "model", "--prompts", "prompts.txt", "--out", "x", "--shard", "0/3"],
    );
    assert!(message.contains("from 1/8 to 8/8"), "{message}");
}
