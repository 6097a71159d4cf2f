//! The golden file is made by `tools/oracle/lycoris_layers.py`: what LyCORIS' modules make of a layer.

use super::*;
use crate::checkpoint::lora::merge::add;
use crate::files::StoredTensor;
use crate::files::safetensors;
use crate::files::weights::Tensors;

/// Tensors of a layer called `layer`, which belongs to a U-Net.
struct Layer {
    /// Those of the file, by the ends of their names.
    file: Tensors,
    /// `layer.weight` and `layer.bias`.
    base: Tensors,
}

fn tensor(shape: &[usize], values: impl Fn(usize) -> f32) -> StoredTensor {
    let count = shape.iter().product();
    StoredTensor::from_f32(shape.to_vec(), (0..count).map(values).collect()).unwrap()
}

/// Numbers around 0, no two neighbours the same.
fn some(shape: &[usize]) -> StoredTensor {
    tensor(shape, |i| (i * 7 % 11) as f32 * 0.1 - 0.5)
}

fn shapes(tensors: &Tensors) -> Shapes {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect()
}

impl Layer {
    fn new(weight: &[usize], file: &[(&str, &[usize])]) -> Self {
        let base = [("layer.weight", weight), ("layer.bias", &weight[..1])];
        let named = |(name, shape): &(&str, &[usize])| ((*name).to_owned(), some(shape));
        Self { file: file.iter().map(named).collect(), base: base.iter().map(named).collect() }
    }

    /// A case of the golden file, and the weight and bias after it.
    fn golden(all: &Tensors, case: &str) -> (Self, Tensors) {
        let of = |kind: &str, prefix: &str| -> Tensors {
            let start = format!("{case}/{kind}.");
            all.iter()
                .filter_map(|(name, t)| Some((format!("{prefix}{}", name.strip_prefix(&start)?), t.clone())))
                .collect()
        };
        (Self { file: of("file", ""), base: of("base", "layer.") }, of("merged", "layer."))
    }

    fn with(mut self, name: &str, tensor: StoredTensor) -> Self {
        self.file.insert(name.into(), tensor);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.file.remove(name).unwrap();
        self
    }

    /// The weight and bias after a merge.
    fn merged(&self, strength: f64) -> std::result::Result<Tensors, String> {
        let named =
            |(name, tensor): (&String, &StoredTensor)| (format!("lora_unet_layer.{name}"), tensor.clone());
        let file: Tensors = self.file.iter().map(named).collect();
        let model = [(ComponentKind::Unet, shapes(&self.base))].into();
        let assignment = read(&shapes(&file), &BTreeMap::new(), &model).map_err(|error| error.to_string())?;
        assert_eq!(assignment.layers, 1);
        assert!(assignment.unmatched.is_empty(), "{:?}", assignment.unmatched);
        let mut merged = self.base.clone();
        for entry in &assignment.entries {
            let weight = merged.get_mut(&entry.target.names[0]).unwrap();
            let (shape, mut values) = (weight.shape().to_vec(), weight.to_f32());
            add(entry, &file, strength, &shape, &mut values)?;
            *weight = StoredTensor::from_f32(shape, values).unwrap();
        }
        Ok(merged)
    }

    fn weight(&self, strength: f64) -> Vec<f32> {
        self.merged(strength).unwrap()["layer.weight"].to_f32()
    }

    #[track_caller]
    fn refused(&self, pieces: &[&str]) {
        let error = self.merged(1.0).unwrap_err();
        for piece in pieces {
            assert!(error.contains(piece), "no `{piece}` in: {error}");
        }
    }
}

/// The largest difference, as a part of the largest number.
fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(1e-6_f32, |largest, x| largest.max(x.abs()));
    got.iter().zip(expected).fold(0.0_f32, |largest, (x, y)| largest.max((x - y).abs())) / largest
}

#[test]
fn a_layer_becomes_what_it_is_in_the_packages_forward_pass() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lycoris.safetensors");
    let all = safetensors::open(&path).unwrap();
    let strengths = &safetensors::read_metadata(&path).unwrap()["strengths"];
    let strengths: BTreeMap<String, f64> = serde_json::from_str(strengths).unwrap();
    assert_eq!(strengths.len(), 34);
    for (case, strength) in strengths {
        let (layer, expected) = Layer::golden(&all, &case);
        let merged = layer.merged(strength).unwrap_or_else(|error| panic!("{case}: {error}"));
        for (name, expected) in &expected {
            let error = difference(&merged[name].to_f32(), &expected.to_f32());
            assert!(error < 2e-6, "{case}: {name} differs by {error}");
        }
        let unchanged = difference(&layer.base["layer.weight"].to_f32(), &expected["layer.weight"].to_f32());
        assert!(unchanged > 1e-2, "{case} changes the weight by {unchanged}");
    }
}

const LOHA: [(&str, &[usize]); 4] =
    [("hada_w1_a", &[6, 2]), ("hada_w1_b", &[2, 8]), ("hada_w2_a", &[6, 2]), ("hada_w2_b", &[2, 8])];
const LOKR: [(&str, &[usize]); 3] = [("lokr_w1", &[2, 2]), ("lokr_w2_a", &[3, 2]), ("lokr_w2_b", &[2, 4])];
const LORA: [(&str, &[usize]); 2] = [("lora_down.weight", &[2, 8]), ("lora_up.weight", &[6, 2])];
const IA3: [(&str, &[usize]); 2] = [("weight", &[8]), ("on_input", &[])];

#[test]
fn a_scalar_multiplies_the_change() {
    for file in [&LOHA[..], &LOKR, &LORA] {
        let layer = Layer::new(&[6, 8], file).with("alpha", tensor(&[], |_| 3.0));
        let twice = layer.weight(2.0);
        let by_scalar = layer.with("scalar", tensor(&[1], |_| 2.0)).weight(1.0);
        assert!(difference(&by_scalar, &twice) < 1e-6, "{file:?}");
    }
}

#[test]
fn two_whole_matrices_have_no_rank_to_be_scaled_by() {
    let file: [(&str, &[usize]); 2] = [("lokr_w1", &[2, 2]), ("lokr_w2", &[3, 4])];
    let layer = Layer::new(&[6, 8], &file);
    let expected = layer.weight(1.0);
    assert_eq!(layer.with("alpha", tensor(&[], |_| 3.0)).weight(1.0), expected);
}

#[test]
fn doras_strength_leads_from_the_weight_to_that_of_its_lengths() {
    for lengths in [[6, 1], [1, 8]] {
        let dora = Layer::new(&[6, 8], &LORA).with("dora_scale", tensor(&lengths, |i| 1.0 + i as f32));
        let [none, half, whole] = [0.0, 0.5, 1.0].map(|strength| dora.weight(strength));
        assert_eq!(none, dora.base["layer.weight"].to_f32());
        let middle: Vec<f32> = none.iter().zip(&whole).map(|(a, b)| (a + b) / 2.0).collect();
        assert!(difference(&half, &middle) < 1e-6 && difference(&half, &whole) > 0.1);
        for (i, length) in (0..lengths[0] * lengths[1]).map(|i| (i, 1.0 + i as f32)) {
            let of_channel = |place: usize| if lengths[0] == 6 { place / 8 } else { place % 8 };
            let own = whole.iter().enumerate().filter(|(place, _)| of_channel(*place) == i);
            let got = own.map(|(_, w)| w * w).sum::<f32>().sqrt();
            assert!((got - length).abs() < 1e-4, "{lengths:?}: {got}, expected {length}");
        }
    }
}

#[test]
fn pefts_lengths_are_those_of_rows_whatever_their_shape() {
    let conv: [(&str, &[usize]); 2] =
        [("lora_down.weight", &[2, 4, 3, 3]), ("lora_up.weight", &[4, 2, 1, 1])];
    let lengths = |shape: &[usize]| tensor(shape, |i| 1.0 + i as f32);
    let layer = || Layer::new(&[4, 4, 3, 3], &conv);
    let expected = layer().with("dora_scale", lengths(&[4, 1, 1, 1])).weight(1.0);
    assert_ne!(layer().with("dora_scale", lengths(&[1, 4, 1, 1])).weight(1.0), expected);
    for (name, shape) in [
        ("lora_magnitude_vector", &[4][..]),
        ("lora_magnitude_vector.weight", &[1, 4, 1, 1]),
        ("lora_magnitude_vector.default.weight", &[4]),
    ] {
        assert_eq!(layer().with(name, lengths(shape)).weight(1.0), expected, "{name}");
    }
}

#[test]
fn a_bias_and_a_norm_change_by_their_differences() {
    let norm = Layer::new(&[6], &[("w_norm", &[6]), ("b_norm", &[6])]).merged(0.5).unwrap();
    let expected: Vec<f32> = some(&[6]).to_f32().iter().map(|x| x * 1.5).collect();
    assert_eq!(
        [norm["layer.weight"].to_f32(), norm["layer.bias"].to_f32()],
        [expected.clone(), expected.clone()]
    );
    let bias = Layer::new(&[6, 8], &[("diff_b", &[6])]).merged(0.5).unwrap();
    assert_eq!(bias["layer.bias"].to_f32(), expected);
    assert_eq!(bias["layer.weight"].to_f32(), some(&[6, 8]).to_f32());
    // LoRA's own bias belongs to the product, and is scaled as that is.
    let scaled =
        Layer::new(&[6, 8], &LORA).with("lora_up.bias", some(&[6])).with("alpha", tensor(&[], |_| 1.0));
    assert_eq!(scaled.merged(1.0).unwrap()["layer.bias"].to_f32(), expected);
}

#[test]
fn what_belongs_together_is_missed() {
    let layer = |file| Layer::new(&[6, 8], file);
    layer(&LOHA).without("hada_w2_b").refused(&["hada_w", "no `hada_w2_b` beside it"]);
    layer(&LOHA).without("hada_w1_a").refused(&["no `hada_w1_a` beside it"]);
    layer(&LOHA).with("hada_t1", some(&[2, 2])).refused(&["no `hada_t2` beside it"]);
    layer(&LOKR).without("lokr_w1").refused(&["no `lokr_w1_a` beside it"]);
    layer(&LOKR).without("lokr_w2_a").refused(&["no `lokr_w2_a` beside it"]);
    layer(&LOKR)
        .with("lokr_w1_b", some(&[2, 2]))
        .refused(&["`lora_unet_layer.lokr_w1`", "same matrix twice"]);
    layer(&LORA).without("lora_up.weight").refused(&["no `up` beside it"]);
    layer(&LORA).with("diff", some(&[6, 8])).refused(&["change one layer in two ways"]);
    layer(&[("on_input", &[])]).refused(&["no `weight` beside it"]);
}

#[test]
fn shapes_that_do_not_fit_are_said() {
    let layer = |file| Layer::new(&[6, 8], file);
    layer(&LOHA).with("hada_w2_b", some(&[2, 9])).refused(&["hada_w2_b", "a matrix of 6 x 8", "[2, 9]"]);
    layer(&LOHA).with("hada_w1_a", some(&[5, 2])).refused(&["hada_w1_a", "a matrix of 6 x 8", "[5, 2]"]);
    layer(&LOHA).with("hada_w1_a", some(&[6, 3])).refused(&["hada_w1_a", "[rows, 2]", "[6, 3]"]);
    layer(&LOKR).with("lokr_w1", some(&[2, 3])).refused(&["lokr_w2_b", "6 x 8 with the 2 x 3 of", "lokr_w1"]);
    layer(&LOKR).with("lokr_w2_a", some(&[4, 2])).refused(&["lokr_w2_a", "6 x 8 with the 2 x 2 of"]);
    layer(&LOKR).with("lokr_t2", some(&[2, 2, 3, 3])).refused(&["lokr_t2", "[rank of a, rank of b]"]);
    layer(&[("diff", &[8, 6])]).refused(&["diff", "[6, 8]", "[8, 6]"]);
    layer(&[("diff_b", &[8])]).refused(&["diff_b", "layer.bias", "[6]", "[8]"]);
    layer(&IA3).with("weight", some(&[7])).refused(&[
        "weight",
        "6 numbers for the output's channels or 8",
        "[7]",
    ]);
    layer(&IA3).with("on_input", some(&[8])).refused(&["on_input", "one number"]);
    layer(&IA3)
        .with("on_input", tensor(&[], |_| 0.0))
        .refused(&["6 numbers for the channels of the output, got 8"]);
    layer(&LORA).with("dora_scale", some(&[7, 1])).refused(&["dora_scale", "a number for each row"]);
    layer(&LORA).with("dora_scale", some(&[8, 1])).refused(&["dora_scale", "a number for each row"]);
    layer(&LORA).with("lora_magnitude_vector", some(&[8])).refused(&["lora_magnitude_vector", "6 numbers"]);
    layer(&LORA).with("scalar", some(&[2])).refused(&["scalar", "one number"]);
    // A kernel belongs to the second matrix, and whole.
    let kernel = [("lokr_w1", &[2, 2, 3, 3][..]), ("lokr_w2", &[3, 4])];
    Layer::new(&[6, 8, 3, 3], &kernel).refused(&["lokr_w1", "a matrix"]);
    let torn = [("lokr_w1", &[2, 12][..]), ("lokr_w2", &[3, 6])];
    Layer::new(&[6, 8, 3, 3], &torn).refused(&["lokr_w2", "6 x 72 with the 2 x 12 of"]);
}
