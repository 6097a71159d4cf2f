//! What a rank does in each case.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::{self, sleep};
use std::time::Duration;

use calotype_mpi::{MpiError, World, launched};

/// Case, then a folder that all ranks share, then a library or nothing.
pub(crate) fn run(case: &str, rest: &[String]) -> ExitCode {
    let [folder, library] = rest else { panic!("a folder and a library, not {rest:?}") };
    println!("process {}", std::process::id());
    let library = Some(PathBuf::from(library)).filter(|library| !library.as_os_str().is_empty());
    if case == "leaves-from-another-thread" {
        return leave_from_another_thread(library);
    }
    match (World::join(library.as_deref()), case) {
        (Ok(world), "refused") => {
            panic!("{} took rank {} of {}", world.library(), world.rank(), world.count())
        }
        (Ok(world), case) => {
            if let Err(error) = run_case(world, case, Path::new(folder)) {
                panic!("{case}: {error}");
            }
            ExitCode::SUCCESS
        }
        (Err(error), _) => {
            eprintln!("{error}");
            // The others of this case may have been told the same.
            ExitCode::from(4)
        }
    }
}

fn run_case(world: World, case: &str, folder: &Path) -> Result<(), MpiError> {
    let last = world.rank() + 1 == world.count();
    match case {
        "collectives" => {
            assert!(launched().is_none_or(|launched| launched.count == world.count()));
            assert!(launched().and_then(|launched| launched.rank).is_none_or(|rank| rank == world.rank()));
            assert!(matches!(World::join(None), Err(MpiError::JoinedBefore)), "joined twice");
            for unit in [1, 20_011] {
                all_to_all(&world, unit)?;
                all_gather(&world, unit)?;
                broadcast(&world, unit)?;
            }
            barrier(&world, folder)?;
            println!("done: rank {} of {}, {}", world.rank(), world.count(), world.library());
            world.finalize()
        }
        "abort" if last => world.abort(7),
        "abort-with-0" if last => world.abort(0),
        "watchdog" if last => loop {
            sleep(Duration::from_secs(1));
        },
        "stopped" if last => {
            signal("STOP");
            unreachable!("nobody lets it go on")
        }
        "watchdog" | "stopped" => {
            let handle = world.abort_handle();
            thread::spawn(move || {
                sleep(Duration::from_millis(200));
                handle.abort(75)
            });
            world.barrier()
        }
        "panic" if last => panic!("as a rank does that meets a bug"),
        "leaves" if last => std::process::exit(5),
        "killed" if last => {
            signal("KILL");
            unreachable!("killed")
        }
        "abort" | "abort-with-0" | "panic" | "leaves" | "killed" => world.barrier(),
        "counts" => counts(&world).and_then(|()| world.finalize()),
        "truncated" => truncated(&world),
        other => panic!("no case `{other}`"),
    }
}

/// MPI has a thread of its own, which waits in vain; the main thread loses patience.
fn leave_from_another_thread(library: Option<PathBuf>) -> ExitCode {
    let (joined, wait) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let world = World::join(library.as_deref()).unwrap();
        joined.send(()).unwrap();
        if world.rank() + 1 == world.count() {
            sleep(Duration::from_secs(3600))
        } else {
            world.barrier().unwrap()
        }
    });
    wait.recv().unwrap();
    sleep(Duration::from_millis(500));
    ExitCode::from(75)
}

/// Sends a signal to this process.
fn signal(name: &str) {
    let process = std::process::id().to_string();
    let _ = Command::new("kill").args(["-s", name, &process]).status();
}

/// Byte `i` of what rank `from` sends to rank `to`.
fn byte(from: usize, to: usize, i: usize) -> u8 {
    (from * 31 + to * 7 + i * 3 + i / 251) as u8
}

fn message(from: usize, to: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| byte(from, to, i)).collect()
}

/// Messages of unequal lengths; a rank that sends nothing, one that gets nothing, nobody anything.
fn all_to_all(world: &World, unit: usize) -> Result<(), MpiError> {
    let lengths: [fn(usize, usize) -> usize; 4] = [
        |from, to| (from * 3 + to * 5 + 1) % 4,
        |from, to| from * (to + 1),
        |from, to| to * (from + 1),
        |_, _| 0,
    ];
    for length in lengths {
        let length = |from, to| length(from, to) * unit;
        let (own, ranks) = (world.rank(), 0..world.count());
        let send: Vec<u8> = ranks.clone().flat_map(|to| message(own, to, length(own, to))).collect();
        let expected: Vec<u8> =
            ranks.clone().flat_map(|from| message(from, own, length(from, own))).collect();
        let send_counts: Vec<usize> = ranks.clone().map(|to| length(own, to)).collect();
        let receive_counts: Vec<usize> = ranks.map(|from| length(from, own)).collect();
        let mut receive = vec![0xEE; expected.len()];
        world.all_to_all(&send, &send_counts, &mut receive, &receive_counts)?;
        assert!(receive == expected, "all_to_all: rank {own} got other bytes");
    }
    Ok(())
}

/// Ranks of unequal lengths; one has nothing, or all.
fn all_gather(world: &World, unit: usize) -> Result<(), MpiError> {
    for empty in 0..=world.count() {
        let length = |rank: usize| if rank == empty { 0 } else { (rank + 1) * unit };
        let expected: Vec<u8> =
            (0..world.count()).flat_map(|from| message(from, empty, length(from))).collect();
        let counts: Vec<usize> = (0..world.count()).map(length).collect();
        let mut receive = vec![0xEE; expected.len()];
        world.all_gather(&message(world.rank(), empty, length(world.rank())), &mut receive, &counts)?;
        assert!(receive == expected, "all_gather: rank {} got other bytes", world.rank());
        let own = counts[..world.rank()].iter().sum::<usize>()..counts[..=world.rank()].iter().sum();
        receive.fill(0);
        receive[own.clone()].copy_from_slice(&expected[own]);
        world.all_gather_in_place(&mut receive, &counts)?;
        assert!(receive == expected, "all_gather_in_place: rank {} got other bytes", world.rank());
    }
    world.all_gather(&[], &mut [], &vec![0; world.count()])
}

fn broadcast(world: &World, unit: usize) -> Result<(), MpiError> {
    for root in 0..world.count() {
        for length in [0, 1, 5 * unit] {
            let expected = message(root, root, length);
            let mut bytes = if world.rank() == root { expected.clone() } else { vec![0xEE; length] };
            world.broadcast(&mut bytes, root)?;
            assert!(bytes == expected, "broadcast: rank {} got other bytes", world.rank());
        }
    }
    Ok(())
}

/// What each did before, all see after.
fn barrier(world: &World, folder: &Path) -> Result<(), MpiError> {
    sleep(Duration::from_millis(30 * world.rank() as u64));
    File::create(folder.join(format!("rank-{}", world.rank()))).unwrap();
    world.barrier()?;
    let files = fs::read_dir(folder).unwrap().filter_map(Result::ok);
    let ranks = files.filter(|file| file.file_name().to_string_lossy().starts_with("rank-")).count();
    assert_eq!(ranks, world.count(), "rank {} left the barrier before others came", world.rank());
    Ok(())
}

/// Refused on one rank while the other knows nothing of it: had anything been sent, what follows would be wrong.
fn counts(world: &World) -> Result<(), MpiError> {
    if world.rank() == 0 {
        let refused = |result: Result<(), MpiError>| assert!(matches!(result, Err(MpiError::Counts { .. })));
        refused(world.all_to_all(&[1, 2, 3], &[1, 1], &mut [0; 2], &[1, 1]));
        refused(world.all_to_all(&[1, 2], &[1, 1], &mut [0; 3], &[1, 1]));
        refused(world.all_to_all(&[1, 2], &[2], &mut [0; 2], &[1, 1]));
        refused(world.all_gather(&[1], &mut [0; 3], &[2, 1]));
        refused(world.all_gather(&[1, 2], &mut [0; 2], &[2, 1]));
        refused(world.all_gather(&[1, 2], &mut [0; 3], &[2, 1, 0]));
        assert!(matches!(world.broadcast(&mut [0], 2), Err(MpiError::Root { got: 2, count: 2, .. })));
    }
    all_to_all(world, 1)?;
    println!("done");
    Ok(())
}

/// Rank 0 sends more than rank 1 expects.
fn truncated(world: &World) -> Result<(), MpiError> {
    let mut receive = [0; 4];
    if world.rank() == 0 {
        world.all_to_all(&[1; 8], &[0, 8], &mut [], &[0, 0])?;
        return world.barrier();
    }
    let error = world.all_to_all(&[], &[0, 0], &mut receive, &[4, 0]).expect_err("8 bytes do not fit into 4");
    assert!(matches!(error, MpiError::Call { .. }), "{error}");
    eprintln!("{error}");
    world.abort(9)
}
