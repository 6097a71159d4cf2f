use super::*;
use crate::testing::{TempDir, test_data};
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;

const CAPTIONS: &str = include_str!("../../../tests/golden/tokenizer/captions.txt");
const CONFIG: &str = "tokenizer_config.json";

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    padded: Vec<u32>,
}

/// A tokenizer's folder.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new())
    }

    fn copy(&self, from: &Path, names: &[&str]) {
        for name in names {
            fs::copy(from.join(name), self.0.join(name)).unwrap();
        }
    }

    fn write(&self, name: &str, text: &str) {
        self.0.write(name, text);
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }

    /// The text of the error that loading gives.
    fn error(&self) -> String {
        ClipTokenizer::load(&self.0).err().expect("must not load").to_string()
    }
}

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizer")
}

fn trained() -> ClipTokenizer {
    ClipTokenizer::train(CAPTIONS.lines(), 700, 24).unwrap()
}

fn assert_golden(tokenizer: &ClipTokenizer, name: &str) {
    let golden: Golden = serde_json::from_str(&fs::read_to_string(golden_dir().join(name)).unwrap()).unwrap();
    assert!(golden.cases.len() >= 30);
    for case in golden.cases {
        assert_eq!(tokenizer.encode(&case.text), case.ids, "{:?}", case.text);
        let encoded = tokenizer.encode_padded(&case.text);
        assert_eq!(encoded.ids, case.padded, "{:?}", case.text);
        assert_eq!(encoded.truncated, case.ids.len() > case.padded.len(), "{:?}", case.text);
    }
}

#[test]
fn training_gives_what_plain_bpe_in_python_gives() {
    let folder = Folder::new();
    trained().save(&folder.0).unwrap();
    let vocab = |text: &str| serde_json::from_str::<BTreeMap<String, u32>>(text).unwrap();
    let small = |name: &str| fs::read_to_string(golden_dir().join("small").join(name)).unwrap();
    assert_eq!(folder.read("merges.txt"), small("merges.txt"));
    assert_eq!(vocab(&folder.read("vocab.json")), vocab(&small("vocab.json")));
}

#[test]
fn training_twice_and_in_another_order_gives_the_same_files() {
    let (first, second) = (Folder::new(), Folder::new());
    trained().save(&first.0).unwrap();
    ClipTokenizer::train(CAPTIONS.lines().rev(), 700, 24).unwrap().save(&second.0).unwrap();
    for entry in fs::read_dir(&first.0).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert_eq!(first.read(&name), second.read(&name), "{name}");
        assert!(!name.ends_with(".tmp"));
    }
}

#[test]
fn a_smaller_vocabulary_has_the_first_merges_of_a_larger_one() {
    let folder = Folder::new();
    let tokenizer = ClipTokenizer::train(CAPTIONS.lines(), 540, 24).unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.start_id(), tokenizer.end_id()), (540, 538, 539));
    tokenizer.save(&folder.0).unwrap();
    let merges = folder.read("merges.txt");
    assert_eq!(merges.lines().count(), 1 + 540 - 514);
    assert!(fs::read_to_string(golden_dir().join("small/merges.txt")).unwrap().starts_with(&merges));
}

#[test]
fn the_trained_tokenizer_gives_the_ids_of_transformers() {
    assert_golden(&trained(), "small.json");
}

#[test]
fn what_is_saved_loads_again_in_each_form_of_folder() {
    let folder = Folder::new();
    trained().save(&folder.0).unwrap();
    assert_golden(&ClipTokenizer::load(&folder.0).unwrap(), "small.json");
    folder.remove("tokenizer.json");
    assert_golden(&ClipTokenizer::load(&folder.0).unwrap(), "small.json");
    trained().save(&folder.0).unwrap();
    for name in ["vocab.json", "merges.txt", "special_tokens_map.json"] {
        folder.remove(name);
    }
    folder.write(CONFIG, r#"{"model_max_length": 24, "pad_token": "<|endoftext|>"}"#);
    assert_golden(&ClipTokenizer::load(&folder.0).unwrap(), "small.json");
    // The form of the Python-made folder: no special tokens described at all.
    assert_golden(&ClipTokenizer::load(&golden_dir().join("small")).unwrap(), "small.json");
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn stable_diffusion_1_5_gives_the_ids_of_transformers() {
    let configs = test_data().join("model-configs");
    let tokenizer = ClipTokenizer::load(&configs.join("stable-diffusion-v1-5/tokenizer")).unwrap();
    assert_eq!(tokenizer.vocab_size(), 49408);
    assert_golden(&tokenizer, "stable_diffusion_1_5.json");
    let folder = Folder::new();
    tokenizer.save(&folder.0).unwrap();
    assert_golden(&ClipTokenizer::load(&folder.0).unwrap(), "stable_diffusion_1_5.json");
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn stable_diffusion_2_pads_with_an_exclamation_mark() {
    let configs = test_data().join("model-configs");
    let folder = Folder::new();
    folder.copy(&configs.join("stable-diffusion-v1-5/tokenizer"), &["vocab.json", "merges.txt"]);
    folder.copy(&configs.join("stable-diffusion-2-1/tokenizer"), &[CONFIG, "special_tokens_map.json"]);
    let tokenizer = ClipTokenizer::load(&folder.0).unwrap();
    assert_eq!(tokenizer.pad_id(), 0);
    assert_golden(&tokenizer, "stable_diffusion_2_1.json");
    tokenizer.save(&folder.0).unwrap();
    assert_golden(&ClipTokenizer::load(&folder.0).unwrap(), "stable_diffusion_2_1.json");
}

#[test]
fn words_cover_their_tokens() {
    let tokenizer = trained();
    let text = "A zebra's café  by <|endoftext|> 2 🔥 cats!";
    let (ids, words) = tokenizer.spell(text).unwrap();
    let names: Vec<&str> = words.iter().map(|span| span.word.as_str()).collect();
    assert_eq!(names, ["a", "zebra", "'s", "café", "by", "2", "🔥", "cats", "!"]);
    let encoded = tokenizer.encode(text);
    assert_eq!(ids, encoded[1..encoded.len() - 1]);
    let mut covered = Vec::new();
    for WordSpan { word, tokens } in words {
        // Alone, the word has the same tokens.
        let alone = tokenizer.encode(&word);
        assert_eq!(ids[tokens.clone()], alone[1..alone.len() - 1], "{word}");
        covered.extend(tokens);
    }
    covered.push(ids.iter().position(|&id| id == tokenizer.end_id()).unwrap());
    covered.sort_unstable();
    assert_eq!(covered, (0..ids.len()).collect::<Vec<_>>());
}

#[test]
fn any_text_is_encoded() {
    let tokenizer = trained();
    for start in (0..0x11_0000).step_by(4096) {
        let text: String = (start..start + 4096).filter_map(char::from_u32).collect();
        let ids = tokenizer.encode(&text);
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        assert_eq!(tokenizer.spell(&text).unwrap().0, ids[1..ids.len() - 1]);
    }
    for piece in ["a", " ", "!", "'", "<|", "\u{301}"] {
        assert!(tokenizer.encode_padded(&piece.repeat(20_000)).ids.len() == 24);
    }
}

#[test]
fn textual_inversion_words_keep_their_ids() {
    let folder = Folder::new();
    trained().save(&folder.0).unwrap();
    folder.remove("tokenizer.json");
    folder.write(CONFIG, r#"{"model_max_length": 24}"#);
    folder.write("added_tokens.json", r#"{"<my-cat>": 594, "<my-dog>": 595}"#);
    let tokenizer = ClipTokenizer::load(&folder.0).unwrap();
    assert_eq!(tokenizer.vocab_size(), 596);
    let (ids, words) = tokenizer.spell("a <My-Dog> house").unwrap();
    assert_eq!(ids[words[1].tokens.clone()], [595]);
    assert_eq!(words[1].word, "<my-dog>");
    tokenizer.save(&folder.0).unwrap();
    assert_eq!(ClipTokenizer::load(&folder.0).unwrap().encode("<my-cat>"), [592, 594, 593]);
    folder.remove("tokenizer.json");
    folder.write(CONFIG, "{}");
    folder.write("added_tokens.json", r#"{"<my-cat>": 700}"#);
    assert!(folder.error().contains("<my-cat>"));
    // Two special tokens on one id.
    let listed = r#""added_tokens_decoder": {"592": {"content": "<my-cat>"}}, "pad_token": "<my-cat>""#;
    folder.write(CONFIG, &format!("{{{listed}}}"));
    assert!(folder.error().contains("<my-cat>"));
}

#[test]
fn missing_and_damaged_files_are_named() {
    let folder = Folder::new();
    assert!(folder.error().contains(CONFIG));
    trained().save(&folder.0).unwrap();
    let whole = folder.read("tokenizer.json");
    folder.write("tokenizer.json", &whole[..whole.floor_char_boundary(whole.len() / 2)]);
    assert!(folder.error().contains("tokenizer.json"));
    folder.remove("tokenizer.json");
    let vocab = folder.read("vocab.json");
    folder.write("vocab.json", &vocab[..vocab.floor_char_boundary(vocab.len() / 2)]);
    assert!(folder.error().contains("vocab.json"));
    folder.write("vocab.json", &vocab);
    let merges = folder.read("merges.txt");
    for length in (0..merges.len()).filter(|&length| merges.is_char_boundary(length)) {
        folder.write("merges.txt", &merges[..length]);
        // A missing last newline loses nothing.
        let complete = length == merges.len() - 1;
        assert_eq!(ClipTokenizer::load(&folder.0).is_ok(), complete, "{length}");
    }
    folder.remove("merges.txt");
    assert!(folder.error().contains("merges.txt"));
    folder.remove("vocab.json");
    assert!(folder.error().contains("vocab.json"));
}

#[test]
fn wrong_sizes_are_refused() {
    let train = |vocab_size, max_length| ClipTokenizer::train(["a cat"].into_iter(), vocab_size, max_length);
    assert!(train(514, 3).is_ok());
    assert!(matches!(train(513, 3), Err(Error::Argument { .. })));
    assert!(matches!(train(514, 2), Err(Error::Argument { .. })));
    assert!(matches!(ClipTokenizer::train([" "].into_iter(), 600, 77), Err(Error::Argument { .. })));
    let folder = Folder::new();
    train(514, 3).unwrap().save(&folder.0).unwrap();
    for (stated, length) in [("", Some(77)), ("1000000000000000019884624838656", Some(77)), ("2", None)] {
        let entry = if stated.is_empty() { String::new() } else { format!("\"model_max_length\": {stated}") };
        folder.write(CONFIG, &format!("{{{entry}}}"));
        assert_eq!(ClipTokenizer::load(&folder.0).ok().map(|t| t.max_length()), length, "{stated}");
    }
}
