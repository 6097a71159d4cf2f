//! Pictures and captions as people and other programs keep them.

use super::*;

fn parquet(name: &str) -> String {
    format!("{}/../calotype/tests/golden/parquet/{name}.parquet", env!("CARGO_MANIFEST_DIR"))
}

/// A tar of files (ustar, POSIX.1-1988).
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, bytes) in members {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
        header[148..157].copy_from_slice(b"        0");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        all.extend(header);
        all.extend(*bytes);
        all.resize(all.len().next_multiple_of(512), 0);
    }
    all.resize(all.len() + 1024, 0);
    all
}

/// Kind and file of each fault.
fn rows(found: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let faults = found["faults"].as_array().unwrap();
    faults.iter().map(|fault| (text(&fault["kind"]), text(&fault["file"]))).collect()
}

fn inspected(dir: &TempDir, args: &[&str]) -> Value {
    json(&succeeds(dir, &[&["data", "inspect", "--json"], args].concat()))
}

#[test]
fn columns_of_parquet_files_can_be_named() {
    let dir = TempDir::new();
    for name in ["web_dataset", "two_captions", "lz4"] {
        let found = inspected(&dir, &[&parquet(name)]);
        let captions = &found["inspection"]["captions"];
        assert!(captions["pictures_with"].as_u64().unwrap() > 0, "{name}: {found}");
        assert_eq!(captions["pictures_without"], 0, "{name}");
    }
    let first = |column: &str| {
        let found = inspected(&dir, &[&parquet("two_captions"), "--caption-column", column]);
        found["inspection"]["captions"]["most_frequent"].clone()
    };
    assert_ne!(first("text"), first("caption"));
    let unclear = parquet("unclear");
    assert_says(&fails(&dir, 1, &["data", "inspect", &unclear]), &["name one", "--image-column"]);
    let with_image = ["data", "inspect", &unclear, "--image-column", "image"];
    assert_says(&fails(&dir, 1, &with_image), &["`text`, `prompt`", "--caption-column"]);
    succeeds(&dir, &[&with_image[..], &["--caption-column", "prompt"]].concat());
    assert_says(&fails(&dir, 1, &["data", "inspect", &parquet("brotli")]), &["brotli", "zstd", "pyarrow"]);
}

#[test]
fn clip_says_where_captions_are_looked_for() {
    let dir = with_data();
    fs::remove_file(dir.join("data/metadata.jsonl")).unwrap();
    fs::remove_dir_all(dir.join("data/masks")).unwrap();
    for i in 0..4 {
        dir.write(&format!("data/00000{i}.png.txt"), "a cat");
    }
    let train = ["train", "clip", "--config", "tiny.toml", "--run", "run", "--data", "data"];
    let message = fails(&dir, 1, &train);
    assert_says(
        &message,
        &["--data", "none for any of the 4 pictures", "NAME.txt", "NAME.caption", "metadata.jsonl"],
    );
    fs::rename(dir.join("data/000000.png.txt"), dir.join("data/000000.txt")).unwrap();
    assert_says(&fails(&dir, 1, &train), &["000001.png", "3 pictures have no caption", "000001.txt"]);
}

#[test]
fn an_inspection_lists_every_fault_and_training_refuses_or_drops_them() {
    let dir = with_data();
    let metadata = dir.join("data/metadata.jsonl");
    let good = fs::read_to_string(&metadata).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let bad = "{\"file_name\": \"gone.png\", \"text\": \"x\"}\n{\"file_n";
    fs::write(&metadata, format!("{}\n{bad}\n{}\n{}\n", lines[0], lines[1], lines[2])).unwrap();
    dir.write("data/000002.png", "no picture");
    let found = inspected(&dir, &["data"]);
    let rows: Vec<(&str, &Value)> = found["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["kind"].as_str().unwrap(), &fault["line"]))
        .collect();
    let (two, three) = (Value::from(2), Value::from(3));
    assert_eq!(rows, [("metadata", &three), ("missing", &two), ("unreadable", &Value::Null)]);
    assert!(found["left_out"][0].as_str().unwrap().contains("000003.png"), "{found}");
    let text = String::from_utf8(succeeds(&dir, &["data", "inspect", "data"]).stdout).unwrap();
    assert_says(
        &text,
        &["faults: 2", "metadata.jsonl`: line 3", "there is no file `gone.png`", "unreadable: 1"],
    );

    // Two of five samples: more than the recipe's hundredth, less than half.
    fs::write(&metadata, format!("{}\n{bad}\n{}\n{}\n", lines[0], lines[1], lines[3])).unwrap();
    let train = [TRAIN_VAE.as_slice(), &["--data", "data"]].concat();
    assert_says(&fails(&dir, 1, &train), &["metadata.jsonl", "line 3"]);
    replace(
        &dir.join("tiny.toml"),
        "max_objects = 1",
        "max_objects = 1\nvalidation = 0.0\nmax_damaged = 0.5",
    );
    let output = succeeds(&dir, &train);
    assert_says(&stderr(&output), &["3 pictures for training", "there is no file `gone.png`", "line 3"]);
}

/// A caption that is Latin-1, and one that is a number, in every layout: their samples are faults, the others are read.
#[test]
fn odd_captions_are_faults_of_their_samples_in_every_layout() {
    let dir = with_data();
    fs::remove_dir_all(dir.join("data/masks")).unwrap();
    fs::remove_file(dir.join("data/metadata.jsonl")).unwrap();
    let kinds = |found: &Value| rows(found).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    let count = |found: &Value| found["inspection"]["count"].clone();

    let png = |i: usize| fs::read(dir.join(format!("data/00000{i}.png"))).unwrap();
    let pictures: Vec<Vec<u8>> = (0..4).map(png).collect();
    let texts: [(&str, &[u8]); 4] = [
        ("0.txt", b"fine"),
        ("1.txt", b"caf\xe9"),
        ("2.json", br#"{"caption": 7, "similarity": NaN}"#),
        ("3.json", br#"{"caption": "fine", "similarity": NaN}"#),
    ];
    let names: Vec<String> = (0..4).map(|i| format!("{i}.png")).collect();
    let members: Vec<(&str, &[u8])> =
        (0..4).flat_map(|i| [(names[i].as_str(), &pictures[i][..]), texts[i]]).collect();
    dir.write("s.tar", tar(&members));
    let found = inspected(&dir, &["s.tar"]);
    let caption = |file: &str| ("caption".to_owned(), file.to_owned());
    assert_eq!(rows(&found), [caption("s.tar: 1.txt"), caption("s.tar: 2.json")]);
    assert_eq!((count(&found), &found["left_out"]), (2.into(), &serde_json::json!([])));

    let found = inspected(&dir, &[&parquet("odd_captions")]);
    assert_eq!(kinds(&found), ["caption", "missing"]);
    assert!(rows(&found)[0].1.ends_with("odd_captions.parquet: row 1"), "{found}");
    assert_eq!((count(&found), &found["inspection"]["captions"]["pictures_without"]), (4.into(), &2.into()));

    let lines: [&[u8]; 4] = [
        br#"{"file_name": "000000.png", "text": "fine"}"#,
        b"{\"file_name\": \"000001.png\", \"text\": \"caf\xe9\"}",
        br#"{"file_name": "000002.png", "text": 7}"#,
        br#"{"file_name": "000003.png", "text": "fine", "similarity": -Infinity}"#,
    ];
    dir.write("data/metadata.jsonl", lines.join(&b'\n'));
    let of_lines = ["metadata", "caption"];
    assert_eq!(kinds(&inspected(&dir, &["data"])), of_lines);
    dir.write("data/metadata.jsonl", [b"[", &lines.join(&b",\n"[..])[..], b"]"].concat());
    let list = inspected(&dir, &["data"]);
    assert_eq!(kinds(&list), of_lines);
    assert_eq!((&list["faults"][0]["line"], &list["faults"][1]["line"]), (&2.into(), &3.into()));
    fs::remove_file(dir.join("data/metadata.jsonl")).unwrap();
    // What stands in a table or a caption file is text, also 7 and a replacement character.
    let table = "file_name,text\n000000.png,fine\n000001.png,caf\u{e9}\n000002.png,7\n000003.png,\u{fffd}\n";
    dir.write("data/metadata.csv", table);
    assert_eq!(kinds(&inspected(&dir, &["data"])), [""; 0]);
    let latin: Vec<u8> = table.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    dir.write("data/metadata.csv", latin);
    let found = inspected(&dir, &["data"]);
    assert_eq!((kinds(&found), &found["faults"][0]["line"]), (vec!["caption".to_owned()], &3.into()));
    fs::remove_file(dir.join("data/metadata.csv")).unwrap();
    for (i, text) in [&b"fine"[..], b"caf\xe9", b"7", b"fine"].iter().enumerate() {
        dir.write(&format!("data/00000{i}.txt"), text);
    }
    assert_eq!(rows(&inspected(&dir, &["data"])), [caption("data/000001.txt")]);
}

#[test]
fn training_counts_the_faults_of_shards_and_tables() {
    let dir = with_data();
    let png = |i: usize| fs::read(dir.join(format!("data/00000{i}.png"))).unwrap();
    let (zero, one, two) = (png(0), png(1), png(2));
    let members: [(&str, &[u8]); 6] = [
        ("0.png", &zero),
        ("0.txt", b"a cat"),
        ("1.png", &one),
        ("1.txt", b"a dog"),
        ("2.png", &two),
        ("2.json", b"{\"text\": 2}"),
    ];
    dir.write("s.tar", tar(&members));
    fs::create_dir(dir.join("tables")).unwrap();
    fs::copy(parquet("odd_captions"), dir.join("tables/odd.parquet")).unwrap();
    let train = |data: &'static str| [TRAIN_VAE.as_slice(), &["--data", data]].concat();
    for (data, says) in [
        ("s.tar", ["s.tar: 2.json", "1 of 3 samples have faults, at most 0"]),
        ("tables", ["odd.parquet: row 1", "2 of 6 samples have faults, at most 0"]),
    ] {
        let message = fails(&dir, 1, &train(data));
        assert_says(&message, &says);
        assert_says(&message, &["`data.max_damaged` of the recipe is 0.01"]);
    }
    // A sample without a caption is a fault for CLIP alone.
    dir.write("bare.tar", tar(&[("0.png", &zero), ("0.txt", b"a cat"), ("1.png", &one), ("2.png", &two)]));
    let clip = ["train", "clip", "--config", "tiny.toml", "--run", "run", "--data", "bare.tar"];
    assert_says(
        &fails(&dir, 1, &clip),
        &["none for 2 of 3", "bare.tar: 1.png", "2 of 3 samples have faults"],
    );

    replace(
        &dir.join("tiny.toml"),
        "max_objects = 1",
        "max_objects = 1\nvalidation = 0.0\nmax_damaged = 0.4",
    );
    assert_says(&fails(&dir, 1, &clip), &["2 of 3 samples have faults, at most 1"]);
    let check = |data: &'static str| stderr(&succeeds(&dir, &[&train(data)[..], &["--check"]].concat()));
    assert_says(&check("s.tar"), &["2 pictures for training", "s.tar: 2.json", "expected a string"]);
    assert_says(&check("tables"), &["4 pictures for training", "row 1", "not UTF-8", "row 4", "no picture"]);
    assert_says(&check("bare.tar"), &["3 pictures for training"]);
    // Those of the pictures for validation too.
    replace(&dir.join("tiny.toml"), "learning_rate = 2e-3", "learning_rate = 2e-3\nvalidate_every = 10");
    let validated = [&train("bare.tar")[..], &["--validation", "s.tar", "--check"]].concat();
    assert_says(
        &stderr(&succeeds(&dir, &validated)),
        &["3 pictures for training, 2 for validation", "s.tar: 2.json", "expected a string"],
    );
    // Inspections and timings do without them, and say how many.
    for (data, left_out) in [("s.tar", 1), ("bare.tar", 0)] {
        let time = ["data", "time", data, "--size", "8", "--batch", "2", "--passes", "1"];
        let text = String::from_utf8(succeeds(&dir, &time).stdout).unwrap();
        assert_eq!(text.contains("left out"), left_out > 0, "{text}");
        if left_out > 0 {
            assert_says(&text, &["left out: 1, listed by `calotype data inspect`"]);
        }
        assert_eq!(json(&succeeds(&dir, &[&time[..], &["--json"]].concat()))["left_out"], left_out);
    }
}

#[test]
fn thousands_of_equal_pictures_are_one_short_line() {
    let dir = TempDir::new();
    fs::create_dir(dir.join("data")).unwrap();
    let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([7; 3]));
    picture.save(dir.join("data/000.png")).unwrap();
    for i in 1..300 {
        fs::copy(dir.join("data/000.png"), dir.join(format!("data/{i:03}.png"))).unwrap();
    }
    let text = String::from_utf8(succeeds(&dir, &["data", "inspect", "data"]).stdout).unwrap();
    assert_says(&text, &["equal files: 1", "data/004.png and 295 more"]);
    assert!(text.lines().all(|line| line.len() < 200), "{text}");
    assert_eq!(inspected(&dir, &["data"])["inspection"]["duplicates"][0].as_array().unwrap().len(), 300);
}

#[test]
fn pictures_of_kinds_that_are_not_read_say_how_to_write_them_again() {
    let dir = with_data();
    fs::remove_file(dir.join("data/metadata.jsonl")).unwrap();
    fs::remove_dir_all(dir.join("data/masks")).unwrap();
    dir.write("data/new.avif", "whatever");
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0mif1avif";
    dir.write("data/photo.jpg", avif);
    dir.write("data/phone.jpeg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic");
    dir.write("data/large.png", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n");
    let text = String::from_utf8(succeeds(&dir, &["data", "inspect", "data"]).stdout).unwrap();
    assert_says(&text, &["data/new.avif`: pictures of the kind AVIF", "magick IN.avif OUT.png"]);
    assert_says(
        &text,
        &["`data/photo.jpg` as PNG, JPEG", "kind AVIF", "kind HEIC", "magick IN.heic OUT.png"],
    );
    assert_says(&text, &["large.png", "Git LFS pointer"]);
    let found = inspected(&dir, &["data"]);
    assert_eq!(rows(&found).iter().filter(|(kind, _)| kind == "unreadable").count(), 3);
}

#[test]
fn a_picture_that_does_not_decode_is_named() {
    let dir = with_data();
    replace(&dir.join("tiny.toml"), "max_objects = 1", "max_objects = 1\nvalidation = 0.0");
    let picture = dir.join("data/000002.png");
    let whole = fs::read(&picture).unwrap();
    for spoilt in [&whole[..whole.len() / 2], b"not a picture", b""] {
        fs::write(&picture, spoilt).unwrap();
        let report = json(&succeeds(&dir, &["data", "inspect", "data", "--json"]));
        assert_eq!(report["inspection"]["count"], 4);
        let unreadable = report["inspection"]["unreadable"].as_array().unwrap();
        assert_eq!(unreadable.len(), 1);
        assert_says(unreadable[0]["name"].as_str().unwrap(), &["000002.png"]);

        // One of four is more than the recipe's hundredth.
        let message = fails(&dir, 1, &[TRAIN_VAE.as_slice(), &["--data", "data"]].concat());
        assert_says(&message, &["damaged pictures", "max_damaged", "data/000002.png"]);
        assert!(!dir.join("run/model").exists());
    }
}

#[test]
fn an_empty_or_missing_caption_is_named_with_its_line() {
    for text in ["\"text\":\"\"", "\"txet\":\"a cat\""] {
        let dir = with_data();
        let metadata = dir.join("data/metadata.jsonl");
        let lines = fs::read_to_string(&metadata).unwrap();
        let second = lines.lines().nth(1).unwrap();
        let caption = second.find("\"text\":").unwrap();
        let end = second.find(",\"objects\"").unwrap();
        replace(&metadata, &second[caption..end], text);

        let report = json(&succeeds(&dir, &["data", "inspect", "data", "--json"]));
        assert_eq!(report["inspection"]["captions"]["pictures_without"], 1);
        let clip = ["train", "clip", "--config", "tiny.toml", "--run", "run", "--data", "data"];
        assert_says(&fails(&dir, 1, &clip), &["metadata.jsonl", "line 2", "000001.png"]);
        // An autoencoder needs no captions.
        succeeds(&dir, &[TRAIN_VAE.as_slice(), &["--data", "data"]].concat());
    }
}

#[test]
fn pictures_of_another_size_are_refused_where_nothing_may_be_resized() {
    let dir = with_recipe();
    replace(&dir.join("tiny.toml"), "max_objects = 1", "max_objects = 1\ntransform = { resize = \"none\" }");
    succeeds(&dir, &["data", "render", "--out", "data", "-n", "2", "--size", "64"]);
    let message = fails(&dir, 1, &[TRAIN_VAE.as_slice(), &["--data", "data"]].concat());
    assert_says(&message, &["32 x 32", "`none`", "64 x 64"]);
}
