//! Pictures and captions as people and other programs keep them.

use super::*;

fn parquet(name: &str) -> String {
    format!("{}/../calotype/tests/golden/parquet/{name}.parquet", env!("CARGO_MANIFEST_DIR"))
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
