//! Prompts, tokenizers, settings and names.

use std::path::Path;

use calotype::checkpoint::hub;
use calotype::diffusion::SchedulerConfig;
use calotype::files::protobuf::Message;
use calotype::pipeline::generation_parameters;
use calotype::text_encoder::T5Tokenizer;
use calotype::text_encoder::composition::summands;
use calotype::text_encoder::extra_network;
use calotype::text_encoder::prompt::{self, Framing, Piece, TokenPiece};
use calotype::text_encoder::schedule::Schedule;

use super::{fuzz, golden, of_file, text};
use crate::support::TempDir;

#[test]
fn texts_of_pictures() {
    let written = "a (cat:1.2), [sun] BREAK\nhat\nNegative prompt: blurry\nbad\nSteps: 20, Sampler: DPM++ 2M, \
        Seed: 42, Size: 512x512, Lora hashes: \"a: 0f, \\\"b\\\": 1e\", Version: 1";
    fuzz(&[written.as_bytes().to_vec()], 5000, |bytes| {
        let parameters = generation_parameters::parse(&text(bytes));
        generation_parameters::parse(&parameters.to_string()).get("Seed") == Some("42")
    });
}

#[test]
fn prompts() {
    let seeds =
        ["a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).", "(a BREAK b:2)\\(c\\) [d", "(日本:1.1)"];
    let framing = Framing { length: 8, start: 1, end: 2, pad: 0, comma: Some(b','.into()) };
    let tokens = |piece| match piece {
        Piece::Text(text) => TokenPiece::Text(text.text.bytes().map(u32::from).collect(), text.weight),
        Piece::Break => TokenPiece::Break,
    };
    fuzz(&seeds.map(|seed| seed.as_bytes().to_vec()), 5000, |bytes| {
        let prompt = text(bytes);
        let parsed = prompt::parse(&prompt);
        let is_plain = parsed.iter().all(|piece| matches!(piece, Piece::Text(text) if text.weight == 1.0));
        let pieces: Vec<TokenPiece> = parsed.into_iter().map(tokens).collect();
        let chunks = prompt::chunks(&pieces, &framing).unwrap();
        assert!(chunks.iter().all(|chunk| (chunk.ids.len(), chunk.weights.len()) == (8, 8)));
        !is_plain
    });
}

#[test]
fn prompts_that_change_and_add_up() {
    let seeds = [
        "a [mountain:lake:0.25] and [an oak:tree:3][ in front::0.6][[a|b]:(c:1.2): 2 ]",
        "a cat :1.2 AND [a|b|(c:1.1)|] <lora:x:0.5:te=1> \\[d:e:1\\] AND (f) : -.5",
    ];
    fuzz(&seeds.map(|seed| seed.as_bytes().to_vec()), 5000, |bytes| {
        let prompt = text(bytes);
        let tags = extra_network::tags(&prompt);
        let loras = tags.iter().filter(|tag| tag.is_lora && tag.lora().is_ok()).count();
        assert!(extra_network::without_loras(&prompt).len() <= prompt.len());
        let schedule = Schedule::of(&prompt, 7).ok();
        // A text of a step is made of the prompt's.
        assert!(schedule.iter().all(|one| (0..7).all(|step| one.text(step).len() <= prompt.len())));
        let summands = summands(&prompt).map_or(0, |all| all.len());
        schedule.is_some_and(|schedule| schedule.steps() > 1) && loras + summands > 0
    });
}

/// SentencePiece's table of characters that makes `a` of `A`: the place of `A` in a trie of 256, its leaf, and the text.
fn charsmap() -> Vec<u8> {
    let mut trie = [0_u32; 256];
    trie[65] = 65 | 1 << 8 | 130 << 10;
    trie[65 ^ 130] = 1 << 31;
    let trie = trie.map(u32::to_le_bytes);
    [&1024_u32.to_le_bytes()[..], trie.as_flattened(), b"a\0"].concat()
}

#[test]
fn t5_tokenizers() {
    let dir = TempDir::new();
    let texts = ["", "aA b <extra_id_7> </s>x", "日本 é\u{301} \0\u{ff21}"];
    let read = |path: &Path| {
        let tokenizer = T5Tokenizer::load(path.parent().unwrap())?;
        texts.iter().try_for_each(|text| {
            tokenizer.encode_padded(text, 9).map(|encoded| assert_eq!(encoded.ids.len(), 9))
        })
    };
    let pieces =
        [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), ("▁a", -3.5), ("a", -4.0), ("日", -9.0)];
    let piece = |file: Message, (text, score): (&str, f32)| {
        file.message(1, Message::new().bytes(1, text).float(2, score))
    };
    let file = pieces.into_iter().fold(Message::new(), piece);
    let file = file.message(2, Message::new().varint(3, 1).varint(40, 2)).into_bytes();
    let with_table =
        Message::new().message(3, Message::new().bytes(1, "nmt_nfkc").bytes(2, charsmap())).into_bytes();
    let seeds = [file.clone(), [&file[..], &with_table].concat()];
    fuzz(&seeds, 3000, of_file(dir.join("spiece.model"), read));
    // Only the table, and the file around it is right.
    let of_bytes = of_file(dir.join("spiece.model"), read);
    fuzz(&[charsmap()], 3000, |table| {
        let table = Message::new().message(3, Message::new().bytes(2, table)).into_bytes();
        of_bytes(&[&file[..], &table].concat())
    });
    let json = serde_json::json!({
        "added_tokens": [{ "id": 1, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true }],
        "normalizer": { "type": "Sequence", "normalizers": [{ "type": "Strip", "strip_left": true, "strip_right": true },
            { "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": "▁" }] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [{ "type": "WhitespaceSplit" },
            { "type": "Metaspace", "replacement": "▁", "add_prefix_space": true }] },
        "model": { "type": "Unigram", "unk_id": 2, "vocab": pieces },
    });
    fuzz(&[json.to_string().into_bytes()], 3000, of_file(dir.join("tokenizer.json"), read));
}

#[test]
fn schedulers() {
    let seeds = ["sd1", "sd2", "sdxl"];
    let file = |model| golden(&format!("stable_diffusion/{model}/scheduler/scheduler_config.json"));
    fuzz(&seeds.map(file), 3000, |bytes| {
        SchedulerConfig::parse(&text(bytes)).is_ok_and(|config| config.noise_schedule().is_ok())
    });
}

#[test]
fn names_on_the_hub() {
    let names = ["stable-diffusion-v1-5/stable-diffusion-v1-5", "o/m@refs/pr/1"];
    fuzz(&names.map(|name| name.as_bytes().to_vec()), 3000, |name| hub::looks_like_repo(&text(name)));
}
