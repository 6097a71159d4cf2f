//! Against files that `tools/oracle/parquet_files.py` made, and against damaged ones.

use std::path::{Path, PathBuf};

use super::*;
use crate::testing::TempDir;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parquet").join(file)
}

fn columns(image: &str, text: &str) -> Columns {
    let name = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
    Columns { image: name(image), text: name(text) }
}

fn open(path: &Path, image: &str, text: &str) -> Result<Parquet> {
    Parquet::open(&[path.to_owned()], &columns(image, text), CaptionNeed::Required)
}

/// Each fault as `Kind row: reason`.
fn faults(data: &Parquet) -> Vec<String> {
    let row = |file: &str| file.rsplit_once(" ").unwrap().1.to_owned();
    data.faults().iter().map(|one| format!("{:?} {}: {}", one.kind, row(&one.file), one.reason)).collect()
}

fn refusal(result: Result<Parquet>) -> String {
    result.err().expect("an error").to_string()
}

/// Rows of `expected.json` that have a picture and a caption: (row, picture, captions).
fn expected(file: &str) -> Vec<(usize, Vec<u8>, Vec<String>)> {
    let all: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(golden("expected.json")).unwrap()).unwrap();
    let rows = all[file].as_array().unwrap().iter().enumerate();
    rows.filter_map(|(row, one)| {
        let hex = one["picture"].as_str()?.as_bytes();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let captions = one["captions"].as_array().unwrap().iter().filter_map(|text| text.as_str());
        let captions: Vec<String> = captions.filter(|text| !text.is_empty()).map(str::to_owned).collect();
        Some((row, hex.chunks(2).map(byte).collect(), captions))
            .filter(|(_, _, captions)| !captions.is_empty())
    })
    .collect()
}

fn assert_has(data: &Parquet, expected: &[(usize, Vec<u8>, Vec<String>)]) {
    assert_eq!(data.len(), expected.len());
    // Backwards, so that readers cannot just go on.
    for (i, (row, picture, captions)) in expected.iter().enumerate().rev() {
        assert!(data.name(i).ends_with(&format!(".parquet: row {row}")), "{}", data.name(i));
        assert_eq!(data.bytes(i).unwrap(), picture.as_slice(), "{}", data.name(i));
        assert_eq!(data.captions(i), captions.as_slice(), "{}", data.name(i));
    }
}

#[test]
fn every_way_of_writing_gives_the_rows_that_were_written() {
    let cache = TempDir::new();
    for (file, image, text) in [
        ("hub", "image", "text"),
        ("gaps", "picture", "caption"),
        ("lists", "image", "captions"),
        ("classes", "jpg", "label"),
    ] {
        let data = open(&golden(&format!("{file}.parquet")), "", "").unwrap();
        let names = ColumnNames { image: image.into(), text: Some(text.into()) };
        assert_eq!(data.names, names, "{file}");
        assert_has(&data, &expected(file));
        let data = data.spilled(&cache, &mut |_, _| Ok(())).unwrap();
        assert_has(&data, &expected(file));
    }
}

#[test]
fn rows_without_picture_or_caption_are_faults() {
    let path = golden("gaps.parquet");
    let data = open(&path, "", "").unwrap();
    let all = [
        "Missing 1: no picture",
        "Missing 2: the picture has no bytes in the file, at most a path",
        "Caption 3: no caption",
        "Caption 5: no caption",
    ];
    assert_eq!(faults(&data), all);
    assert_eq!(data.faults()[0].file, row_name(&path, 1));
    let classes = open(&golden("classes.parquet"), "", "").unwrap();
    assert_eq!(faults(&classes), ["Caption 2: no class", "Caption 3: no class"]);
    // Where captions are not needed, their rows are pictures like any others.
    let all_pictures = Parquet::open(&[path], &Columns::default(), CaptionNeed::Optional).unwrap();
    assert_eq!(faults(&all_pictures), all[..2]);
    let captions: Vec<usize> = (0..all_pictures.len()).map(|i| all_pictures.captions(i).len()).collect();
    assert_eq!(captions, [1, 0, 1, 0, 1]);
}

/// The other rows are read.
#[test]
fn a_caption_that_cannot_be_read_leaves_out_its_row() {
    let not_utf_8 = "a caption is not UTF-8: incomplete utf-8 byte sequence from index 3";
    let odd = open(&golden("odd_captions.parquet"), "", "").unwrap();
    assert_has(&odd, &expected("odd_captions"));
    let all = [
        &format!("Caption 1: {not_utf_8}"),
        "Caption 2: no caption",
        "Caption 3: no caption",
        "Missing 4: no picture",
    ];
    assert_eq!(faults(&odd), all);
    let pictures =
        Parquet::open(&[golden("odd_captions.parquet")], &Columns::default(), CaptionNeed::Optional);
    let pictures = pictures.unwrap();
    assert_eq!((pictures.len(), faults(&pictures)), (4, vec![all[0].to_owned(), all[3].to_owned()]));
    // A class without a name, and with an empty one.
    let classes = open(&golden("odd_classes.parquet"), "", "").unwrap();
    assert_has(&classes, &expected("odd_classes"));
    let nameless =
        |row: usize, class: i64| format!("Caption {row}: class {class} has no name among the 2 classes");
    assert_eq!(faults(&classes), [nameless(1, 7), nameless(2, -2), nameless(3, 0)]);
    // A whole column of numbers is said not to be read; asked for by name, it is refused.
    let numbers = open(&golden("number_captions.parquet"), "", "").unwrap();
    assert_eq!((numbers.len(), numbers.names.text.as_deref()), (2, None));
    let said = &Collection::left_out(&numbers)[0];
    assert!(said.contains("the column `text` (float64) is not read: captions are strings"), "{said}");
    let refused = refusal(open(&golden("number_captions.parquet"), "", "text"));
    assert!(refused.contains("expected `text` to be strings"), "{refused}");
}

#[test]
fn unclear_columns_are_listed_and_can_be_named() {
    let path = golden("unclear.parquet");
    let found = refusal(open(&path, "", "text"));
    assert!(found.contains("name one: `image`, `mask`"), "{found}");
    let found = refusal(open(&path, "image", ""));
    assert!(found.contains("name one: `text`, `prompt`"), "{found}");
    assert!(
        found.contains("`image.bytes` (binary)") && found.contains("`sentences.id` (list of int64)"),
        "{found}"
    );
    for wrong in ["width", "sentences.id"] {
        let found = refusal(open(&path, "image", wrong));
        assert!(found.contains(&format!("expected `{wrong}` to be strings")), "{found}");
    }
    for text in ["sentences", "sentences.raw"] {
        assert_has(&open(&path, "image", text).unwrap(), &expected("unclear"));
    }
    // The only row: nothing can be used.
    let found = refusal(open(&path, "image", "broken"));
    assert!(found.contains("1 faults:") && found.contains("row 0`: a caption is not UTF-8"), "{found}");
}

/// As the hub converts tar shards: jpg, txt, `__key__` and `__url__`; and a file with `text` and `caption`.
#[test]
fn captions_are_found_among_usual_names() {
    let shards = open(&golden("web_dataset.parquet"), "", "").unwrap();
    assert_eq!(shards.names, ColumnNames { image: "jpg".into(), text: Some("txt".into()) });
    assert!((0..shards.len()).all(|i| shards.captions(i).len() == 1));
    let two = open(&golden("two_captions.parquet"), "", "").unwrap();
    assert_eq!(two.names.text.as_deref(), Some("text"));
    let other = open(&golden("two_captions.parquet"), "", "caption").unwrap();
    assert_eq!(other.names.text.as_deref(), Some("caption"));
    assert_ne!(two.captions(0), other.captions(0));
}

#[test]
fn which_name_is_the_captions() {
    let leaves = |names: &[&str]| columns::strings(names);
    let found = |names: &[&str]| match columns::text(&leaves(names), &[], None) {
        Ok(text) => text.map(|text| text.leaf().name.clone()),
        Err(reason) => Some(reason.split(':').next().unwrap().to_owned()),
    };
    let several = Some("several columns may be the caption's, name one".to_owned());
    for (names, expected) in [
        (&["__key__", "txt", "__url__"][..], Some("txt".to_owned())),
        (&["txt", "captions", "caption", "text"], Some("text".into())),
        (&["id", "captions", "txt"], Some("captions".into())),
        (&["__key__", "label"], Some("label".into())),
        (&["__key__", "__url__"], None),
        (&["prompt"], Some("prompt".into())),
        (&["prompt", "caption"], several.clone()),
        (&["prompt", "sentences"], several.clone()),
        (&["title", "author"], several),
    ] {
        assert_eq!(found(names), expected, "{names:?}");
    }
}

#[test]
fn compressions_are_read_or_named_with_a_way_out() {
    let lz4 = open(&golden("lz4.parquet"), "", "").unwrap();
    assert!((0..lz4.len()).all(|i| !lz4.bytes(i).unwrap().is_empty() && !lz4.captions(i).is_empty()));
    let found = refusal(open(&golden("brotli.parquet"), "", ""));
    for part in ["brotli.parquet", "compressed by brotli", "snappy, gzip, zstd, lz4", "compression='zstd'"] {
        assert!(found.contains(part), "expected {part}\ngot {found}");
    }
}

#[test]
fn classes_need_names() {
    let found = columns::class_names(
        r#"{"info":{"features":{
        "a":{"_type":"ClassLabel","names":["x","y"]},"b":{"_type":"Value"},"c":{"_type":"ClassLabel"}}}}"#,
    );
    assert_eq!(found.unwrap(), [("a".to_owned(), vec!["x".to_owned(), "y".to_owned()])]);
    assert!(columns::class_names("{").is_err());
    assert!(columns::class_names("{}").unwrap().is_empty());
}

#[test]
fn files_of_a_data_set_have_the_same_columns() {
    let (hub, lists) = (golden("hub.parquet"), golden("lists.parquet"));
    let found = refusal(Parquet::open(&[hub.clone(), lists], &Columns::default(), CaptionNeed::Required));
    assert!(found.contains("lists.parquet") && found.contains("`text`"), "{found}");
    let twice =
        Parquet::open(&[hub.clone(), hub.clone()], &Columns::default(), CaptionNeed::Required).unwrap();
    assert_eq!((twice.len(), twice.name(5)), (8, row_name(&hub, 1)));
    assert_eq!(twice.bytes(5).unwrap(), twice.bytes(1).unwrap());
    let cache = TempDir::new();
    let spilled = twice.spilled(&cache, &mut |_, _| Ok(())).unwrap();
    let pictures: Vec<_> = expected("hub").into_iter().map(|(_, picture, _)| picture).collect();
    for i in 0..8 {
        assert_eq!(spilled.bytes(i).unwrap(), pictures[i % 4]);
    }
    let none = Parquet::open(&[], &Columns::default(), CaptionNeed::Required);
    assert!(matches!(none, Err(Error::Argument { .. })));
}

#[test]
fn a_folder_is_read_in_order_without_held_out_splits() {
    let dir = TempDir::new();
    std::fs::create_dir_all(dir.join("data/deeper")).unwrap();
    std::fs::create_dir_all(dir.join(".cache")).unwrap();
    let names = ["data/train-1.parquet", "data/train-0.parquet", "data/test-0.parquet", "testimony.parquet"];
    for name in names.iter().chain(&["data/deeper/x.parquet", ".cache/x.parquet", "data/readme.md"]) {
        std::fs::copy(golden("hub.parquet"), dir.join(name)).unwrap();
    }
    let data = Parquet::open_folder(&dir, &Columns::default(), CaptionNeed::Required).unwrap();
    let taken = ["data/train-0.parquet", "data/train-1.parquet", "testimony.parquet"];
    assert_eq!(data.files(), taken.map(|name| dir.join(name)));
    assert_eq!(data.left_out(), [dir.join("data/test-0.parquet")]);
    assert_eq!(data.len(), 12);
    for name in taken {
        std::fs::remove_file(dir.join(name)).unwrap();
    }
    let only_test = Parquet::open_folder(&dir, &Columns::default(), CaptionNeed::Required).unwrap();
    assert_eq!((only_test.len(), only_test.left_out().len()), (4, 0));
    std::fs::remove_file(dir.join("data/test-0.parquet")).unwrap();
    assert!(
        refusal(Parquet::open_folder(&dir, &Columns::default(), CaptionNeed::Required))
            .contains("`*.parquet`")
    );
}

#[test]
fn copies_are_used_again_and_made_again_if_damaged() {
    let (dir, cache) = (TempDir::new(), TempDir::new());
    let path = dir.join("a.parquet");
    std::fs::copy(golden("gaps.parquet"), &path).unwrap();
    let spill = |told: &mut Vec<(usize, usize)>| {
        let data = open(&path, "", "").unwrap();
        let data = data.spilled(&cache, &mut |done, all| {
            told.push((done, all));
            Ok(())
        });
        assert_has(&data.unwrap(), &expected("gaps"));
        let files: Vec<_> = std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    };
    let mut told = Vec::new();
    let copy = spill(&mut told);
    assert_eq!(told, [(2, 7), (4, 7), (6, 7), (7, 7)]);
    told.clear();
    spill(&mut told);
    assert_eq!(told, [(7, 7)]);
    let whole = std::fs::read(&copy).unwrap();
    for damaged in [&whole[..whole.len() - 1], &whole[1..], b""] {
        std::fs::write(&copy, damaged).unwrap();
        told.clear();
        spill(&mut told);
        assert_eq!(told.len(), 4);
        assert_eq!(std::fs::read(&copy).unwrap(), whole);
    }
}

#[test]
fn copying_can_be_stopped() {
    let cache = TempDir::new();
    let data = open(&golden("gaps.parquet"), "", "").unwrap();
    let stopped = data.spilled(&cache, &mut |done, _| match done {
        2 => Ok(()),
        step => Err(Error::Interrupted { step }),
    });
    assert!(matches!(stopped.err(), Some(Error::Interrupted { step: 4 })));
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 0);
}

#[test]
fn threads_read_at_the_same_time() {
    let data = open(&golden("gaps.parquet"), "", "").unwrap();
    let expected = expected("gaps");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|_| assert_has(&data, &expected)));
        }
    });
}

/// Opens and reads all: an error must name the file, a panic fails the test.
fn survives(path: &Path) -> bool {
    let all = open(path, "", "").and_then(|data| (0..data.len()).try_for_each(|i| data.bytes(i).map(drop)));
    if let Err(e) = &all {
        assert!(matches!(e, Error::Format { path: named, .. } if named == path), "{e}");
    }
    all.is_ok()
}

#[test]
fn a_file_that_is_cut_off_is_refused() {
    let dir = TempDir::new();
    let path = dir.join("cut.parquet");
    for file in ["hub.parquet", "lists.parquet"] {
        let whole = std::fs::read(golden(file)).unwrap();
        for length in (0..whole.len()).step_by(7) {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(!survives(&path), "{file}, {length} bytes");
        }
    }
    for (other, said) in [
        (&b"<html>not found</html>"[..], "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "it is a Git LFS pointer"),
        (b"caption,file\na cat,1.png\n", "another file, or cut off"),
    ] {
        std::fs::write(&path, other).unwrap();
        let message = refusal(open(&path, "", ""));
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let dir = TempDir::new();
    let path = dir.join("damaged.parquet");
    let mut refused = 0;
    for file in ["hub.parquet", "gaps.parquet", "lists.parquet", "classes.parquet"] {
        let whole = std::fs::read(golden(file)).unwrap();
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&path, &damaged).unwrap();
            refused += usize::from(!survives(&path));
        }
    }
    // Many bits are pixels, statistics or paths: nothing to notice.
    assert!(refused > 700, "{refused}");
}

/// A footer whose schema is `depth` structs deep, in Thrift's compact protocol.
fn deep(depth: usize) -> Vec<u8> {
    let varint = |mut value: usize| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    // Required, called `a`, one child; at the end an optional BYTE_ARRAY.
    let group = [0x35, 0, 0x18, 1, b'a', 0x15, 2, 0];
    let leaf = [0x15, 12, 0x25, 2, 0x18, 1, b'b', 0];
    let schema = [&[0x15, 2, 0x19, 0xfc][..], &varint(depth + 1), &group.repeat(depth), &leaf].concat();
    let footer = [&schema[..], &[0x16, 0, 0x19, 0x0c, 0]].concat();
    [b"PAR1", &footer[..], &(footer.len() as u32).to_le_bytes(), b"PAR1"].concat()
}

#[test]
fn a_schema_too_deep_for_the_stack_is_refused() {
    let dir = TempDir::new();
    let path = dir.join("deep.parquet");
    for (depth, reason) in [
        (3, "`a.a.b` (binary)"),
        (1999, "no column is clearly the picture's"),
        (2000, "its schema has 2001 parts"),
        (1_000_000, "its schema has 1000001 parts"),
    ] {
        std::fs::write(&path, deep(depth)).unwrap();
        let found = refusal(open(&path, "", ""));
        assert!(found.contains(reason), "{}", found.chars().take(300).collect::<String>());
    }
}
