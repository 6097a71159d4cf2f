//! The golden files are made by `tools/oracle/pickles.py`; number i of each tensor is i / 4 − 1.

use std::io::{Cursor, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;
use crate::testing::TempDir;

fn golden(name: &str) -> HashMap<String, StoredTensor> {
    open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pickles").join(name)).unwrap()
}

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32 / 4.0 - 1.0).collect()
}

#[track_caller]
fn has(tensors: &HashMap<String, StoredTensor>, expected: &[(&str, &[usize], Vec<f32>)]) {
    let mut names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut wanted: Vec<&str> = expected.iter().map(|(name, ..)| *name).collect();
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    for (name, shape, values) in expected {
        let tensor = &tensors[*name];
        assert_eq!((tensor.shape(), tensor.to_f32()), (*shape, values.clone()), "{name}");
    }
}

#[test]
fn classes_among_keys_are_passed_by_and_weights_taken_out_of_their_wrapper() {
    let tensors = golden("lightning.ckpt");
    has(&tensors, &[("a.weight", &[2, 3], ramp(6)), ("b.weight", &[4], ramp(4))]);
    assert_eq!(tensors["b.weight"].storage(), Storage::F16);
}

#[test]
fn either_layout_of_today_gives_every_view_and_number() {
    for name in ["stream.pt", "zip.pt"] {
        let pick = |places: &[usize]| places.iter().map(|&i| ramp(24)[i]).collect::<Vec<f32>>();
        has(
            &golden(name),
            &[
                ("columns", &[3, 2], ramp(6)),
                ("whole", &[24], ramp(24)),
                ("part", &[2, 3], pick(&[4, 5, 6, 7, 8, 9])),
                ("steps", &[5], pick(&[0, 5, 10, 15, 20])),
                ("repeated", &[3], vec![-1.0; 3]),
                ("channels", &[1, 2, 2, 2], ramp(8)),
                ("f64", &[2], ramp(2)),
                ("bf16", &[2], ramp(2)),
                ("i64", &[2], vec![-1.0, 7.0]),
                ("u8", &[2], vec![0.0, 200.0]),
                ("bool", &[2], vec![1.0, 0.0]),
                ("number", &[], vec![0.5]),
                ("empty", &[0, 3], vec![]),
            ],
        );
    }
}

#[test]
fn a_pickled_module_is_its_state_dict() {
    has(&golden("module.pth"), &[("first.weight", &[2, 2], ramp(4)), ("mean", &[3], ramp(3))]);
}

#[test]
fn the_layout_of_early_2017_is_read() {
    let part = ramp(6)[2..].to_vec();
    has(&golden("old.pth"), &[("whole", &[2, 4], ramp(8)), ("other", &[3], ramp(3)), ("part", &[4], part)]);
}

/// `torch.save`'s zip around a pickle, with one storage of 16 zeros.
fn zip(pickle: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[0; 16])] {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The error about a zip around such a pickle.
fn refused(pickle: &[u8]) -> Error {
    let dir = TempDir::new();
    let path = dir.join("a.pt");
    std::fs::write(&path, zip(pickle)).unwrap();
    open(&path).unwrap_err()
}

/// `{"w": call(arguments)}` with `arguments` as instructions.
fn calling(callable: &str, arguments: &[u8]) -> Vec<u8> {
    [b"\x80\x02}X\x01\x00\x00\x00wc", callable.as_bytes(), b"\n(", arguments, b"tRs."].concat()
}

const STORAGE: &[u8] =
    b"(X\x07\x00\x00\x00storagectorch\nUntypedStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQ";

#[test]
fn numbers_of_eight_bits_are_named_and_are_no_damage() {
    let arguments = [STORAGE, b"K\x00K\x04\x85K\x01\x85\x89Nctorch\nfloat8_e4m3fn\n"].concat();
    let error = refused(&calling("torch._utils\n_rebuild_tensor_v3", &arguments));
    assert!(error.to_string().contains("`w` has dtype F8_E4M3"), "{error}");
    assert!(error.hint().unwrap().contains("bf16"));
}

#[test]
fn what_cannot_be_read_is_named() {
    for (pickle, reason) in [
        (calling("posix\nsystem", b"X\x02\x00\x00\x00ls"), "wants to call `posix.system`"),
        (
            calling("torch._utils\n_rebuild_qtensor", b""),
            "tensor `w` is made by torch._utils._rebuild_qtensor",
        ),
        // Inside of a list, under a class.
        (b"\x80\x02}cmain\nLogger\n]cposix\nsystem\n)Ras.".to_vec(), "wants to call `posix.system`"),
        (b"\x80\x02]K\x01a.".to_vec(), "expected a dict of tensors, got a list"),
        (b"\x80\x02}X\x01\x00\x00\x00w".to_vec(), "ends in the middle"),
        (b"\x80\x02}s.".to_vec(), "finds no value"),
        (b"\x80\x02\xff.".to_vec(), "0xff is no instruction"),
    ] {
        let message = refused(&pickle).to_string();
        assert!(message.contains(reason) && message.contains("PyTorch weights"), "{message}");
    }
    // Five numbers of four.
    let typed =
        String::from_utf8_lossy(STORAGE).replace("Untyped", "Float").replace("K\x10", "K\x04").into_bytes();
    let arguments = [&typed, &b"K\x00K\x05\x85K\x01\x85\x89N"[..]].concat();
    let message = refused(&calling("torch._utils\n_rebuild_tensor_v2", &arguments)).to_string();
    assert!(message.contains("does not fit storage `0` of 4 numbers"), "{message}");
}

#[test]
fn a_bare_class_calls_nothing() {
    let dir = TempDir::new();
    dir.write("a.pt", zip(b"\x80\x02}(X\x01\x00\x00\x00acmain\nSettings\nX\x01\x00\x00\x00bK\x01u."));
    assert!(open(&dir.join("a.pt")).unwrap().is_empty());
}

#[test]
fn few_bytes_ask_for_little() {
    // Lists of two of the last list, forty times; a dict in itself; a state that is copied without end.
    let doubled = [&b"\x80\x02}X\x01\x00\x00\x00w]"[..], &b"2\x86".repeat(40), b"s."].concat();
    let own = b"\x80\x02}q\x00X\x01\x00\x00\x00wh\x00s.".to_vec();
    let copied = [&b"\x80\x02}q\x00X\x01\x00\x00\x00wK\x01s"[..], &b"h\x00b".repeat(40), b"."].concat();
    for pickle in [doubled, own, copied] {
        let begin = std::time::Instant::now();
        let error = refused(&pickle);
        assert!(begin.elapsed().as_secs_f64() < 1.0, "{error}");
    }
}
