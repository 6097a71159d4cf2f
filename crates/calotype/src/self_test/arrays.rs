//! The array objects of golden cases: lists, and formulas that stand for large arrays.

use std::f64::consts::TAU;

use faer::{Mat, MatRef};
use serde_json::Value;

use super::case::{Found, Inputs, number, unreadable};
use crate::error::{Error, Result};

/// Numbers of any shape; an empty list is `[0]`.
#[derive(Debug, Clone)]
pub struct Array {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The last index runs fastest.
    pub values: Vec<f64>,
}

impl Array {
    fn vector(values: Vec<f64>) -> Self {
        Self { shape: vec![values.len()], values }
    }

    fn matrix(rows: usize, columns: usize, at: impl Fn(usize, usize) -> f64) -> Self {
        let values =
            (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| at(i, j)).collect();
        Self { shape: vec![rows, columns], values }
    }

    /// Length of the first axis.
    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Length of the second axis; 0 for a vector.
    pub fn columns(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(0)
    }

    /// The parts along the first axis.
    pub fn parts(&self) -> Vec<Self> {
        let shape = self.shape[1..].to_vec();
        let n: usize = shape.iter().product();
        (0..self.rows())
            .map(|i| Self { shape: shape.clone(), values: self.values[i * n..][..n].to_vec() })
            .collect()
    }
}

/// The array that a JSON list or a generator object stands for.
///
/// # Errors
/// `Error::Argument` for a value that is neither, an entry that is no number, or too many of them; `Error::Shape` for
/// parts that differ; [`unreadable`] for an unknown generator.
pub fn array(value: &Value) -> Result<Array> {
    let list = match value {
        Value::Array(list) => list,
        Value::Object(_) => return generate(&Inputs(value)),
        other => return Err(Error::argument("an array", "a list or an array object", other)),
    };
    if !list.first().is_some_and(|first| first.is_array() || first.is_object()) {
        return Ok(Array::vector(list.iter().map(number).collect::<Result<_>>()?));
    }
    let parts: Vec<Array> = list.iter().map(array).collect::<Result<_>>()?;
    if let Some(part) = parts.iter().find(|part| part.shape != parts[0].shape) {
        let expected = format!("parts of shape {:?}", parts[0].shape);
        return Err(Error::shape("nested list", expected, format!("{:?}", part.shape)));
    }
    let shape = [&[parts.len()], &parts[0].shape[..]].concat();
    Ok(Array { shape, values: parts.into_iter().flat_map(|part| part.values).collect() })
}

/// Numbers of a generated array, at most.
const MOST_NUMBERS: usize = 1 << 27;

/// The length of a generated array along an axis; together they must not be absurd.
fn lengths<const N: usize>(inputs: &Inputs, keys: [&str; N]) -> Result<[usize; N]> {
    let mut lengths = [0; N];
    for (length, key) in lengths.iter_mut().zip(keys) {
        *length = inputs.integer(key)?;
    }
    match lengths.iter().try_fold(1_usize, |all, &length| all.checked_mul(length.max(1))) {
        Some(all) if all <= MOST_NUMBERS => Ok(lengths),
        _ => Err(Error::argument(
            "an array",
            format!("at most {MOST_NUMBERS} numbers"),
            format!("{lengths:?}"),
        )),
    }
}

fn generate(inputs: &Inputs) -> Result<Array> {
    let num = |key: &str| inputs.number(key);
    let int = |key: &str| inputs.integer(key);
    let length = |key: &str| Ok::<_, Error>(lengths(inputs, [key])?[0]);
    let matrix = |rows: &str, columns: &str| lengths(inputs, [rows, columns]);
    let vector = |n: usize, at: &dyn Fn(usize) -> f64| Array::vector((0..n).map(at).collect());
    Ok(match inputs.text("gen")? {
        "sinmat" => {
            let (big_a, a, b, c) = (num("A")?, num("a")?, num("b")?, num("c")?);
            let (e, off) = (num("e")?, num("off")?);
            let [n, d] = matrix("n", "d")?;
            Array::matrix(n, d, |i, j| {
                let (i, j) = (i as f64, j as f64);
                big_a * (a * i * j + b * i + c * j + e).sin() + off
            })
        }
        "splitmix_normal" => {
            let ([n, d], shift) = (matrix("n", "d")?, num("shift")?);
            let scale = inputs.array("col_scale")?.values;
            if scale.len() < d {
                return Err(Error::shape("col_scale", format!("at least {d}"), scale.len()));
            }
            let seed = inputs.get("seed")?;
            let seed = seed.as_u64().ok_or_else(|| Error::argument("seed", "0 to 2^64 - 1", seed))?;
            let z = splitmix_normal(seed, n * d);
            Array::matrix(n, d, |i, j| z[i * d + j] * scale[j] + shift)
        }
        "one_hot_mod" => {
            let [n, k] = matrix("n", "k")?;
            Array::matrix(n, k, |i, j| f64::from(j == i % k))
        }
        "one_hot_counts" => {
            let counts = inputs.integers("counts")?;
            let all = counts.iter().try_fold(0_usize, |all, &n| all.checked_add(n));
            if all.and_then(|all| all.checked_mul(counts.len())).is_none_or(|all| all > MOST_NUMBERS) {
                return Err(Error::argument("counts", format!("at most {MOST_NUMBERS} numbers"), "more"));
            }
            let class: Vec<usize> =
                counts.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c, n)).collect();
            Array::matrix(class.len(), counts.len(), |i, j| f64::from(j == class[i]))
        }
        "constant" => {
            let ([n, d], value) = (matrix("n", "d")?, num("value")?);
            Array::matrix(n, d, |_, _| value)
        }
        "affine_mod" => {
            let (a, b, c, off, modulus) = (int("a")?, int("b")?, int("c")?, int("off")?, int("mod")?);
            let [h, w] = matrix("h", "w")?;
            Array::matrix(h, w, |y, x| ((a * y + b * x + c * y * x + off) % modulus) as f64)
        }
        "scaled" => {
            let factor = num("factor")?;
            let Array { shape, values } = inputs.array("of")?;
            Array { shape, values: values.into_iter().map(|v| factor * v).collect() }
        }
        "power" => {
            let (exponent, rank) = (num("exponent")?, int("rank")?);
            vector(length("n")?, &|i| if i < rank { ((i + 1) as f64).powf(exponent) } else { 0.0 })
        }
        "ramp" => {
            let (start, step) = (num("start")?, num("step")?);
            vector(length("n")?, &|i| start + step * i as f64)
        }
        "alternating" => vector(length("n")?, &|i| if i % 2 == 0 { 1.0 } else { -1.0 }),
        "sin" => {
            let (a, e, off) = (num("a")?, num("e")?, num("off")?);
            vector(length("n")?, &|i| (a * i as f64 + e).sin() + off)
        }
        "cos_square_mod" => {
            let (a, modulus, e, off) = (num("a")?, int("mod")?, num("e")?, num("off")?);
            vector(length("n")?, &|i| (a * ((i * i) % modulus) as f64 + e).cos() + off)
        }
        "householder_cov" => {
            let reflections = inputs.get("reflect")?.as_array().map(Vec::as_slice).unwrap_or_default();
            let reflections: Vec<Array> = reflections.iter().map(array).collect::<Result<_>>()?;
            householder_covariance(&inputs.array("eig")?.values, &reflections)
        }
        "transport_cov" => {
            let (s, t) = (inputs.array("cov")?, inputs.array("map")?);
            let view = |a: &Array| MatRef::from_row_major_slice(&a.values, a.rows(), a.columns()).to_owned();
            let (s, t): (Mat<f64>, Mat<f64>) = (view(&s), view(&t));
            let product = &t * s * &t;
            Array::matrix(product.nrows(), product.ncols(), |i, j| product[(i, j)])
        }
        other => return Err(unreadable("gen", "a known array object", other)),
    })
}

/// `count` normals by Box-Muller from SplitMix64.
fn splitmix_normal(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 * 2.0_f64.powi(-53)
    };
    let mut normals = Vec::with_capacity(count + 1);
    while normals.len() < count {
        let radius = (-2.0 * (-uniform()).ln_1p()).sqrt();
        let angle = TAU * uniform();
        normals.extend([radius * angle.cos(), radius * angle.sin()]);
    }
    normals.truncate(count);
    normals
}

/// H(v_k)…H(v₁) diag(eig) H(v₁)…H(v_k), each reflection as two rank-one updates.
fn householder_covariance(eig: &[f64], reflections: &[Array]) -> Array {
    let d = eig.len();
    let mut m = Array::matrix(d, d, |i, j| if i == j { eig[i] } else { 0.0 });
    for v in reflections.iter().map(|v| &v.values) {
        let norm: f64 = v.iter().map(|x| x * x).sum();
        let mut column_sums = vec![0.0; d]; // vᵀ M
        for (row, x) in m.values.chunks(d).zip(v) {
            column_sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += x * value);
        }
        for (row, x) in m.values.chunks_mut(d).zip(v) {
            row.iter_mut().zip(&column_sums).for_each(|(value, sum)| *value -= 2.0 / norm * x * sum);
        }
        for row in m.values.chunks_mut(d) {
            let along: f64 = row.iter().zip(v).map(|(value, x)| value * x).sum(); // M v
            row.iter_mut().zip(v).for_each(|(value, x)| *value -= 2.0 / norm * along * x);
        }
    }
    m
}

/// The kind `array`: what identifies an array.
pub fn summary(inputs: Inputs) -> Result<Found> {
    let Array { shape, values } = inputs.array("array")?;
    Ok(Found::new()
        .counts("shape", &shape)
        .number("sum", values.iter().sum())
        .number("sum_of_squares", values.iter().map(|v| v * v).sum())
        .list("first", &values[..4.min(values.len())])
        .list("last", &values[values.len().saturating_sub(3)..]))
}
