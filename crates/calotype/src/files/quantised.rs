//! Quantised weights that a file spreads over several tensors: ComfyUI's scaled fp8, which is read, and bitsandbytes',
//! which is refused.

use std::path::Path;

use super::weights::Tensors;
use crate::error::{Cause, Error, Result};

const FORMAT: &str = "quantised weights";
/// Says that a file is scaled; it holds nothing.
const MARKER: &str = "scaled_fp8";
/// The factor of the `weight` beside it, in older and newer files.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];
/// For products in fp8, which are not made here, and a note of the format in newer files.
const OF_PRODUCTS: [&str; 3] = ["scale_input", "input_scale", "comfy_quant"];
/// What bitsandbytes puts behind the name of a weight, and its kind behind that.
const BITSANDBYTES: &str = ".quant_state.bitsandbytes__";

/// Refuses tensors that bitsandbytes has packed, before their bytes are taken for numbers.
///
/// # Errors
/// `Error::Format` with the name and the kind.
pub(super) fn refuse_bitsandbytes<'a>(
    path: &Path,
    format: &'static str,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    match names.find_map(|name| name.split_once(BITSANDBYTES)) {
        Some((tensor, kind)) => {
            let reason =
                format!("tensor `{tensor}` is quantised by bitsandbytes ({kind}), which is not read");
            Err(Error::format(path, format, reason).because(Cause::Quantised))
        }
        None => Ok(()),
    }
}

/// The same tensors with their factors taken in.
///
/// # Errors
/// `Error::Format` for a factor that is not one finite number, or whose weight is not there or not in fp8.
pub(super) fn scaled(path: &Path, mut tensors: Tensors) -> Result<Tensors> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    tensors.retain(|name, _| last(name) != MARKER && !OF_PRODUCTS.contains(&last(name).as_str()));
    let is_scale = |name: &str| SCALES.contains(&last(name).as_str());
    let mut scales: Vec<_> = tensors.extract_if(|name, _| is_scale(name)).collect();
    scales.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, scale) in scales {
        let wrong = |reason: String| Error::format(path, FORMAT, reason);
        let weight = name.rsplit_once('.').map_or("weight".into(), |(layer, _)| format!("{layer}.weight"));
        let tensor = tensors.remove(&weight);
        let tensor = tensor.ok_or_else(|| wrong(format!("`{name}` has no `{weight}` beside it")))?;
        if scale.shape().iter().any(|&size| size != 1) {
            let reason = format!("`{name}` has shape {:?}, expected one number", scale.shape());
            return Err(wrong(reason).because(Cause::Quantised));
        }
        let factor = scale.to_f32()[0];
        if !factor.is_finite() {
            return Err(wrong(format!("`{name}` is {factor}")).because(Cause::NotFinite));
        }
        let not_fp8 = || wrong(format!("`{weight}` has a factor, `{name}`, but is not of fp8"));
        let scaled = tensor.scaled(factor).ok_or_else(|| not_fp8().because(Cause::Quantised))?;
        tensors.insert(weight, scaled);
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::tensor::{AllocationProperty, Device, Tensor, TensorData};

    use crate::files::fp8::Fp8;
    use crate::files::{Storage, safetensors, weights};
    use crate::nn::{Init, Linear, parameters};
    use crate::testing::{TempDir, test_data};

    /// A safetensors file of (name, dtype, shape, bytes).
    fn file(tensors: &[(&str, &str, &[usize], &[u8])]) -> Vec<u8> {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, dtype, shape, bytes) in tensors {
            let offsets = [data.len(), data.len() + bytes.len()];
            let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
            header.insert((*name).into(), entry);
            data.extend_from_slice(bytes);
        }
        let header = serde_json::Value::from(header).to_string();
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
    }

    const CODES: [u8; 4] = [0x38, 0xB8, 0x7E, 0x01];

    #[test]
    fn factors_are_taken_into_their_weights() {
        let dir = TempDir::new();
        let path = dir.join("a.safetensors");
        let quarter = 0.25_f32.to_le_bytes();
        for (marker, elements, scale) in
            [("scaled_fp8", 0, "scale_weight"), ("net.scaled_fp8", 2, "weight_scale")]
        {
            let tensors: [(&str, &str, &[usize], &[u8]); 6] = [
                (marker, "F8_E4M3", &[elements], &[0; 2][..elements]),
                ("net.a.weight", "F8_E4M3", &[2, 2], &CODES),
                (&format!("net.a.{scale}"), "F32", &[], &quarter),
                ("net.a.input_scale", "F32", &[], &quarter),
                ("net.b.weight", "F8_E4M3", &[4], &CODES),
                ("net.b.bias", "F8_E5M2", &[2], &[0x3C, 0xBC]),
            ];
            fs::write(&path, file(&tensors)).unwrap();
            let read = weights::read(&path).unwrap();
            let mut names: Vec<&str> = read.keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["net.a.weight", "net.b.bias", "net.b.weight"]);
            assert_eq!(read["net.a.weight"].values, [0.25, -0.25, 112.0, 2_f32.powi(-11)]);
            assert_eq!(read["net.b.weight"].values, CODES.map(|code| Fp8::E4m3.value(code)));
            assert_eq!(read["net.b.bias"].values, [1.0, -1.0]);
        }
    }

    #[test]
    fn networks_keep_the_codes_and_compute_with_the_scaled_numbers() {
        let dir = TempDir::new();
        let path = dir.join("a.safetensors");
        let device = Device::flex();
        // The last code of the second network is NaN, the factor of the third too large for 448.
        let (tenth, huge) = (0.1_f32.to_le_bytes(), 1e36_f32.to_le_bytes());
        for (last, factor, finite) in [(0x3B, tenth, true), (0x7F, tenth, false), (0x7E, huge, false)] {
            let mut codes: Vec<u8> = (0..35 * 21_u32).map(|i| (i * 37 % 120) as u8).collect();
            *codes.last_mut().unwrap() = last;
            let tensors: [(&str, &str, &[usize], &[u8]); 2] =
                [("weight", "F8_E4M3", &[35, 21], &codes), ("weight_scale", "F32", &[], &factor)];
            let _ = fs::remove_file(&path);
            fs::write(&path, file(&tensors)).unwrap();
            let packed = weights::open(&path).unwrap();
            let plain =
                packed.iter().map(|(name, t)| (name.clone(), t.clone().stored_as(Storage::F32))).collect();
            let [packed, plain] = [packed, plain].map(|tensors| {
                let network = Linear::new(21, 35, false, &mut Init::zeros(&device));
                parameters::load(network, "map", &path, tensors)
            });
            if !finite {
                let message = packed.err().unwrap().to_string();
                assert!(message.contains("`weight`") && message.contains("NaN or infinity"), "{message}");
                assert!(plain.is_err());
                continue;
            }
            let x = Tensor::<2>::from_data(
                TensorData::new((0..63).map(|i| i as f32).collect(), [3, 21]),
                &device,
            );
            let [got, expected] =
                [&packed, &plain].map(|map| map.as_ref().unwrap().forward(x.clone()).into_data());
            assert_eq!(got, expected);
            let (bytes, ..) = packed.unwrap().weight.into_value().into_data().into_parts();
            assert_eq!(bytes.property(), AllocationProperty::File);
        }
    }

    #[test]
    fn factors_that_fit_nothing_are_refused() {
        let dir = TempDir::new();
        let path = dir.join("a.safetensors");
        let (one, nan) = (1_f32.to_le_bytes(), f32::NAN.to_le_bytes());
        let weight = ("a.weight", "F8_E4M3", &[4_usize][..], &CODES[..]);
        let nibbles = ("a.weight", "U8", &[4_usize][..], &CODES[..]);
        let both = [one, one].concat();
        for (tensors, said) in [
            (vec![("a.weight_scale", "F32", &[][..], &one[..])], "no `a.weight`"),
            (vec![weight, ("a.scale_weight", "F32", &[2], &both)], "shape [2]"),
            (vec![weight, ("a.scale_weight", "F32", &[], &nan)], "NaN"),
            (vec![nibbles, ("a.weight_scale", "F32", &[], &one)], "not of fp8"),
            (
                vec![nibbles, ("a.weight.quant_state.bitsandbytes__nf4", "U8", &[4], &CODES)],
                "bitsandbytes (nf4)",
            ),
        ] {
            fs::write(&path, file(&tensors)).unwrap();
            let error = weights::open(&path).unwrap_err();
            assert!(error.to_string().contains(said), "{said}: {error}");
            assert!(error.hint().is_some() == (said != "no `a.weight`"), "{error}");
        }
    }

    #[test]
    #[ignore = "needs CALOTYPE_TEST_DATA"]
    fn a_scaled_file_has_the_numbers_of_pytorch() {
        let files = test_data().join("golden-flux/files");
        let got = weights::read(&files.join("fp8-scaled-fragment.safetensors")).unwrap();
        let expected = safetensors::read(&files.join("fp8-scaled-fragment.expected.safetensors")).unwrap();
        assert_eq!(got.len(), expected.len());
        for (name, expected) in expected {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(got[&name].shape, expected.shape);
            assert!(bits(&got[&name].values) == bits(&expected.values), "{name}");
        }
    }
}
