//! `calotype edit`: a picture changed by its prompt.

use super::*;

const EDIT: [&str; 8] = ["edit", "a cat by a car", "--model", "model", "--steps", "5", "--out", "edit"];

fn edit(dir: &TempDir, more: &[&str]) -> Value {
    json(&succeeds(dir, &[&EDIT, more, &["--json"]].concat()))
}

fn generated(dir: &TempDir, prompt: &str) -> Vec<u8> {
    succeeds(dir, &["generate", prompt, "--model", "model", "--steps", "5", "--out", "plain.png"]);
    pixels(&dir.join("plain.png"))
}

#[test]
fn a_word_is_exchanged_and_the_rest_is_said() {
    let dir = with_model();
    let said = edit(&dir, &["--to", "a big dog by the car", "--cross", "0.6", "--weight", "big=2"]);
    let word = |word: &str, from: Option<&str>| serde_json::json!({ "word": word, "from": from });
    let words =
        [("a", Some("a")), ("big", None), ("dog", Some("cat")), ("by", Some("by")), ("the", Some("a"))];
    let words = words.into_iter().chain([("car", Some("car"))]).map(|(to, from)| word(to, from));
    assert_eq!(said["words"], Value::Array(words.collect()));
    assert_eq!(said["blended"], serde_json::json!(["cat", "big", "dog"]));
    assert_eq!(
        (&said["cross"], &said["self"], &said["left_out"]),
        (&0.6.into(), &0.4.into(), &Value::Array(vec![]))
    );
    assert_eq!((&said["weights"]["big"], &said["options"]["steps"]), (&2.0.into(), &5.into()));
    let kept: Value = serde_json::from_slice(&fs::read(dir.join("edit/edit.json")).unwrap()).unwrap();
    assert_eq!(kept, said);
    for file in ["source", "edited", "side_by_side", "mask"] {
        image::open(dir.join("edit").join(said[file].as_str().unwrap())).unwrap();
    }
    // The source is the picture that there is without an edit, and records how it was made.
    let source = pixels(&dir.join("edit/source.png"));
    assert_eq!(source, generated(&dir, "a cat by a car"));
    succeeds(&dir, &["generate", "--from", "edit/source.png", "--out", "again.png"]);
    assert_eq!(source, pixels(&dir.join("again.png")));
    assert_ne!(source, pixels(&dir.join("edit/edited.png")));
}

#[test]
fn an_edit_that_injects_and_blends_nothing_is_another_prompt() {
    let dir = with_model();
    edit(&dir, &["--to", "a dog by a car"]);
    assert!(dir.join("edit/mask.png").exists());
    let said = edit(&dir, &["--to", "a dog by a car", "--cross", "0", "--self", "0", "--no-blend"]);
    assert!(!dir.join("edit/mask.png").exists(), "the mask of the edit before");
    assert_eq!((&said["mask"], &said["blended"]), (&Value::Null, &Value::Array(vec![])));
    assert_eq!(pixels(&dir.join("edit/edited.png")), generated(&dir, "a dog by a car"));
    // Of the same prompt, a weight alone.
    let said = edit(&dir, &["--weight", "car=-2", "--blend", "car"]);
    assert_eq!((&said["to"], &said["blended"]), (&"a cat by a car".into(), &serde_json::json!(["car"])));
    assert_ne!(pixels(&dir.join("edit/edited.png")), pixels(&dir.join("edit/source.png")));
}

#[test]
fn what_cannot_be_edited_is_refused() {
    let dir = with_model();
    for (more, says) in [
        (&[][..], &["--to: expected another prompt, or the same with --weight", "nothing to edit"][..]),
        (&["--to", " a cat by a car"], &["--to", "nothing to edit"]),
        (
            &["--to", "a dog", "--weight", "cat=2"],
            &["--weight: expected words of the edited prompt: a, dog", "`cat`"],
        ),
        (&["--weight", "cat"], &["--weight", "snow=2", "cat"]),
        (&["--weight", "cat=1", "--weight", "Cat=2"], &["--weight: expected each word once"]),
        (
            &["--to", "a dog", "--blend", "cow"],
            &["--blend: expected words of the prompts: a, cat, by, car, dog", "cow"],
        ),
        (&["--to", "a dog", "--blend", "dog", "--no-blend"], &["--blend", "--no-blend"]),
        (&["--to", "a dog", "--cross", "1.5"], &["--cross: expected a share of the steps, 0 to 1, got 1.5"]),
        (&["--to", "a dog", "--self", "nan"], &["--self: expected a share of the steps"]),
        (&["--to", "a dog AND a cow"], &["--to: expected a text that stays the same", "AND"]),
        (&["--to", "a [dog:cow:2]"], &["--to: expected a text that stays the same", "[dog:cow:2]"]),
        (&["--to", "a dog", "--steps", "0"], &["--steps"]),
    ] {
        assert_says(&fails(&dir, 2, &[&EDIT, more].concat()), says);
    }
    let sum = ["edit", "a cat AND a car", "--to", "a dog", "--model", "model", "--out", "edit"];
    assert_says(&fails(&dir, 2, &sum), &["prompt: expected a text that stays the same", "AND"]);
    assert!(!dir.join("edit").exists());
}
