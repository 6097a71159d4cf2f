//! Features of an ONNX file against onnxruntime's, preprocessing included (`tools/oracle/onnx_features.py`).

use std::fs;
use std::path::Path;

use calotype::Error;
use calotype::evaluate::extractor::Extractor;
use calotype::evaluate::onnx_extractor::OnnxExtractor;
use serde::Deserialize;

use crate::formula::picture;
use crate::golden::Golden;
use crate::support::TempDir;

const MODEL: &[u8] = include_bytes!("../golden/dinov2.onnx");
const PREPROCESSING: &str = include_str!("../golden/dinov2.toml");

#[derive(Deserialize)]
struct Case {
    height: u32,
    width: u32,
    first: Vec<f64>,
    mean: Vec<f64>,
}

fn load(dir: &TempDir, model: &[u8], preprocessing: &str) -> calotype::Result<OnnxExtractor> {
    dir.write("dinov2.onnx", model);
    dir.write("dinov2.toml", preprocessing);
    OnnxExtractor::load(&dir.join("dinov2.onnx"))
}

#[test]
fn features_equal_onnxruntimes() {
    let dir = TempDir::new();
    let file: Golden<Case> = serde_json::from_str(include_str!("../golden/dinov2.json")).unwrap();
    for token in ["first", "mean"] {
        let extractor = load(&dir, MODEL, &format!("{PREPROCESSING}token = \"{token}\"\n")).unwrap();
        assert_eq!((extractor.dimension(), extractor.classes()), (16, None));
        let pictures: Vec<_> = (file.cases.iter().enumerate())
            .map(|(p, case)| picture(p as f64, case.width, case.height))
            .collect();
        let found = extractor.extract(&pictures).unwrap();
        for (row, case) in found.features.chunks(16).zip(&file.cases) {
            let expected = if token == "first" { &case.first } else { &case.mean };
            for (got, expected) in row.iter().zip(expected) {
                assert!((f64::from(*got) - expected).abs() < 1e-4, "{token}: {row:?}, expected {expected}");
            }
        }
        // No feature depends on what else is in the batch.
        assert_eq!(extractor.extract(&pictures[2..]).unwrap().features, found.features[32..]);
    }
}

#[test]
fn what_cannot_be_used_is_refused_with_the_reason() {
    let dir = TempDir::new();
    let with = |from: &str, to: &str| PREPROCESSING.replace(from, to);
    let faults: [(&[u8], String, &str); 8] = [
        (b"not a model", PREPROCESSING.into(), "ONNX model"),
        (&MODEL[..MODEL.len() / 2], PREPROCESSING.into(), "ONNX model"),
        (MODEL, with("size = 28", "size = 0"), "1 ≤ size"),
        (MODEL, with("size = 28", "size = 64"), "shortest_edge 32"),
        (MODEL, with("0.229", "0.0"), "above 0"),
        (MODEL, with("pil-bicubic", "lanczos"), "lanczos"),
        (MODEL, format!("{PREPROCESSING}output = 3\n"), "no output 3"),
        (MODEL, format!("{PREPROCESSING}sise = 3\n"), "sise"),
    ];
    for (model, preprocessing, expected) in faults {
        let message = load(&dir, model, &preprocessing).err().unwrap().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    // A side that the positions do not fit.
    let refused = load(&dir, MODEL, &with("size = 28", "size = 14")).err().unwrap();
    assert!(matches!(refused, Error::Format { .. }), "{refused}");
    fs::remove_file(dir.join("dinov2.toml")).unwrap();
    let message = OnnxExtractor::load(Path::new(&dir.join("dinov2.onnx"))).err().unwrap().to_string();
    assert!(message.contains("dinov2.toml"), "{message}");
}
