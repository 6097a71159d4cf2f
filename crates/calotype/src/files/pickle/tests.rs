//! The golden files are made by `tools/oracle/pickles.py`; number i of each tensor is i / 4 − 1.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

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

const FLOAT: &[u8] = b"ctorch\nFloatStorage\n";
/// Storage 0, of four numbers.
const FLOATS: &[u8] =
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ";
const STORAGE: &[u8] =
    b"(X\x07\x00\x00\x00storagectorch\nUntypedStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x10tQ";

#[test]
fn numbers_of_eight_bits_are_named_and_are_no_damage() {
    let arguments = [STORAGE, b"K\x00K\x04\x85K\x01\x85\x89Nctorch\nfloat8_e4m3fn\n"].concat();
    let error = refused(&calling("torch._utils\n_rebuild_tensor_v3", &arguments));
    assert!(error.to_string().contains("`w` has dtype F8_E4M3 (fp8)"), "{error}");
    assert!(error.hint().unwrap().contains("bf16"));
}

/// `{name: tensor, …}` of names of one letter, and `torch.save`'s zip around it with eight storages that have another
/// checksum than they should.
fn damaged(tensors: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let entry = |(name, tensor): &(u8, Vec<u8>)| [b"X\x01\x00\x00\x00", &[*name][..], tensor].concat();
    let entries: Vec<u8> = tensors.iter().flat_map(entry).collect();
    let pickle = [b"\x80\x02}(", &entries[..], b"u."].concat();
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    archive.start_file("a/data.pkl", stored).unwrap();
    archive.write_all(&pickle).unwrap();
    for key in 0..8 {
        archive.start_file(format!("a/data/{key}"), stored).unwrap();
        archive.write_all(b"four such floats").unwrap();
    }
    let mut bytes = archive.finish().unwrap().into_inner();
    let spoilt: Vec<usize> =
        (0..bytes.len() - 16).filter(|&i| bytes[i..].starts_with(b"four such")).collect();
    assert_eq!(spoilt.len(), 8);
    spoilt.into_iter().for_each(|i| bytes[i] = b'F');
    bytes
}

/// In every run; and what is not read is said before what is damaged.
#[test]
fn of_several_faults_the_first_is_named() {
    let with_key = |storage: &[u8], key: u8| -> Vec<u8> {
        storage.iter().map(|&byte| if byte == b'0' { key } else { byte }).collect()
    };
    let float = |key| {
        let storage = with_key(FLOATS, key);
        [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], &storage, b"K\x00K\x04\x85K\x01\x85\x89NtR"].concat()
    };
    let eight_bits = |key| {
        let (storage, rest) =
            (with_key(STORAGE, key), b"K\x00K\x04\x85K\x01\x85\x89Nctorch\nfloat8_e4m3fn\ntR");
        [&b"ctorch._utils\n_rebuild_tensor_v3\n("[..], &storage, rest].concat()
    };
    let all = |tensor: &dyn Fn(u8) -> Vec<u8>| (0..8).rev().map(|i| (b'a' + i, tensor(b'0' + i))).collect();
    let dir = TempDir::new();
    let path = dir.join("a.pt");
    let floats: Vec<_> = all(&float);
    let mut mixed: Vec<_> = all(&eight_bits);
    mixed.truncate(5);
    mixed.extend(floats[5..].iter().cloned());
    for (tensors, said) in [
        (floats, "storage `0` has another checksum"),
        // `d` to `h` are of eight bits.
        (mixed, "tensor `d` has dtype F8_E4M3 (fp8)"),
    ] {
        std::fs::write(&path, damaged(&tensors)).unwrap();
        let message = open(&path).unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
    }
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
    let arguments = [FLOATS, b"K\x00K\x05\x85K\x01\x85\x89N"].concat();
    let message = refused(&calling("torch._utils\n_rebuild_tensor_v2", &arguments)).to_string();
    assert!(message.contains("does not fit storage `0` of 4 numbers"), "{message}");
}

#[test]
fn a_bare_class_calls_nothing() {
    let dir = TempDir::new();
    // An object of a trainer's own class, with a state, beside a tensor.
    let tensor =
        [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], FLOATS, b"K\x00K\x04\x85K\x01\x85\x89NtR"].concat();
    let settings = b"X\x01\x00\x00\x00sc__main__\nSettings\n)\x81}X\x01\x00\x00\x00aK\x01sb";
    dir.write("a.pt", zip(&[&b"\x80\x02}("[..], settings, b"X\x01\x00\x00\x00w", &tensor, b"u."].concat()));
    assert_eq!(open(&dir.join("a.pt")).unwrap().into_keys().collect::<Vec<_>>(), ["w"]);
    dir.write("a.pt", zip(b"\x80\x02}(X\x01\x00\x00\x00acmain\nSettings\nX\x01\x00\x00\x00bK\x01u."));
    assert!(open(&dir.join("a.pt")).unwrap().is_empty());
}

/// Pickles whose few bytes stand for much, and what is said of each.
#[test]
fn few_bytes_ask_for_little() {
    let w = b"\x80\x02}X\x01\x00\x00\x00w";
    // A text of a mebibyte in place 0 of the memo.
    let long = [&b"\x80\x04X\x00\x00\x10\x00"[..], &vec![b'a'; 1 << 20], b"q\x00"].concat();
    // A tensor of 64 axes in place 1, and the call that makes a parameter of it in place 2.
    let axes = [&b"("[..], &b"K\x01".repeat(64), b"t"].concat();
    let arguments = [FLOATS, b"K\x00", &axes, &axes, b"\x89N"].concat();
    let tensor = [&b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n("[..], &arguments, b"tRq\x01"].concat();
    let parameter = b"ctorch._utils\n_rebuild_parameter\nq\x02";
    for (pickle, reason) in [
        // Lists of two of the last list, forty times.
        ([&w[..], b"]", &b"2\x86".repeat(40), b"s."].concat(), "refers to its values more than"),
        // A dict in itself.
        (b"\x80\x02}q\x00X\x01\x00\x00\x00wh\x00s.".to_vec(), "deep in each other"),
        // A dict in a thousand dicts.
        (
            [&b"\x80\x02"[..], &b"}X\x01\x00\x00\x00w".repeat(1000), b"N", &b"s".repeat(1000), b"."].concat(),
            "deep",
        ),
        // A state that is copied without end.
        (
            [&b"\x80\x02}q\x00X\x01\x00\x00\x00wK\x01s"[..], &b"h\x00b".repeat(40), b"."].concat(),
            "bytes are copied",
        ),
        // A class, storage and tensor with long names.
        ([&long[..], b"h\x00\x93."].concat(), "a class has 1048576 bytes"),
        ([&b"\x80\x02c"[..], &vec![b'a'; 2000], b"\nb\n."].concat(), "the name of a class has 2001 bytes"),
        ([&long[..], b"0(X\x07\x00\x00\x00storage", FLOAT, b"h\x00NK\x01tQ."].concat(), "has 1048576 bytes"),
        // Parameters of one tensor, and a tensor of more axes.
        (
            [&tensor[..], &parameter[..], &b"h\x02h\x01\x85R0".repeat(400_000), b"."].concat(),
            "bytes are copied",
        ),
        (
            calling(
                "torch._utils\n_rebuild_tensor_v2",
                &[FLOATS, b"K\x00(", &b"K\x01".repeat(65), b"tK\x01\x85\x89N"].concat(),
            ),
            "a tensor has 65 axes",
        ),
        // Marks, values and instructions without end.
        (b"(".repeat(5_000_000), "keeps more than"),
        (b"N0".repeat(5_000_000), "has more than 4000000 values"),
        ([&b"N"[..], &b"20".repeat(10_000_000)].concat(), "has more than 16777216 instructions"),
    ] {
        let message = refused(&pickle).to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn what_is_pickled_without_torch_save_is_no_damage() {
    let storage = b"ctorch.storage\n_load_from_bytes\nC\x01a\x85R";
    let arguments = [&storage[..], b"K\x00K\x01\x85K\x01\x85\x89N"].concat();
    let error = refused(&calling("torch._utils\n_rebuild_tensor_v2", &arguments));
    assert!(error.to_string().contains("torch.storage._load_from_bytes"), "{error}");
    assert_eq!(error.hint(), None);
}

#[test]
fn a_step_in_a_tensor_beside_the_weights_keeps_their_wrapper() {
    let dir = TempDir::new();
    let tensor = |shape: &[u8]| {
        [&b"ctorch._utils\n_rebuild_tensor_v2\n("[..], FLOATS, b"K\x00", shape, shape, b"\x89NtR"].concat()
    };
    let weights = [&b"}X\x01\x00\x00\x00w"[..], &tensor(b"K\x01\x85"), b"s"].concat();
    let named = |name: &[u8]| [b"X", &(name.len() as u32).to_le_bytes()[..], name].concat();
    for wrapper in ["state_dict", "model", "params_ema"] {
        // An empty wrapper before it is passed by.
        let pickle = [
            &b"\x80\x02}("[..],
            &named(b"model_state_dict"),
            b"}",
            &named(wrapper.as_bytes()),
            &weights,
            &named(b"step"),
            &tensor(b")"),
            b"u.",
        ];
        dir.write("a.pt", zip(&pickle.concat()));
        let tensors = open(&dir.join("a.pt")).unwrap();
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["w"], "{wrapper}");
    }
}

/// `torch.save`'s zip with ten storages that are all the same bytes: entries of the list at its end point there.
#[test]
fn storages_that_share_bytes_are_refused() {
    let (dir, mut pickle) = (TempDir::new(), b"\x80\x02}(".to_vec());
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for i in 0..10 {
        let storage = String::from_utf8_lossy(FLOATS).replace("X\x01\0\0\x000", &format!("X\x01\0\0\0{i}"));
        pickle.extend([&b"X\x01\x00\x00\x00"[..], i.to_string().as_bytes()].concat());
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n(");
        pickle.extend([storage.as_bytes(), b"K\x00K\x01\x85K\x01\x85\x89NtR"].concat());
        archive.start_file(format!("a/data/{i}"), stored).unwrap();
        archive.write_all(&vec![0; if i == 0 { 4096 } else { 0 }]).unwrap();
    }
    archive.start_file("a/data.pkl", stored).unwrap();
    archive.write_all(&[&pickle[..], b"u."].concat()).unwrap();
    let mut bytes = archive.finish().unwrap().into_inner();
    let places: Vec<usize> =
        (0..bytes.len() - 4).filter(|&i| bytes[i..].starts_with(b"PK\x01\x02")).collect();
    let first = bytes[places[0] + 16..places[0] + 28].to_vec();
    for place in places.into_iter().skip(1).take(9) {
        // Checksum and lengths; where it begins.
        bytes[place + 16..place + 28].copy_from_slice(&first);
        bytes[place + 42..place + 46].fill(0);
    }
    dir.write("a.pt", bytes);
    let message = open(&dir.join("a.pt")).unwrap_err().to_string();
    assert!(message.contains("more bytes than the file"), "{message}");
}
