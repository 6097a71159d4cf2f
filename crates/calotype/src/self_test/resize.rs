//! Resizing.

use super::arrays::Array;
use super::case::{Found, Inputs};
use crate::data::resize::{Filter, resize as in_float, resize_u8};
use crate::error::{Error, Result};

const FLOAT: [(&str, (Filter, bool)); 4] = [
    ("tf1_bilinear", (Filter::Tf1Bilinear, false)),
    ("torch_bilinear", (Filter::TorchBilinear, false)),
    ("pil_bilinear", (Filter::PilBilinear, false)),
    ("pil_bicubic", (Filter::PilBicubic, false)),
];

const EIGHT_BITS: [(&str, (Filter, bool)); 2] =
    [("pil_bilinear_u8", (Filter::PilBilinear, true)), ("pil_bicubic_u8", (Filter::PilBicubic, true))];

pub fn resize(inputs: Inputs) -> Result<Found> {
    let image = inputs.array("image")?;
    let (from, to) = ((image.rows(), image.columns()), (inputs.integer("out_h")?, inputs.integer("out_w")?));
    let (filter, eight_bits) = inputs.choice("mode", &[&FLOAT[..], &EIGHT_BITS[..]].concat())?;
    let values = if eight_bits {
        let pixels: Vec<u8> = image.values.iter().map(|&v| v as u8).collect();
        resize_u8(&pixels, 1, from, to, filter)?.into_iter().map(f64::from).collect()
    } else {
        in_float(&image.values, 1, from, to, filter)?
    };
    Ok(Found::new().array("image", &Array { shape: vec![to.0, to.1], values }))
}

pub fn resize_1d(inputs: Inputs) -> Result<Found> {
    let signal = inputs.list("signal")?;
    let n_out = inputs.integer("n_out")?;
    let (filter, _) = inputs.choice("mode", &FLOAT)?;
    let out = in_float(&signal, 1, (1, signal.len()), (1, n_out), filter)?;
    let at = if inputs.has("at") { inputs.integers("at")? } else { vec![] };
    if let Some(position) = at.iter().find(|position| **position >= n_out) {
        return Err(Error::argument("at", format!("below {n_out}"), position));
    }
    let samples: Vec<f64> = at.into_iter().map(|position| out[position]).collect();
    let mean_abs = out.iter().map(|v| v.abs()).sum::<f64>() / n_out as f64;
    Ok(Found::new().list("samples", &samples).number("mean_abs", mean_abs))
}
