//! The model that comes with the program.

use super::*;

/// `calotype ARGS…` with a cache of its own, and no hub.
fn fresh(dir: &TempDir, args: &[&str]) -> Output {
    command(dir, args).env("XDG_CACHE_HOME", dir.join("cache")).env("HF_HUB_OFFLINE", "1").output().unwrap()
}

#[test]
fn a_prompt_is_enough() {
    let dir = TempDir::new();
    let generate = ["generate", "a cat sitting by the window", "--steps", "2", "--out", "cat.png"];
    let first = fresh(&dir, &generate);
    assert!(first.status.success(), "{}", stderr(&first));
    assert_says(&stderr(&first), &["emoji-scenes-64", "cache"]);
    let picture = pixels(&dir.join("cat.png"));
    assert_eq!(image::image_dimensions(dir.join("cat.png")).unwrap(), (64, 64));
    // The picture names the model, not where it lay.
    let again = fresh(&dir, &["generate", "--from", "cat.png", "--out", "again.png"]);
    assert!(again.status.success() && !stderr(&again).contains("cache"), "{}", stderr(&again));
    assert_eq!(picture, pixels(&dir.join("again.png")));
    let explain = ["explain", "a cat sitting by the window", "--words", "cat,window", "--steps", "2"];
    let explained = fresh(&dir, &explain);
    assert!(explained.status.success(), "{}", stderr(&explained));
    assert!(dir.join("explanation/heat_maps.json").exists());
}

#[test]
fn a_result_without_a_name_replaces_none() {
    let dir = TempDir::new();
    let named = ["picture.png", "picture-2.png", "picture-3.png"];
    for (seed, name) in named.iter().enumerate() {
        let said = fresh(&dir, &["generate", "a cat", "--steps", "1", "--seed", &seed.to_string()]);
        assert!(said.status.success(), "{}", stderr(&said));
        assert_says(&stderr(&said), &[&format!("written: {name}")]);
    }
    assert_ne!(pixels(&dir.join(named[0])), pixels(&dir.join(named[1])));
    assert!(fresh(&dir, &["generate", "a cat", "--steps", "1", "-n", "2"]).status.success());
    assert!(dir.join("pictures/00001.png").exists());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let dir = TempDir::new();
    dir.write("cache", "a file");
    let args = ["generate", "a cat", "--out", "cat.png"];
    assert_says(&failed(fresh(&dir, &args), 1, &args), &["cache/calotype"]);
}

/// As the model card says, but for chance: 24 prompts of each kind.
#[test]
fn its_pictures_show_what_prompts_ask_for() {
    let dir = TempDir::new();
    let args = ["evaluate", "--benchmark", "emoji-scenes", "--model", "emoji-scenes-64", "--prompts", "24"];
    let said = fresh(&dir, &[&args[..], &["--sampler", "euler-a", "--steps", "20", "--json"]].concat());
    assert!(said.status.success(), "{}", stderr(&said));
    for pairs in ["unseen_pairs", "seen_pairs"] {
        let hits = json(&said)[pairs]["prompts"]["hits"].as_u64().unwrap();
        assert!(hits >= 12, "{hits} of 24 {pairs}");
    }
}
