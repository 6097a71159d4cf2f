//! Files of tensors, numbers and pictures.

use std::collections::BTreeMap;
use std::fs;

use burn::tensor::Device;
use calotype::checkpoint::{Checkpoint, t5_encoder};
use calotype::files::gguf::{self, BlockKind, TensorType};
use calotype::files::npz::{self, Npz};
use calotype::files::{Storage, pickle, png_text, safetensors, weights};
use calotype::model::ComponentKind;

use super::{fuzz, golden, of_file, split, zip};
use crate::support::{GgufFile, TempDir};

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
    let blocks = BlockKind::ALL.into_iter().fold(GgufFile::new(), |file, kind| {
        let block = vec![0x5A; 2 * kind.bytes()];
        file.tensor(&format!("w.{}", kind.id()), &[2, kind.numbers()], kind.id(), &block)
    });
    let plain = described
        .floats("f", &[2, 3], &[0.5; 6])
        .tensor("h", &[2, 2], 1, &[0; 8])
        .tensor("b", &[4], 30, &[0; 8])
        .tensor("s", &[], 0, &[0; 4]);
    fuzz(&[plain.bytes(), blocks.bytes()], 5000, &read);
    // Only the header.
    let bytes = plain.bytes();
    let (header, data) = bytes.split_at(bytes.len().min(220));
    fuzz(&[header.to_vec()], 5000, |header| read(&[&header[..], data].concat()));
}

/// A network whose config is read from the shapes, and written again.
#[test]
fn gguf_networks() {
    let dir = TempDir::new();
    let (block, numbers) = ("enc.blk.0", |count: usize| vec![0.5; count]);
    let vectors = ["attn_norm", "ffn_norm"].map(|name| (format!("{block}.{name}.weight"), vec![8]));
    let matrices = ["attn_q", "attn_k", "attn_v", "attn_o", "ffn_gate", "ffn_up", "ffn_down"];
    let matrices = matrices.map(|name| (format!("{block}.{name}.weight"), vec![8, 8]));
    let others = [
        ("token_embd.weight".to_owned(), vec![9, 8]),
        (format!("{block}.attn_rel_b.weight"), vec![32, 2]),
        ("enc.output_norm.weight".to_owned(), vec![8]),
    ];
    let tensors: Vec<_> = vectors.into_iter().chain(matrices).chain(others).collect();
    let file = tensors.iter().fold(GgufFile::new(), |file, (name, shape)| {
        file.floats(name, shape, &numbers(shape.iter().product()))
    });
    let written = dir.join("written.gguf");
    let again = |path: &std::path::Path| {
        let _ = fs::remove_file(&written);
        let mut checkpoint = Checkpoint::open_part(path)?;
        checkpoint.write_as(&written, Some(TensorType::Plain(Storage::Bf16)))?;
        t5_encoder(checkpoint.take(ComponentKind::TextEncoder2)?, &Device::flex()).map(drop)
    };
    fuzz(&[file.bytes()], 2000, of_file(dir.join("a.gguf"), again));
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
