//! `calotype evaluate --benchmark`: a model and another program's pictures, asked the same frozen prompts.

use super::*;

const BENCHMARK: [&str; 3] = ["evaluate", "--benchmark", "emoji-scenes"];
const FEW: [&str; 8] = ["--model", "model", "--prompts", "5", "--steps", "2", "--seed", "3"];
const PARTS: [&str; 4] = ["unseen_pairs", "seen_pairs", "other_prompt", "rendered_scenes"];

fn measured(dir: &TempDir, more: &[&[&str]]) -> Value {
    json(&succeeds(dir, &[&BENCHMARK[..], &["--json"], &more.concat()].concat()))
}

#[test]
fn a_model_and_its_pictures_have_the_same_numbers() {
    let dir = with_model();
    let model = measured(&dir, &[&FEW, &["--out", "out"]]);
    assert_eq!((&model["benchmark"], &model["protocol"]["count"]), (&"emoji-scenes-1".into(), &5.into()));
    let source = &model["source"];
    assert_eq!(
        (&source["steps"], &source["seed"], &source["model"]),
        (&2.into(), &3.into(), &"model".into())
    );
    assert_eq!(model["protocol"]["nouns"].as_array().unwrap().len(), 40);
    assert_eq!(
        (&model["unseen_pairs"]["prompts"]["n"], &model["seen_pairs"]["nouns"]["n"]),
        (&5.into(), &10.into())
    );
    assert!(model["rendered_scenes"]["unseen_pairs"]["nouns"]["rate"].as_f64() > Some(0.8), "{model}");
    assert_eq!(fs::read_to_string(dir.join("out/prompts.jsonl")).unwrap().lines().count(), 10);
    assert!(fs::read_to_string(dir.join("out/report.html")).unwrap().contains("Unseen pairs: prompts that"));
    let written: Value = serde_json::from_slice(&fs::read(dir.join("out/benchmark.json")).unwrap()).unwrap();
    assert_eq!(written, model);

    let pictures = measured(&dir, &[&["--generated", "out", "--prompts", "5"]]);
    for part in PARTS {
        assert_eq!(pictures[part], model[part], "{part}");
    }
    assert_eq!(pictures["source"], serde_json::json!({ "pictures": "out" }));
    // Picture i of each kind has noise i of the seed, like `generate`'s.
    let line: Value = serde_json::from_str(
        fs::read_to_string(dir.join("out/prompts.jsonl")).unwrap().lines().nth(7).unwrap(),
    )
    .unwrap();
    let prompt = line["prompt"].as_str().unwrap();
    let generate = ["generate", prompt, "--model", "model", "--steps", "2", "--seed", "3", "--first", "2"];
    succeeds(&dir, &[&generate[..], &["--out", "same.png"]].concat());
    let picture = |path: &str| image::open(dir.join(path)).unwrap().to_rgb8();
    assert_eq!(
        (line["file"].as_str(), picture("same.png")),
        (Some("seen/00002.png"), picture("out/seen/00002.png"))
    );
}

#[test]
fn neither_batch_nor_threads_change_a_number() {
    let dir = with_model();
    let one = measured(&dir, &[&FEW, &["--batch", "1", "--out", "one"]]);
    let mut other = Command::new(env!("CARGO_BIN_EXE_calotype"));
    other.current_dir(dir.join("")).args(BENCHMARK).args(FEW);
    let other = other.args(["--batch", "3", "--threads", "2", "--json", "--out", "other"]).output().unwrap();
    assert_eq!(json(&other), one);
    assert!(files(&dir.join("one/unseen")) == files(&dir.join("other/unseen")));
    assert!(files(&dir.join("one/seen")) == files(&dir.join("other/seen")));
}

#[test]
fn a_runs_model_is_asked_about_what_it_knows() {
    let dir = TempDir::new();
    write_model(&dir.join("run/model"));
    let nouns =
        "nouns = [\"cat\", \"frog\", \"penguin\", \"whale\", \"tree\", \"sunflower\", \"apple\", \"house\"]";
    dir.write("run/recipe.toml", format!("seed = 0\n[data]\nsize = 32\nmax_objects = 1\n{nouns}\n"));
    let ask = ["--model", "run/model", "--prompts", "2", "--steps", "1"];
    let output = succeeds(&dir, &[&BENCHMARK[..], &ask, &["--json"]].concat());
    assert_says(&stderr(&output), &["recipe.toml: the model knows 8 nouns, up to 2 objects"]);
    assert_eq!(json(&output)["protocol"]["nouns"].as_array().unwrap().len(), 8);
    let all = measured(
        &dir,
        &[&ask, &["--max-objects", "3", "--nouns", "dog,pig,frog,panda,penguin,snail,octopus"]],
    );
    assert_eq!((&all["protocol"]["max_objects"], &all["protocol"]["nouns"][0]), (&3.into(), &"dog".into()));
    let text = succeeds(&dir, &[&BENCHMARK[..], &ask].concat());
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert_says(
        &text,
        &["emoji-scenes-1, 8 nouns, up to 2 objects, 2 prompts", "whole prompts", "· left of", "everything"],
    );
}

#[test]
fn prompts_are_written_for_other_programs() {
    let dir = TempDir::new();
    let write =
        |more: &[&str]| measured(&dir, &[&["--write-prompts", "prompts.jsonl", "--prompts", "3"], more]);
    let written = write(&[]);
    assert_eq!((&written["prompts"], &written["benchmark"]), (&6.into(), &"emoji-scenes-1".into()));
    let lines = fs::read_to_string(dir.join("prompts.jsonl")).unwrap();
    for (i, line) in lines.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["index"], &line["pairs"]), (&(i % 3).into(), &["unseen", "seen"][i / 3].into()));
        assert!(line["prompt"].is_string() && line["spec"]["objects"].is_array(), "{line}");
    }
    assert_ne!(write(&["--scene-seed", "0"])["sha256"], written["sha256"]);
}

#[test]
fn what_the_benchmark_cannot_do_is_refused() {
    let dir = with_model();
    let refused = |code: i32, more: &[&str]| fails(&dir, code, &[&BENCHMARK[..], more].concat());
    assert_says(&fails(&dir, 2, &["evaluate", "--benchmark", "draw-bench"]), &["draw-bench", "emoji-scenes"]);
    assert_says(&refused(2, &[]), &["--benchmark: expected one of --model, --generated and --write-prompts"]);
    assert_says(&refused(2, &["--model", "model", "--generated", "model"]), &["--model", "--generated"]);
    assert_says(&refused(2, &["--generated", "model", "--metrics", "fid"]), &["--benchmark", "--metrics"]);
    assert_says(&refused(2, &["--generated", "model", "--steps", "3"]), &["--steps", "--generated"]);
    assert_says(
        &refused(2, &["--generated", "model", "--seed", "3"]),
        &["--seed: expected --model beside it"],
    );
    assert_says(
        &refused(2, &["--model", "model", "--prompts", "1"]),
        &["--prompts: expected at least 2 of each kind"],
    );
    assert_says(&refused(2, &["--model", "model", "--nouns", "cat,unicorn"]), &["unicorn", "cat, dog"]);
    assert_says(
        &refused(2, &["--model", "model", "--nouns", "cat,dog"]),
        &["nouns of emoji-scenes: expected nouns of which"],
    );
    assert_says(
        &refused(2, &["--model", "model", "--max-objects", "4"]),
        &["--max-objects: expected 2 or 3"],
    );
    assert_says(&refused(1, &["--model", "none"]), &["none"]);
    let missing = refused(1, &["--generated", "model", "--prompts", "2"]);
    assert_says(&missing, &["4 are missing, the first is `unseen/00000.png`"]);
    assert_says(&fails(&dir, 2, &["evaluate", "--prompts", "3", "--generated", "model"]), &["--benchmark"]);
    replace(&dir.join("model/unet/config.json"), "\"sample_size\": 8", "\"sample_size\": 10");
    assert_says(
        &refused(1, &["--model", "model", "--prompts", "2"]),
        &["pictures of `model`", "multiple of 32", "40 x 40"],
    );
}
