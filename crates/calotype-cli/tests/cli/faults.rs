//! Signals, kills and full disks: nothing half-written is left looking whole.

use super::*;

fn spawn(dir: &TempDir, args: &[&str]) -> Child {
    command(dir, args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_for(child: &mut Child, what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(child.try_wait().unwrap().is_none(), "ended before {what}");
        assert!(started.elapsed() < Duration::from_secs(60), "no {what} after a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, name: &str) {
    let status: ExitStatus = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn leftovers(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_keys().filter(|path| path.extension().is_some_and(|e| e == "tmp")).collect()
}

#[test]
fn ctrl_c_saves_and_resume_finishes() {
    let dir = with_recipe();
    let mut child = spawn(&dir, &TRAIN_VAE);
    let log = dir.join("run/logs/vae.jsonl");
    wait_for(&mut child, "the first step", || fs::metadata(&log).is_ok_and(|log| log.len() > 0));
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_says(&message, &["error: interrupted at step", "hint: run the same command with --resume"]);
    assert!(!dir.join("run/model").exists());

    assert_says(&fails(&dir, 2, &TRAIN_VAE), &["--resume"]);
    succeeds(&dir, &RESUME_VAE);
    assert_holds(&dir.join("run/model"), &components(VAE.writes), "after Ctrl-C");
    assert_eq!(leftovers(&dir.join("run")), Vec::<PathBuf>::new());
}

#[test]
fn ctrl_c_ends_the_sampling_at_once() {
    let dir = with_model();
    let args = ["generate", "a cat", "--model", "model", "--steps", "999", "-n", "80", "--out", "many"];
    let mut child = spawn(&dir, &args);
    // Its first line on stderr says that sampling begins.
    let mut line = [0; 1];
    child.stderr.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, "-INT");
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.signal(), Some(2), "{status}: {}{said}", line[0] as char);
    assert!(!dir.join("many").exists());
}

#[test]
fn kill_9_and_resume_give_the_weights_of_one_run() {
    for part in [VAE, CLIP, DIFFUSION] {
        let name = part.name();
        let dir = with_recipe();
        write_files(&dir.join("run/model"), &components(part.reads));
        let train = ["train", name, "--config", "tiny.toml", "--run", "run"];
        let mut child = spawn(&dir, &train);
        let state = dir.join(format!("run/state/{name}/000000005.safetensors"));
        wait_for(&mut child, "the first checkpoint", || state.exists());
        signal(&child, "-KILL");
        child.wait().unwrap();
        assert!(!dir.join("run/model").join(part.writes[0]).exists(), "{name} was already done");

        succeeds(&dir, &[train.as_slice(), &["--resume"]].concat());
        assert_holds(&dir.join("run/model"), &components(part.writes), "after kill -9");
    }
}

// A full disk. `ulimit -f` stands for it: no file may grow beyond so many blocks of 512 bytes.

fn run_with_little_disk(dir: &TempDir, blocks: usize, args: &[&str]) -> Output {
    run_within(dir, &format!("trap '' XFSZ; ulimit -f {blocks}"), args)
}

#[test]
fn a_full_disk_leaves_the_old_picture() {
    let dir = with_model();
    for old in [None, Some(b"the old picture".as_slice())] {
        if let Some(old) = old {
            dir.write("cat.png", old);
        }
        let output = run_with_little_disk(&dir, 1, &GENERATE);
        assert_eq!(output.status.code(), Some(1));
        assert_says(&stderr(&output), &["error: cannot write", "cat.png", "too large"]);
        assert_eq!(fs::read(dir.join("cat.png")).ok().as_deref(), old);
        assert_eq!(leftovers(&dir.join("")), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_full_disk_in_training_costs_no_checkpoint() {
    let dir = with_recipe();
    let train = ["train", "clip", "--config", "tiny.toml", "--run", "run"];
    let resume = [train.as_slice(), &["--resume"]].concat();
    // Blocks for the log and for the checkpoint's older half.
    let output = run_with_little_disk(&dir, 40, &train);
    assert_eq!(output.status.code(), Some(1));
    assert_says(
        &stderr(&output),
        &["error: cannot write", "run/state/clip/000000005.safetensors", "too large"],
    );
    assert_eq!(leftovers(&dir.join("run")), Vec::<PathBuf>::new());
    assert!(!dir.join("run/state/clip/000000005.safetensors").exists());

    // With a checkpoint from before, that one stays.
    let mut child = spawn(&dir, &train);
    let state = dir.join("run/state/clip/000000005.safetensors");
    wait_for(&mut child, "the first checkpoint", || state.exists());
    signal(&child, "-KILL");
    child.wait().unwrap();
    let before = fs::read(&state).unwrap();
    assert_eq!(run_with_little_disk(&dir, 40, &resume).status.code(), Some(1));
    assert!(fs::read(&state).unwrap() == before);
    succeeds(&dir, &resume);
    assert_holds(&dir.join("run/model"), &components(CLIP.writes), "after a full disk");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = with_recipe();
    dir.write("run", "a file, not a folder");
    assert_says(&fails(&dir, 2, &TRAIN_VAE), &["--run: expected a folder", "`run`"]);
}
