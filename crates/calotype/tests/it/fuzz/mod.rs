//! Files of strangers: whatever is changed in them, every reader answers, with a value or an error, and neither
//! panics nor hangs. The changes are the same in every run; `fuzz/` looks for new ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

mod checkpoints;
mod files;
mod texts;

type Shapes = BTreeMap<String, Vec<usize>>;

/// A reader that takes so long for one of these inputs hangs: they are all below 200 kB.
const PATIENCE: Duration = Duration::from_secs(60);

/// Xorshift (Marsaglia 2003, 64 bits, shifts 13, 7, 17).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Numbers at which arithmetic and allocations break, and small ones.
    fn extreme(&mut self) -> u64 {
        let bit = 1_u64 << self.below(64);
        [0, 1, 3, bit, bit - 1, !bit, u64::MAX, i64::MAX as u64, u32::MAX.into()][self.below(9)]
    }

    /// A part of at most `longest` bytes.
    fn part<'a>(&mut self, bytes: &'a [u8], longest: usize) -> &'a [u8] {
        let begin = self.below(bytes.len() + 1);
        &bytes[begin..bytes.len().min(begin + self.below(longest + 1))]
    }
}

/// Something that bytes can be changed into.
trait Mutate {
    fn mutate(&mut self, random: &mut Random);
}

impl Mutate for Vec<u8> {
    fn mutate(&mut self, random: &mut Random) {
        let at = random.below(self.len());
        match random.below(8) {
            0 | 1 => self.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            2 => self.truncate(at),
            3 => drop(self.splice(at..at, random.next().to_le_bytes())),
            4 => {
                let copy = random.part(self, 64).to_vec();
                self.splice(at..at, copy);
            }
            5 => drop(self.drain(at..self.len().min(at + random.below(16)))),
            6 => {
                let width = 1 << random.below(4);
                let number = random.extreme().to_le_bytes();
                self.iter_mut().skip(at).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
            }
            _ => *self = with_tokens_swapped(self, random),
        }
    }
}

/// Text, such as JSON or a name, with two of its numbers and words swapped, or an extreme number for one.
fn with_tokens_swapped(text: &[u8], random: &mut Random) -> Vec<u8> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+".contains(byte);
    let mut pieces: Vec<&[u8]> = text.chunk_by(|a, b| is_token(a) && is_token(b)).collect();
    let tokens: Vec<usize> = (0..pieces.len()).filter(|&i| is_token(&pieces[i][0])).collect();
    if tokens.is_empty() {
        return text.to_vec();
    }
    let [one, other] = [(); 2].map(|()| tokens[random.below(tokens.len())]);
    let number = random.extreme().to_string();
    match random.below(3) {
        0 => pieces[one] = number.as_bytes(),
        _ => pieces.swap(one, other),
    }
    pieces.concat()
}

impl Mutate for Shapes {
    fn mutate(&mut self, random: &mut Random) {
        let Some((name, shape)) = self.iter().nth(random.below(self.len())) else { return };
        let (name, mut shape) = (name.clone(), shape.clone());
        match random.below(5) {
            0 => drop(self.remove(&name)),
            1 => {
                let mut changed = name.into_bytes();
                changed.mutate(random);
                self.insert(String::from_utf8_lossy(&changed).into_owned(), shape);
            }
            2 => {
                shape.truncate(random.below(shape.len()));
                self.insert(name, shape);
            }
            _ => {
                let axis = random.below(shape.len());
                let side = random.extreme() as usize;
                shape.iter_mut().skip(axis).take(1).for_each(|old| *old = side);
                self.insert(name, shape);
            }
        }
    }
}

/// Changes `seeds` in `runs` ways, each in one to four places; `accepts` reads them and says whether it took
/// them for what they were. Some must be taken and some not, or else the changes reach nothing.
fn fuzz<T: Mutate + Clone + std::fmt::Debug>(seeds: &[T], runs: usize, mut accepts: impl FnMut(&T) -> bool) {
    let (begun, watched) = mpsc::channel();
    std::thread::spawn(move || end_what_hangs(&watched));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for seed in seeds {
        assert!(accepts(seed), "refused unchanged: {seed:?}");
    }
    for run in 0..runs {
        let mut input = seeds[random.below(seeds.len())].clone();
        (0..=random.below(4)).for_each(|_| input.mutate(&mut random));
        begun.send(run).unwrap();
        let answer = catch_unwind(AssertUnwindSafe(|| accepts(&input)));
        accepted += usize::from(answer.unwrap_or_else(|_| panic!("run {run} panicked: {input:?}")));
    }
    assert!((1..runs).contains(&accepted), "{accepted} of {runs} accepted");
}

/// Ends the process if no run follows another for so long: a reader that hangs cannot be stopped otherwise.
fn end_what_hangs(begun: &Receiver<usize>) {
    let mut run = 0;
    loop {
        match begun.recv_timeout(PATIENCE) {
            Ok(next) => run = next,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                // Past the test's own capture, which would be lost.
                let _ = writeln!(std::io::stderr(), "fuzz: run {run} hangs");
                std::process::abort();
            }
        }
    }
}

/// A reader of files as one of bytes.
fn of_file<T>(path: PathBuf, read: impl Fn(&Path) -> calotype::Result<T>) -> impl Fn(&Vec<u8>) -> bool {
    move |bytes| {
        // A new file: some file systems write one that was cut and filled again to the disk at once.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        read(&path).is_ok()
    }
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&golden(name)).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A zip of files as they are.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A file's header, without its length, and its data.
fn split(safetensors: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = u64::from_le_bytes(safetensors[..8].try_into().unwrap()) as usize;
    (safetensors[8..8 + length].to_vec(), safetensors[8 + length..].to_vec())
}
