use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use burn::tensor::{AllocationProperty, Device, Tensor, TensorData};
use serde::Deserialize;

use super::*;
use crate::files::{Stack, Storage, safetensors, weights};
use crate::nn::{Init, Linear, parameters};
use crate::rng::{Philox, Purpose};
use crate::testing::gguf_file::GgufFile;
use crate::testing::{TempDir, test_data};

/// Blocks of a kind and their numbers, both as bytes in base64.
#[derive(Deserialize)]
struct Golden {
    kind: String,
    blocks: String,
    values: String,
}

const GOLDEN: &str = include_str!("../../../tests/golden/gguf_blocks.json");

fn unpacked(kind: BlockKind, blocks: &[u8]) -> Vec<f32> {
    let shape = vec![blocks.len() / kind.bytes(), kind.numbers()];
    StoredTensor::packed(shape, Packing::Blocks(kind), burn::tensor::Bytes::from_elems(blocks.to_vec()))
        .expect("whole blocks")
        .to_f32()
}

fn assert_same_bits(kind: BlockKind, blocks: &[u8], expected: &[f32]) {
    let got = unpacked(kind, blocks);
    assert_eq!(got.len(), expected.len(), "{}", kind.name());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.to_bits(), expected.to_bits(), "{} {i}: {got}, expected {expected}", kind.name());
    }
}

#[test]
fn blocks_have_the_numbers_of_ggml() {
    let golden: Vec<Golden> = serde_json::from_str(GOLDEN).unwrap();
    for kind in BlockKind::ALL {
        let Some(case) = golden.iter().find(|case| case.kind == kind.name()) else {
            assert!(matches!(kind, BlockKind::Iq4Nl | BlockKind::Iq4Xs), "{}", kind.name());
            continue;
        };
        let [blocks, values] = [&case.blocks, &case.values].map(|text| STANDARD.decode(text).unwrap());
        let values: Vec<f32> = values.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(values.len(), 2 * kind.numbers());
        assert_same_bits(kind, &blocks, &values);
    }
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn more_blocks_have_the_numbers_of_ggml() {
    let golden = safetensors::read(&test_data().join("golden-flux/gguf/blocks.safetensors")).unwrap();
    let mut kinds = 0;
    for kind in BlockKind::ALL {
        let Some(blocks) = golden.get(&format!("{}.blocks", kind.name())) else { continue };
        let blocks: Vec<u8> = blocks.values.iter().map(|&byte| byte as u8).collect();
        assert_same_bits(kind, &blocks, &golden[&format!("{}.values", kind.name())].values);
        kinds += 1;
    }
    assert_eq!(kinds, 10);
}

/// Numbers, and the blocks that ggml's reference makes of them, both as bytes in base64.
#[derive(Deserialize)]
struct Quantised {
    values: String,
    blocks: HashMap<String, String>,
}

fn floats(text: &str) -> Vec<f32> {
    STANDARD.decode(text).unwrap().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

#[test]
fn numbers_become_the_blocks_of_ggml() {
    let golden: Quantised =
        serde_json::from_str(include_str!("../../../tests/golden/quantised_blocks.json")).unwrap();
    let values = floats(&golden.values);
    assert_eq!(values.len(), 8 * 256);
    for kind in BlockKind::ALL {
        let (Some(expected), Some(quantise)) = (golden.blocks.get(kind.name()), kind.quantiser()) else {
            assert!(
                kind.quantiser().is_none() && !golden.blocks.contains_key(kind.name()),
                "{}",
                kind.name()
            );
            assert!(!TensorType::WRITTEN.contains(&TensorType::Blocks(kind)));
            continue;
        };
        assert!(TensorType::WRITTEN.contains(&TensorType::Blocks(kind)));
        let expected = STANDARD.decode(expected).unwrap();
        let mut packed = vec![0; expected.len()];
        quantise(&values, &mut packed);
        let blocks = packed.chunks(kind.bytes()).zip(expected.chunks(kind.bytes()));
        for (i, (got, expected)) in blocks.enumerate() {
            assert_eq!(got, expected, "block {i} of {}", kind.name());
        }
    }
    // Packed again, what was packed stays the same numbers; of few bits it need not.
    let mut packed = vec![0; 8 * 8 * 34];
    BlockKind::Q8_0.quantiser().unwrap()(&values, &mut packed);
    let once = unpacked(BlockKind::Q8_0, &packed);
    BlockKind::Q8_0.quantiser().unwrap()(&once, &mut packed);
    assert_eq!(unpacked(BlockKind::Q8_0, &packed), once);
}

/// Of normal numbers, relative to their own root mean square: what the bits promise.
#[test]
fn the_error_of_each_kind_is_that_of_its_bits() {
    let values = Philox::new(3, Purpose::Weights, 0).normals(256 * 256);
    for (kind, least, most) in [
        (BlockKind::Q8_0, 0.005, 0.006),
        (BlockKind::Q6K, 0.015, 0.021),
        (BlockKind::Q5K, 0.030, 0.040),
        (BlockKind::Q4K, 0.060, 0.080),
        (BlockKind::Q4_0, 0.080, 0.100),
    ] {
        let mut packed = vec![0; values.len() / kind.numbers() * kind.bytes()];
        kind.quantiser().unwrap()(&values, &mut packed);
        let got = unpacked(kind, &packed);
        let square = |all: &mut dyn Iterator<Item = f32>| all.map(|x| f64::from(x * x)).sum::<f64>();
        let error = square(&mut got.iter().zip(&values).map(|(a, b)| a - b));
        let error = (error / square(&mut values.iter().copied())).sqrt();
        assert!((least..most).contains(&error), "{}: {error}", kind.name());
    }
}

fn written(dir: &TempDir, stacks: &[Stack]) -> HashMap<String, StoredTensor> {
    let path = dir.join("w.gguf");
    let _ = std::fs::remove_file(&path);
    let metadata = [
        ("general.architecture".to_owned(), Value::Text("flux".into())),
        ("a.number".to_owned(), Value::U32(7)),
        ("a.part".to_owned(), Value::F32(0.5)),
    ];
    write(&path, &metadata, stacks).unwrap();
    let read = read_metadata(&path).unwrap();
    let expected = [("general.architecture", "flux"), ("a.number", "7"), ("a.part", "0.5")];
    assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    open(&path).unwrap()
}

#[test]
fn what_is_written_is_read_again() {
    let dir = TempDir::new();
    let numbers = |count: usize| (0..count).map(|i| (i as f32 * 0.37).sin()).collect::<Vec<_>>();
    // More numbers than are in memory at a time.
    let large = StoredTensor::from_f32(vec![5, 1 << 19], numbers(5 << 19)).unwrap();
    let (one, none) = (StoredTensor::from_f32(vec![], vec![3.0]), StoredTensor::from_f32(vec![0, 4], vec![]));
    let (one, none) = (one.unwrap(), none.unwrap());
    for kind in TensorType::WRITTEN {
        let mut stacks = vec![
            Stack::whole("one", &one),
            Stack::of_rows("rows", vec![(&large, 4..5), (&large, 0..3)]).unwrap(),
            Stack::whole("none", &none),
        ];
        stacks[1].kind = kind;
        let tensors = written(&dir, &stacks);
        assert_eq!((tensors["one"].shape(), tensors["one"].to_f32()), (&[][..], vec![3.0]));
        assert_eq!((tensors["none"].shape(), tensors["none"].to_f32()), (&[0, 4][..], vec![]));
        let rows = &tensors["rows"];
        assert_eq!(rows.shape(), [4, 1 << 19]);
        let values = [&large.to_f32()[4 << 19..], &large.to_f32()[..3 << 19]].concat();
        match kind {
            TensorType::Plain(storage) => {
                let expected = StoredTensor::from_f32(vec![4, 1 << 19], values).unwrap().stored_as(storage);
                assert!(rows.bytes() == expected.bytes(), "{kind}");
            }
            TensorType::Blocks(kind) => {
                let mut packed = vec![0; rows.stored().len()];
                kind.quantiser().unwrap()(&values, &mut packed);
                assert!(rows.stored() == packed, "{}", kind.name());
                // As they are, block by block.
                let mut again = Stack::of_rows("again", vec![(rows, 1..4)]).unwrap();
                again.kind = TensorType::Blocks(kind);
                assert!(written(&dir, &[again])["again"].stored() == &packed[packed.len() / 4..]);
            }
        }
    }
    assert!(Stack::of_rows("a", vec![(&large, 0..1), (&none, 0..0)]).is_none());
    assert!(Stack::of_rows("a", vec![(&large, 4..6)]).is_none());
    assert!(Stack::of_rows("a", vec![(&one, 0..1)]).is_none());
}

#[test]
fn numbers_that_a_type_does_not_hold_are_refused() {
    let dir = TempDir::new();
    for bad in [f32::NAN, f32::INFINITY, 65_520.0, -1e30] {
        let mut values = vec![0.5; 512];
        values[300] = bad;
        let tensor = StoredTensor::from_f32(vec![2, 256], values).unwrap();
        for kind in TensorType::WRITTEN {
            let mut stack = Stack::whole("a", &tensor);
            stack.kind = kind;
            let (path, holds) = (dir.join("bad.gguf"), matches!(kind.id(), 0 | 30));
            let result = write(&path, &[], &[stack]);
            assert_eq!(result.is_ok(), holds, "{kind}, {bad}");
            if let Err(error) = result {
                let said = format!("tensor `a`: expected numbers of at most 65504, as {kind} holds");
                assert!(error.to_string().starts_with(&said), "{error}");
                assert!(!path.exists());
            }
            let _ = std::fs::remove_file(&path);
        }
    }
    let odd = StoredTensor::from_f32(vec![2, 48], vec![0.5; 96]).unwrap();
    let mut stack = Stack::whole("a", &odd);
    stack.kind = TensorType::Blocks(BlockKind::Q8_0);
    let error = write(&dir.join("odd.gguf"), &[], &[stack]).unwrap_err().to_string();
    assert!(error.contains("tensor `a` of shape [2, 48] cannot be stored in q8_0"), "{error}");
    let whole = StoredTensor::from_f32(vec![1, 256], vec![0.5; 256]).unwrap();
    let mut stack = Stack::whole("a", &whole);
    stack.kind = TensorType::Blocks(BlockKind::Q3K);
    let error = write(&dir.join("read.gguf"), &[], &[stack]).unwrap_err().to_string();
    assert!(error.contains("got Q3_K, which is only read"), "{error}");
}

/// The table of the format's definition, halved.
const HALVED: [f32; 16] =
    [-63.5, -52.0, -41.5, -32.5, -24.5, -17.5, -11.0, -5.0, 0.5, 6.5, 12.5, 19.0, 26.5, 34.5, 44.5, 56.5];

#[test]
fn blocks_of_places_in_a_table() {
    // d = 0.5; the low halves count up, the high ones down.
    let mut block = vec![0x00, 0x38];
    block.extend((0..16).map(|i: u8| i | (15 - i) << 4));
    let down = HALVED.iter().rev();
    assert_eq!(unpacked(BlockKind::Iq4Nl, &block), HALVED.iter().chain(down).copied().collect::<Vec<f32>>());
    // d = 0.5, eight factors of six bits minus 32; place 15 in all low halves, place 8 in the high ones.
    let factors = [0_u16, 63, 33, 31, 40, 16, 48, 32];
    let high = factors.iter().enumerate().fold(0, |bits, (i, factor)| bits | (factor >> 4) << (2 * i));
    let mut block = vec![0x00, 0x38];
    block.extend(high.to_le_bytes());
    block.extend(factors.chunks(2).map(|two| (two[0] & 15 | (two[1] & 15) << 4) as u8));
    block.extend([0x8F; 128]);
    let expected = factors.iter().flat_map(|&factor| {
        let factor = f32::from(factor) - 32.0;
        (0..32).map(move |i| factor * if i < 16 { 56.5 } else { 0.5 })
    });
    assert_eq!(unpacked(BlockKind::Iq4Xs, &block), expected.collect::<Vec<f32>>());
}

fn opened(dir: &TempDir, bytes: &[u8]) -> Result<HashMap<String, StoredTensor>> {
    // A new file: the old one may be mapped.
    let path = dir.join("a.gguf");
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).unwrap();
    weights::open(&path)
}

/// f16 1.0, bf16 −2.0, and a block of Q8_0: d = 0.5, 0 to 31.
fn example() -> GgufFile {
    let block: Vec<u8> = [0x00, 0x38].into_iter().chain(0..32).collect();
    GgufFile::new()
        .text("general.architecture", "flux")
        .value("a.list", 9, &[&4_u32.to_le_bytes()[..], &3_u64.to_le_bytes(), &[7; 12]].concat())
        .value("a.number", 6, &1.5_f32.to_le_bytes())
        .value("a.sign", 5, &(-7_i32).to_le_bytes())
        .value("a.truth", 7, &[1])
        .floats("m.weight", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .tensor("h.weight", &[1, 1, 2], 1, &[0x00, 0x3C, 0x00, 0xBC])
        .tensor("b.weight", &[2], 30, &[0x00, 0xC0, 0x80, 0x3F])
        .tensor("q.weight", &[1, 32], 8, &block)
        .tensor("one", &[], 0, &3_f32.to_le_bytes())
}

#[test]
fn files_of_both_versions_and_any_alignment() {
    let dir = TempDir::new();
    for (version, alignment) in [(2, 32), (3, 32), (3, 8), (3, 256)] {
        let mut file = GgufFile::new();
        (file.version, file.alignment) = (version, alignment);
        if alignment != 32 {
            file = file.value("general.alignment", 4, &(alignment as u32).to_le_bytes());
        }
        let file = file.floats("a", &[1, 2], &[1.0, 2.0]).floats("b", &[2, 1], &[3.0, 4.0]);
        let tensors = opened(&dir, &file.bytes()).unwrap();
        assert_eq!((tensors["a"].shape(), tensors["a"].to_f32()), (&[1, 2][..], vec![1.0, 2.0]));
        assert_eq!((tensors["b"].shape(), tensors["b"].to_f32()), (&[2, 1][..], vec![3.0, 4.0]));
    }
    let tensors = opened(&dir, &example().bytes()).unwrap();
    assert_eq!(tensors.len(), 5);
    let of = |name: &str| (tensors[name].shape().to_vec(), tensors[name].storage(), tensors[name].to_f32());
    assert_eq!(of("m.weight"), (vec![2, 3], Storage::F32, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    assert_eq!(of("h.weight"), (vec![1, 1, 2], Storage::F16, vec![1.0, -1.0]));
    assert_eq!(of("b.weight"), (vec![2], Storage::Bf16, vec![-2.0, 1.0]));
    let halves = (0..32).map(|i| i as f32 / 2.0).collect();
    assert_eq!(of("q.weight"), (vec![1, 32], Storage::F32, halves));
    assert_eq!(of("one"), (vec![], Storage::F32, vec![3.0]));
    // What packed numbers become: written to a file, and in any other shape and storage.
    let path = dir.join("b.safetensors");
    let named = [("q", &tensors["q.weight"])];
    safetensors::write_stored(&path, named.into_iter(), HashMap::new()).unwrap();
    assert_eq!(safetensors::read(&path).unwrap()["q"].values, of("q.weight").2);
    let half = tensors["q.weight"].clone().reshaped(vec![4, 8]).unwrap().stored_as(Storage::F16);
    assert_eq!((half.shape(), half.to_f32()), (&[4, 8][..], of("q.weight").2));
    let metadata = weights::read_metadata(&dir.join("a.gguf")).unwrap();
    let expected =
        [("general.architecture", "flux"), ("a.number", "1.5"), ("a.sign", "-7"), ("a.truth", "true")];
    assert_eq!(metadata, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

#[test]
fn numbers_that_are_none_are_found_in_blocks() {
    let dir = TempDir::new();
    for (d, finite) in [([0x00, 0x38], true), ([0x00, 0x7E], false), ([0x00, 0x7C], false)] {
        let block: Vec<u8> = d.into_iter().chain([1; 32]).collect();
        let blocks = [&[[0; 34]; 5000].concat()[..], &block].concat();
        let file = GgufFile::new().tensor("q", &[5001, 32], 8, &blocks);
        assert_eq!(opened(&dir, &file.bytes()).unwrap()["q"].is_finite(), finite, "{d:?}");
    }
}

/// Blocks of random bytes, whose factors are of every kind: normal, tiny, NaN, infinite.
fn random_blocks(kind: BlockKind, count: usize, seed: u64) -> Vec<u8> {
    let mut rng = Philox::new(seed, Purpose::Weights, 0);
    (0..count * kind.bytes()).map(|_| (rng.uniform() * 256.0) as u8).collect()
}

#[test]
fn blocks_are_finite_if_all_their_numbers_are() {
    for kind in BlockKind::ALL {
        let (mut finite, mut others) = (0, 0);
        for seed in 0..4000 {
            let mut block = random_blocks(kind, 1, seed);
            if seed % 2 == 0 {
                // Bits of an exponent are set more often than by chance.
                block.iter_mut().skip(seed as usize / 2 % 2).step_by(2).for_each(|byte| *byte |= 0x3C);
            }
            let all = unpacked(kind, &block).iter().all(|number| number.is_finite());
            assert_eq!(kind.is_finite(&block), all, "{} {seed}", kind.name());
            if all { finite += 1 } else { others += 1 }
        }
        assert!(finite > 100 && others > 20, "{}: {finite}, {others}", kind.name());
    }
}

/// A linear map whose weight is of `kind`, and the same map with its numbers in f32.
fn both_maps(dir: &TempDir, kind: BlockKind) -> [Linear; 2] {
    let [output, input] = [37, 2 * kind.numbers()];
    let mut blocks = random_blocks(kind, output * 2, 7);
    let of_kind = |blocks: &[u8]| {
        let bias: Vec<f32> = (0..output).map(|i| i as f32 / 8.0).collect();
        GgufFile::new().tensor("weight", &[output, input], kind.id(), blocks).floats("bias", &[output], &bias)
    };
    for block in blocks.chunks_exact_mut(kind.bytes()) {
        while !kind.is_finite(block) {
            block.iter_mut().for_each(|byte| *byte = byte.wrapping_add(83));
        }
    }
    let packed = opened(dir, &of_kind(&blocks).bytes()).unwrap();
    let plain = packed.iter().map(|(name, t)| (name.clone(), t.clone().stored_as(Storage::F32))).collect();
    [packed, plain].map(|tensors| {
        let network = Linear::new(input, output, true, &mut Init::zeros(&Device::flex()));
        parameters::load(network, "map", std::path::Path::new("a.gguf"), tensors).unwrap()
    })
}

#[test]
fn networks_keep_blocks_and_compute_what_their_numbers_give() {
    let dir = TempDir::new();
    for kind in BlockKind::ALL {
        let [packed, plain] = both_maps(&dir, kind);
        let input = plain.weight.dims()[1];
        let mut rng = Philox::new(1, Purpose::Weights, 1);
        let x = Tensor::<2>::from_data(TensorData::new(rng.normals(5 * input), [5, input]), &Device::flex());
        let bits = |map: &Linear| -> Vec<u32> {
            map.forward(x.clone()).into_data().iter::<f32>().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&packed), bits(&plain), "{}", kind.name());
        // The map has made no numbers; for who wants them there are some.
        let (bytes, ..) = packed.weight.into_value().into_data().into_parts();
        assert_eq!(bytes.property(), AllocationProperty::File, "{}: unpacked", kind.name());
        let [packed, _] = both_maps(&dir, kind);
        assert_eq!(parameters::named_parameters(&packed), parameters::named_parameters(&plain));
    }
}

#[test]
fn a_factor_that_is_no_number_is_found_when_a_network_takes_the_weight() {
    let dir = TempDir::new();
    for (d, finite) in [([0x00, 0x38], true), ([0x01, 0x7C], false), ([0x00, 0xFC], false)] {
        let blocks = [&[0; 18 * 4095][..], &d, &[0; 16]].concat();
        let file =
            GgufFile::new().tensor("weight", &[64, 2048], 2, &blocks).floats("bias", &[64], &[0.0; 64]);
        let tensors = opened(&dir, &file.bytes()).unwrap();
        let network = Linear::new(2048, 64, true, &mut Init::zeros(&Device::flex()));
        let loaded = parameters::load(network, "map", std::path::Path::new("a.gguf"), tensors);
        let message = loaded.err().map(|error| error.to_string());
        let named = |message: &String| message.contains("`weight`") && message.contains("NaN or infinity");
        assert!(message.as_ref().is_none_or(named), "{message:?}");
        assert_eq!(message.is_none(), finite, "{d:?}");
    }
}

#[test]
fn rows_that_are_no_whole_number_of_blocks_become_f32() {
    let dir = TempDir::new();
    let block: Vec<u8> = [0x00, 0x38].into_iter().chain(0..32).collect();
    let file = GgufFile::new().tensor("weight", &[1, 32], 8, &block).bytes();
    let tensor = opened(&dir, &file).unwrap().remove("weight").unwrap().reshaped(vec![2, 16]).unwrap();
    let held = tensor.into_tensor([2, 16], &Device::flex()).into_data();
    assert_eq!(held.iter::<f32>().collect::<Vec<_>>(), (0..32).map(|i| i as f32 / 2.0).collect::<Vec<_>>());
    assert_ne!(held.into_parts().0.property(), AllocationProperty::File);
}

/// A file of one f32 tensor `a` whose entry says otherwise than its data.
fn lying(shape: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut file = GgufFile::new().floats("a", &vec![1; shape.len()], &[1.0]).bytes();
    let at = 4 + 4 + 8 + 8 + 8 + 1 + 4;
    let entry = shape
        .iter()
        .flat_map(|size| size.to_le_bytes())
        .chain(kind.to_le_bytes())
        .chain(offset.to_le_bytes());
    entry.enumerate().for_each(|(i, byte)| file[at + i] = byte);
    file
}

#[test]
fn files_that_lie_are_refused() {
    let dir = TempDir::new();
    let whole = example().bytes();
    let refused = |bytes: &[u8], said: &str| {
        let message = opened(&dir, bytes).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(said) && message.contains("as GGUF"), "`{said}`: {message}");
    };
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    for length in [4, 7, 20, 24, 40, 100, 200, 300, whole.len() - 32] {
        let message = opened(&dir, &whole[..length]).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("middle of") || message.contains("the file has"), "{length}: {message}");
    }
    refused(&changed(4, &[1]), "its version (1)");
    refused(&changed(4, &[0, 0, 0, 3]), "big-endian");
    refused(&changed(8, &[0xFF; 8]), "");
    refused(&changed(16, &[0xFF; 8]), "");
    refused(&changed(24, &[0xFF; 8]), "a key of its metadata");
    refused(&changed(32, &[0xFF]), "a key of its metadata is no UTF-8");
    refused(&changed(24 + 8 + 20, &[77]), "is of type 77, which is none");
    let list = |kind: u32, count: u64| {
        let value = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
        GgufFile::new().value("list", 9, &value).bytes()
    };
    refused(&list(10, u64::MAX / 4), "middle of list");
    refused(&list(4, 1 << 40), "middle of list");
    refused(&list(8, u64::MAX), "middle of list");
    refused(&list(9, 1), "a list of lists");
    refused(&GgufFile::new().value("general.alignment", 4, &[0; 4]).bytes(), "general.alignment");
    refused(&GgufFile::new().value("general.alignment", 4, &[24, 0, 0, 0]).bytes(), "general.alignment");
    refused(&lying(&[2], 0, 1 << 40), "ends 1099511627784 bytes after the header");
    refused(&lying(&[2], 0, u64::MAX - 3), "larger than memory");
    refused(&lying(&[1 << 40, 1 << 40], 0, 0), "larger than memory");
    refused(&lying(&[u64::MAX, 2], 2, 0), "larger than memory");
    refused(&lying(&[1 << 62, 32], 8, 0), "larger than memory");
    refused(&lying(&[1 << 40], 12, 0), "the file has");
    refused(&lying(&[48, 32], 2, 0), "rows of 48 numbers");
    refused(&lying(&[128], 14, 0), "no multiple of 256, as Q6_K needs");
    refused(&lying(&[32], 16, 0), "of type IQ2_XXS; F32, F16, BF16, Q4_0");
    refused(&lying(&[32], 4, 0), "of type 4, which is none");
    refused(&lying(&[2], u32::MAX, 0), "which is none");
    let five = GgufFile::new().floats("a", &[1; 5], &[1.0]).bytes();
    refused(&five, "5 dimensions");
    let twice = GgufFile::new().floats("a", &[1], &[1.0]).floats("a", &[1], &[2.0]).bytes();
    refused(&twice, "two tensors `a`");
    let mut over = GgufFile::new().floats("a", &[16], &[1.0; 16]).floats("b", &[1], &[1.0]).bytes();
    let at = over.windows(4).rposition(|window| window == [64, 0, 0, 0]).unwrap();
    over[at] = 32;
    refused(&over, "tensor `b` lies over another");
}

#[test]
#[ignore = "needs CALOTYPE_TEST_DATA"]
fn a_file_of_many_kinds() {
    let files = test_data().join("golden-flux/files");
    let tensors = weights::open(&files.join("flux-mixed.gguf")).unwrap();
    let plain = weights::open(&files.join("flux-bfl.safetensors")).unwrap();
    assert_eq!(tensors.len(), plain.len());
    for (name, plain) in &plain {
        let tensor = &tensors[name];
        assert_eq!(tensor.shape(), plain.shape(), "{name}");
        let (got, exact) = (tensor.to_f32(), plain.to_f32());
        let largest = exact.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let worst = got.iter().zip(&exact).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
        // Four bits of numbers that differ by a block's range.
        assert!(tensor.is_finite() && worst <= 0.12 * largest, "{name}: {worst} of {largest}");
    }
    assert_eq!(
        weights::read_metadata(&files.join("flux-mixed.gguf")).unwrap()["general.architecture"],
        "flux"
    );
}
