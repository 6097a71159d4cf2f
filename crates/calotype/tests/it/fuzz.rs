//! Files of strangers: whatever is changed in them, every reader answers, with a value or an error, and neither
//! panics nor hangs. The changes are the same in every run; `fuzz/` looks for new ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use calotype::checkpoint::lora::{self, LoraFile};
use calotype::checkpoint::{hub, single_file};
use calotype::diffusion::SchedulerConfig;
use calotype::files::npz::{self, Npz};
use calotype::files::protobuf::Message;
use calotype::files::{gguf, pickle, png_text, safetensors, weights};
use calotype::model::ComponentKind;
use calotype::pipeline::generation_parameters;
use calotype::text_encoder::T5Tokenizer;
use calotype::text_encoder::composition::summands;
use calotype::text_encoder::extra_network;
use calotype::text_encoder::prompt::{self, Framing, Piece, TokenPiece};
use calotype::text_encoder::schedule::Schedule;
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::{GgufFile, TempDir};

type Shapes = BTreeMap<String, Vec<usize>>;

/// A reader that takes so long for one of these inputs hangs: they are all below 200 kB.
const PATIENCE: Duration = Duration::from_secs(60);

/// Xorshift (Marsaglia 2003, 64 bits, shifts 13, 7, 17).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// Numbers at which arithmetic and allocations break, and small ones.
    fn extreme(&mut self) -> u64 {
        let bit = 1_u64 << self.below(64);
        [0, 1, 3, bit, bit - 1, !bit, u64::MAX, i64::MAX as u64, u32::MAX.into()][self.below(9)]
    }

    /// A part of at most `longest` bytes.
    fn part<'a>(&mut self, bytes: &'a [u8], longest: usize) -> &'a [u8] {
        let begin = self.below(bytes.len() + 1);
        &bytes[begin..bytes.len().min(begin + self.below(longest + 1))]
    }
}

/// Something that bytes can be changed into.
trait Mutate {
    fn mutate(&mut self, random: &mut Random);
}

impl Mutate for Vec<u8> {
    fn mutate(&mut self, random: &mut Random) {
        let at = random.below(self.len());
        match random.below(8) {
            0 | 1 => self.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            2 => self.truncate(at),
            3 => drop(self.splice(at..at, random.next().to_le_bytes())),
            4 => {
                let copy = random.part(self, 64).to_vec();
                self.splice(at..at, copy);
            }
            5 => drop(self.drain(at..self.len().min(at + random.below(16)))),
            6 => {
                let width = 1 << random.below(4);
                let number = random.extreme().to_le_bytes();
                self.iter_mut().skip(at).zip(&number[..width]).for_each(|(byte, new)| *byte = *new);
            }
            _ => *self = with_tokens_swapped(self, random),
        }
    }
}

/// Text, such as JSON or a name, with two of its numbers and words swapped, or an extreme number for one.
fn with_tokens_swapped(text: &[u8], random: &mut Random) -> Vec<u8> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+".contains(byte);
    let mut pieces: Vec<&[u8]> = text.chunk_by(|a, b| is_token(a) && is_token(b)).collect();
    let tokens: Vec<usize> = (0..pieces.len()).filter(|&i| is_token(&pieces[i][0])).collect();
    if tokens.is_empty() {
        return text.to_vec();
    }
    let [one, other] = [(); 2].map(|()| tokens[random.below(tokens.len())]);
    let number = random.extreme().to_string();
    match random.below(3) {
        0 => pieces[one] = number.as_bytes(),
        _ => pieces.swap(one, other),
    }
    pieces.concat()
}

impl Mutate for Shapes {
    fn mutate(&mut self, random: &mut Random) {
        let Some((name, shape)) = self.iter().nth(random.below(self.len())) else { return };
        let (name, mut shape) = (name.clone(), shape.clone());
        match random.below(5) {
            0 => drop(self.remove(&name)),
            1 => {
                let mut changed = name.into_bytes();
                changed.mutate(random);
                self.insert(String::from_utf8_lossy(&changed).into_owned(), shape);
            }
            2 => {
                shape.truncate(random.below(shape.len()));
                self.insert(name, shape);
            }
            _ => {
                let axis = random.below(shape.len());
                let side = random.extreme() as usize;
                shape.iter_mut().skip(axis).take(1).for_each(|old| *old = side);
                self.insert(name, shape);
            }
        }
    }
}

/// Changes `seeds` in `runs` ways, each in one to four places; `accepts` reads them and says whether it took
/// them for what they were. Some must be taken and some not, or else the changes reach nothing.
fn fuzz<T: Mutate + Clone + std::fmt::Debug>(seeds: &[T], runs: usize, mut accepts: impl FnMut(&T) -> bool) {
    let (begun, watched) = mpsc::channel();
    std::thread::spawn(move || end_what_hangs(&watched));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut accepted = 0;
    for seed in seeds {
        assert!(accepts(seed), "refused unchanged: {seed:?}");
    }
    for run in 0..runs {
        let mut input = seeds[random.below(seeds.len())].clone();
        (0..=random.below(4)).for_each(|_| input.mutate(&mut random));
        begun.send(run).unwrap();
        let answer = catch_unwind(AssertUnwindSafe(|| accepts(&input)));
        accepted += usize::from(answer.unwrap_or_else(|_| panic!("run {run} panicked: {input:?}")));
    }
    assert!((1..runs).contains(&accepted), "{accepted} of {runs} accepted");
}

/// Ends the process if no run follows another for so long: a reader that hangs cannot be stopped otherwise.
fn end_what_hangs(begun: &Receiver<usize>) {
    let mut run = 0;
    loop {
        match begun.recv_timeout(PATIENCE) {
            Ok(next) => run = next,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                // Past the test's own capture, which would be lost.
                let _ = writeln!(std::io::stderr(), "fuzz: run {run} hangs");
                std::process::abort();
            }
        }
    }
}

/// A reader of files as one of bytes.
fn of_file<T>(path: PathBuf, read: impl Fn(&Path) -> calotype::Result<T>) -> impl Fn(&Vec<u8>) -> bool {
    move |bytes| {
        // A new file: some file systems write one that was cut and filled again to the disk at once.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        read(&path).is_ok()
    }
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn golden_json(name: &str) -> Value {
    serde_json::from_slice(&golden(name)).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A zip of files as they are.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        archive.start_file(*name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// A file's header, without its length, and its data.
fn split(safetensors: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = u64::from_le_bytes(safetensors[..8].try_into().unwrap()) as usize;
    (safetensors[8..8 + length].to_vec(), safetensors[8 + length..].to_vec())
}

#[test]
fn safetensors() {
    let dir = TempDir::new();
    let read = of_file(dir.join("a.safetensors"), |path| {
        safetensors::read_metadata(path).and(safetensors::read(path))
    });
    let file = golden("stable_diffusion/cases/inpaint-9-channels-ddim-0.6/inputs.safetensors");
    fuzz(std::slice::from_ref(&file), 3000, &read);
    // Only the header, and its length is right.
    let (header, data) = split(&file);
    fuzz(&[header], 3000, |header| {
        read(&[&(header.len() as u64).to_le_bytes(), &header[..], &data].concat())
    });
}

#[test]
fn shards() {
    let dir = TempDir::new();
    let index = dir.join("model.safetensors.index.json");
    let shard = golden("stable_diffusion/cases/sd1-text-encoder/inputs.safetensors");
    dir.write("model-1.safetensors", shard);
    let text = r#"{"metadata": {"total_size": 1848}, "weight_map": {"input_ids": "model-1.safetensors"}}"#;
    fuzz(
        &[text.as_bytes().to_vec()],
        2000,
        of_file(index, |index| weights::open_folder(index.parent().unwrap(), "model")),
    );
}

#[test]
fn gguf_files() {
    let dir = TempDir::new();
    let read = of_file(dir.join("a.gguf"), |path| {
        gguf::read_metadata(path)?;
        let tensors = gguf::open(path)?;
        tensors.values().for_each(|tensor| drop((tensor.is_finite(), tensor.to_f32())));
        Ok(())
    });
    let list =
        |kind: u32, count: u64, data: &[u8]| [&kind.to_le_bytes()[..], &count.to_le_bytes(), data].concat();
    let texts = [&1_u64.to_le_bytes()[..], b"a", &2_u64.to_le_bytes(), b"bc"].concat();
    let described = GgufFile::new()
        .text("general.architecture", "flux")
        .value("general.alignment", 4, &32_u32.to_le_bytes())
        .value("tokens", 9, &list(8, 2, &texts))
        .value("scores", 9, &list(6, 3, &[0; 12]))
        .value("size", 10, &7_u64.to_le_bytes());
    let kinds = [(2, 18), (3, 20), (6, 22), (7, 24), (8, 34), (20, 18)];
    let kinds = kinds.map(|(kind, size)| (kind, size, 32)).into_iter().chain(
        [(10, 84), (11, 110), (12, 144), (13, 176), (14, 210), (23, 136)]
            .map(|(kind, size)| (kind, size, 256)),
    );
    let blocks = kinds.fold(GgufFile::new(), |file, (kind, size, numbers)| {
        file.tensor(&format!("w.{kind}"), &[2, numbers], kind, &vec![0x5A; 2 * size])
    });
    let plain = described
        .floats("f", &[2, 3], &[0.5; 6])
        .tensor("h", &[2, 2], 1, &[0; 8])
        .tensor("b", &[4], 30, &[0; 8])
        .tensor("s", &[], 0, &[0; 4]);
    fuzz(&[plain.bytes(), blocks.bytes()], 5000, &read);
    let header = |file: GgufFile| {
        let bytes = file.bytes();
        let end = bytes.len().min(220);
        (bytes[..end].to_vec(), bytes[end..].to_vec())
    };
    // Only the header.
    let (header, data) = header(plain);
    fuzz(&[header], 5000, |header| read(&[&header[..], &data].concat()));
}

/// Weights of fp8, their factors, and what says that they are.
#[test]
fn scaled_weights() {
    let dir = TempDir::new();
    let header =
        br#"{"scaled_fp8":{"dtype":"F8_E4M3","shape":[0],"data_offsets":[0,0]},"a.weight":{"dtype":"F8_E4M3",
        "shape":[2,2],"data_offsets":[0,4]},"a.scale_weight":{"dtype":"F32","shape":[],"data_offsets":[4,8]},
        "a.input_scale":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},
        "b.weight":{"dtype":"F8_E5M2","shape":[4],"data_offsets":[12,16]}}"#;
    let read = of_file(dir.join("a.safetensors"), weights::read);
    fuzz(&[header.to_vec()], 5000, |header| {
        read(&[&(header.len() as u64).to_le_bytes(), &header[..], &[0x38; 16]].concat())
    });
}

/// `{"w": torch.zeros(2, 2)}` as `torch.save` writes it.
const PICKLE: &[u8] = b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\
    \x00\x00storageq\x03ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x04tq\x07QK\
    \x00K\x02K\x02\x86q\x08K\x02K\x01\x86q\x09\x89ccollections\nOrderedDict\nq\x0a)Rq\x0btq\x0cRq\x0ds.";

#[test]
fn pickles() {
    let dir = TempDir::new();
    let read = of_file(dir.join("a.pt"), pickle::open);
    let saved = |pickle: &[u8]| {
        zip(&[
            ("a/data.pkl", pickle),
            ("a/byteorder", b"little"),
            ("a/data/0", &[0; 16]),
            ("a/version", b"3\n"),
        ])
    };
    fuzz(&[saved(PICKLE), b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.".to_vec()], 3000, &read);
    fuzz(&[PICKLE.to_vec()], 3000, |pickle| read(&saved(pickle)));
    let layouts = ["lightning.ckpt", "module.pth", "old.pth", "stream.pt", "zip.pt"];
    fuzz(&layouts.map(|name| golden(&format!("pickles/{name}"))), 5000, &read);
}

#[test]
fn numpy_archives() {
    let dir = TempDir::new();
    let path = dir.join("a.npz");
    let array = npz::Array::new(&[2, 3], vec![0.5; 6]);
    let arrays = BTreeMap::from([("mu".into(), array.clone()), ("sigma".into(), array)]);
    npz::write(&path, &Npz { arrays, texts: BTreeMap::from([("protocol.json".into(), "{}".into())]) })
        .unwrap();
    let file = fs::read(&path).unwrap();
    let read = of_file(path, npz::read);
    fuzz(&[file], 2000, &read);
    // Only an array, and the zip around it is right.
    let mut array =
        b"\x93NUMPY\x01\x00\x40\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }".to_vec();
    array.resize(10 + 64 + 12, b' ');
    fuzz(&[array], 2000, |array| read(&zip(&[("mu.npy", array)])));
}

/// CRC-32 bit by bit.
fn crc_32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit))
}

fn png(text_kind: &[u8; 4], text: &[u8]) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let one_pixel = b"\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0";
    for (kind, data) in [(b"IHDR", &one_pixel[..]), (text_kind, text), (b"IEND", b"")] {
        let checked = [kind, data].concat();
        png.extend((data.len() as u32).to_be_bytes());
        png.extend(&checked);
        png.extend(crc_32(&checked).to_be_bytes());
    }
    png
}

#[test]
fn texts_in_pictures() {
    let (plain, international) = (b"parameters\0caf\xe9".to_vec(), b"Title\0\0\0en\0\0\xe6\x97\xa5".to_vec());
    let files = [png(b"tEXt", &plain), png(b"iTXt", &international)];
    fuzz(&files, 5000, |png| png_text::read(png).is_ok_and(|texts| !texts.is_empty()));
    for (kind, data) in [(b"tEXt", plain), (b"iTXt", international)] {
        fuzz(&[data], 2000, |data| png_text::read(&png(kind, data)).is_ok());
    }
}

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

fn shape(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn single_files() {
    let golden = golden_json("single_file_keys.json");
    let file = |case: &Value| -> Shapes {
        let parts = case["parts"].as_object().unwrap().iter();
        let keys = parts.flat_map(|(folder, name)| {
            let keys = golden["parts"][name.as_str().unwrap()]["keys"].as_array().unwrap();
            keys.iter().map(move |key| (&case["prefixes"][folder], key))
        });
        keys.map(|(prefix, key)| {
            (prefix.as_str().unwrap().to_owned() + key[0].as_str().unwrap(), shape(&key[1]))
        })
        .collect()
    };
    let files = ["sd1", "sd2", "sdxl"].map(|case| file(&golden["cases"][case]));
    fuzz(&files, 1000, |shapes| {
        let Ok(recognised) = single_file::recognise(shapes) else { return false };
        for (key, shape) in shapes {
            for target in single_file::from_single_file(key, &recognised) {
                let _ = target.change.shape(shape);
            }
        }
        single_file::unexpected(shapes, &recognised).is_empty()
    });
}

/// Names and shapes of a golden LoRA file, and its metadata.
fn lora_file(model: &Value, file: &Value) -> (Shapes, BTreeMap<String, String>) {
    let mut tensors = Shapes::new();
    for group in file["groups"].as_array().unwrap() {
        let weights = &model["parts"][group["part"].as_str().unwrap()];
        for layer in group["layers"].as_array().unwrap() {
            let rank = layer[2].as_u64().unwrap() as usize;
            let weight = shape(&weights[layer[1].as_u64().unwrap() as usize][1]);
            let name = |role: &str| Some(format!("{}{}", layer[0].as_str()?, group[role].as_str()?));
            tensors.insert(name("down").unwrap(), [&[rank], &weight[1..]].concat());
            tensors
                .insert(name("up").unwrap(), [&[weight[0], rank], &vec![1; weight.len() - 2][..]].concat());
            tensors.extend(name("alpha").map(|name| (name, Vec::new())));
        }
    }
    (tensors, serde_json::from_value(file["metadata"].clone()).unwrap())
}

#[test]
fn lycoris() {
    let shapes = |all: &[(&str, &[usize])]| -> Shapes {
        all.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
    };
    let [linear, conv]: [&[usize]; 2] = [&[6, 8], &[6, 8, 3, 3]];
    let own = shapes(&[
        ("a.weight", linear),
        ("a.bias", &[6]),
        ("b.weight", conv),
        ("c.weight", conv),
        ("d.weight", linear),
        ("e.weight", &[6]),
        ("e.bias", &[6]),
        ("f.weight", linear),
    ]);
    let file = shapes(&[
        ("unet.a.hada_w1_a", &[6, 2]),
        ("unet.a.hada_w1_b", &[2, 8]),
        ("unet.a.hada_w2_a", &[6, 2]),
        ("unet.a.hada_w2_b", &[2, 8]),
        ("unet.a.alpha", &[]),
        ("unet.a.dora_scale", &[1, 8]),
        ("unet.a.diff_b", &[6]),
        ("unet.b.lokr_w1", &[2, 2]),
        ("unet.b.lokr_w2_a", &[2, 3]),
        ("unet.b.lokr_w2_b", &[2, 4]),
        ("unet.b.lokr_t2", &[2, 2, 3, 3]),
        ("unet.b.scalar", &[1]),
        ("unet.c.lora_down.weight", &[2, 8, 1, 1]),
        ("unet.c.lora_mid.weight", &[2, 2, 3, 3]),
        ("unet.c.lora_up.weight", &[6, 2, 1, 1]),
        ("unet.c.lora_magnitude_vector", &[6]),
        ("unet.d.weight", &[8]),
        ("unet.d.on_input", &[1]),
        ("unet.e.w_norm", &[6]),
        ("unet.e.b_norm", &[6]),
        ("unet.f.lokr_w1_a", &[2, 2]),
        ("unet.f.lokr_w1_b", &[2, 2]),
        ("unet.f.lokr_w2", &[3, 4]),
    ]);
    let (path, metadata) = (Path::new("style.safetensors"), BTreeMap::new());
    let fits = |tensors: &Shapes, unet: &Shapes| {
        let own = BTreeMap::from([(ComponentKind::Unet, unet.clone())]);
        lora::assign(LoraFile { path, tensors, metadata: &metadata }, &own).is_ok()
    };
    fuzz(std::slice::from_ref(&file), 5000, |tensors| fits(tensors, &own));
    fuzz(std::slice::from_ref(&own), 2000, |unet| fits(&file, unet));
}

#[test]
fn loras() {
    let golden = golden_json("lora_names.json");
    let model = &golden["models"][0];
    let part = |folder: &str| -> Shapes {
        let weights = model["parts"][folder].as_array().unwrap().iter();
        weights.map(|weight| (weight[0].as_str().unwrap().to_owned(), shape(&weight[1]))).collect()
    };
    let own = BTreeMap::from([
        (ComponentKind::Unet, part("unet")),
        (ComponentKind::TextEncoder, part("text_encoder")),
    ]);
    let path = Path::new("style.safetensors");
    for file in model["files"].as_array().unwrap() {
        let (tensors, metadata) = lora_file(model, file);
        fuzz(&[tensors], 200, |tensors| {
            lora::assign(LoraFile { path, tensors, metadata: &metadata }, &own).is_ok()
        });
    }
    let peft =
        model["files"].as_array().unwrap().iter().find(|file| file["name"] == "diffusers peft").unwrap();
    let (tensors, metadata) = lora_file(model, peft);
    let (key, config) = metadata.iter().next().unwrap();
    fuzz(&[config.as_bytes().to_vec()], 500, |config| {
        let metadata = BTreeMap::from([(key.clone(), text(config))]);
        lora::assign(LoraFile { path, tensors: &tensors, metadata: &metadata }, &own).is_ok()
    });
    // The model may be somebody's, too.
    fuzz(&[own[&ComponentKind::Unet].clone()], 2000, |unet| {
        let own = BTreeMap::from([(ComponentKind::Unet, unet.clone())]);
        lora::assign(LoraFile { path, tensors: &tensors, metadata: &metadata }, &own).is_ok()
    });
}
