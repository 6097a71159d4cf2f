//! Golden cases in unit tests: reads a case file, builds its arrays, compares what comes out.

use std::f64::consts::TAU;

use faer::{Mat, MatRef};
use serde_json::Value;

use crate::error::{Error, Result};

/// A vector `[n]`, a matrix `[n, d]` or, for an empty list, `[0]`.
#[derive(Debug, Clone)]
pub struct Array {
    pub shape: Vec<usize>,
    /// Row by row.
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

    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Columns of a matrix; 0 for a vector.
    pub fn columns(&self) -> usize {
        self.shape.get(1).copied().unwrap_or(0)
    }
}

/// The `inputs` of a case, or a nested object of it.
pub struct Inputs<'a>(pub &'a Value);

impl<'a> Inputs<'a> {
    pub fn get(&self, key: &str) -> Result<&'a Value> {
        self.0.get(key).ok_or_else(|| Error::argument(key, "a value", "nothing"))
    }

    pub fn array(&self, key: &str) -> Result<Array> {
        array(self.get(key)?)
    }

    pub fn number(&self, key: &str) -> Result<f64> {
        number(self.get(key)?)
    }

    pub fn integer(&self, key: &str) -> Result<usize> {
        let value = self.number(key)?;
        if value < 0.0 || value.fract() != 0.0 {
            return Err(Error::argument(key, "an integer of at least 0", value));
        }
        Ok(value as usize)
    }

    pub fn text(&self, key: &str) -> Result<&'a str> {
        self.get(key)?.as_str().ok_or_else(|| Error::argument(key, "a string", "another value"))
    }
}

fn number(value: &Value) -> Result<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) if s == "inf" => Some(f64::INFINITY),
        Value::String(s) if s == "-inf" => Some(f64::NEG_INFINITY),
        Value::String(s) if s == "nan" => Some(f64::NAN),
        _ => None,
    }
    .ok_or_else(|| Error::argument("golden case", "a number", value))
}

/// Numbers as JSON, with `"inf"`, `"-inf"` and `"nan"` for what JSON cannot hold.
pub fn numbers(values: &[f64]) -> Value {
    let one = |v: &f64| match serde_json::Number::from_f64(*v) {
        Some(n) => Value::Number(n),
        None => Value::String(v.to_string().to_lowercase()),
    };
    Value::Array(values.iter().map(one).collect())
}

/// An object of single numbers (lists of one) and lists.
pub fn json<const N: usize>(entries: [(&str, Vec<f64>); N]) -> Value {
    let entry = |(key, values): (&str, Vec<f64>)| match (numbers(&values), values.len()) {
        (Value::Array(list), 1) => (key.to_owned(), list[0].clone()),
        (list, _) => (key.to_owned(), list),
    };
    Value::Object(entries.into_iter().map(entry).collect())
}

/// The array that a JSON list or a generator object stands for.
pub fn array(value: &Value) -> Result<Array> {
    let Some(list) = value.as_array() else { return generate(&Inputs(value)) };
    if !list.first().is_some_and(Value::is_array) {
        return Ok(Array::vector(list.iter().map(number).collect::<Result<_>>()?));
    }
    let rows: Vec<Array> = list.iter().map(array).collect::<Result<_>>()?;
    let columns = rows[0].values.len();
    if let Some(row) = rows.iter().find(|row| row.shape != [columns]) {
        return Err(Error::shape("row of a matrix", columns, format!("{:?}", row.shape)));
    }
    let shape = vec![rows.len(), columns];
    Ok(Array { shape, values: rows.into_iter().flat_map(|row| row.values).collect() })
}

fn generate(inputs: &Inputs) -> Result<Array> {
    let num = |key: &str| inputs.number(key);
    let int = |key: &str| inputs.integer(key);
    let vector = |n: usize, at: &dyn Fn(usize) -> f64| Array::vector((0..n).map(at).collect());
    Ok(match inputs.text("gen")? {
        "sinmat" => {
            let (big_a, a, b, c) = (num("A")?, num("a")?, num("b")?, num("c")?);
            let (e, off) = (num("e")?, num("off")?);
            Array::matrix(int("n")?, int("d")?, |i, j| {
                let (i, j) = (i as f64, j as f64);
                big_a * (a * i * j + b * i + c * j + e).sin() + off
            })
        }
        "splitmix_normal" => {
            let (n, d, shift) = (int("n")?, int("d")?, num("shift")?);
            let scale = inputs.array("col_scale")?.values;
            let seed = inputs.get("seed")?.as_u64().ok_or_else(|| Error::argument("seed", "u64", "other"))?;
            let z = splitmix_normal(seed, n * d);
            Array::matrix(n, d, |i, j| z[i * d + j] * scale[j] + shift)
        }
        "one_hot_mod" => {
            let k = int("k")?;
            Array::matrix(int("n")?, k, |i, j| f64::from(j == i % k))
        }
        "one_hot_counts" => {
            let counts = inputs.array("counts")?.values;
            let class: Vec<usize> =
                counts.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c, n as usize)).collect();
            Array::matrix(class.len(), counts.len(), |i, j| f64::from(j == class[i]))
        }
        "constant" => {
            let value = num("value")?;
            Array::matrix(int("n")?, int("d")?, |_, _| value)
        }
        "affine_mod" => {
            let (a, b, c, off, modulus) = (int("a")?, int("b")?, int("c")?, int("off")?, int("mod")?);
            Array::matrix(int("h")?, int("w")?, |y, x| ((a * y + b * x + c * y * x + off) % modulus) as f64)
        }
        "scaled" => {
            let factor = num("factor")?;
            let Array { shape, values } = inputs.array("of")?;
            Array { shape, values: values.into_iter().map(|v| factor * v).collect() }
        }
        "power" => {
            let (exponent, rank) = (num("exponent")?, int("rank")?);
            vector(int("n")?, &|i| if i < rank { ((i + 1) as f64).powf(exponent) } else { 0.0 })
        }
        "ramp" => {
            let (start, step) = (num("start")?, num("step")?);
            vector(int("n")?, &|i| start + step * i as f64)
        }
        "alternating" => vector(int("n")?, &|i| if i % 2 == 0 { 1.0 } else { -1.0 }),
        "sin" => {
            let (a, e, off) = (num("a")?, num("e")?, num("off")?);
            vector(int("n")?, &|i| (a * i as f64 + e).sin() + off)
        }
        "cos_square_mod" => {
            let (a, modulus, e, off) = (num("a")?, int("mod")?, num("e")?, num("off")?);
            vector(int("n")?, &|i| (a * ((i * i) % modulus) as f64 + e).cos() + off)
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
        other => return Err(Error::argument("gen", "a known array object", other)),
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

/// Runs the cases of a file whose id is `chosen` and panics with all that differ.
///
/// `compute` takes `(kind, inputs)` and returns an object with at least the expected keys.
pub fn check(file: &str, chosen: impl Fn(&str) -> bool, compute: impl Fn(&str, &Inputs) -> Result<Value>) {
    let file: Value = serde_json::from_str(file).expect("the case file is JSON");
    let cases = file["cases"].as_array().expect("the case file has cases");
    let mut failures = vec![];
    let mut run = 0;
    for case in cases {
        let id = case["id"].as_str().expect("a case has an id");
        if !chosen(id) {
            continue;
        }
        run += 1;
        let got = compute(case["kind"].as_str().expect("a case has a kind"), &Inputs(&case["inputs"]));
        if let Err(reason) = compare(&got, &case["expected"], &case["tol"]) {
            failures.push(format!("{id}: {reason}"));
        }
    }
    assert!(run > 0, "no case was chosen");
    assert!(failures.is_empty(), "{} of {run} cases failed\n{}", failures.len(), failures.join("\n"));
}

fn compare(got: &Result<Value>, expected: &Value, tol: &Value) -> std::result::Result<(), String> {
    let refusal = expected.get("error").is_some();
    match got {
        Err(_) if refusal => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(value) if refusal => Err(format!("expected an error, got {value}")),
        Ok(value) => {
            let tolerance = |key: &str| tol[key].as_f64().expect("a tolerance is a number");
            let tolerance = (tolerance("abs"), tolerance("rel"));
            let expected = expected.as_object().expect("expected is an object");
            expected.iter().try_for_each(|(key, want)| {
                let got = value.get(key).ok_or_else(|| format!("`{key}` was not computed"))?;
                same(got, want, tolerance).map_err(|reason| format!("{key}: {reason}"))
            })
        }
    }
}

fn same(got: &Value, want: &Value, (abs, rel): (f64, f64)) -> std::result::Result<(), String> {
    match (got, want) {
        (Value::Array(got), Value::Array(want)) if got.len() == want.len() => {
            got.iter().zip(want).try_for_each(|(got, want)| same(got, want, (abs, rel)))
        }
        (Value::Number(g), Value::Number(w)) => {
            let (g, w) = (g.as_f64().unwrap_or(f64::NAN), w.as_f64().unwrap_or(f64::NAN));
            let close = (g - w).abs() <= abs + rel * w.abs();
            if close { Ok(()) } else { Err(format!("expected {w}, got {g}")) }
        }
        (Value::String(got), Value::String(want)) if got == want => Ok(()),
        _ => Err(format!("expected {want}, got {got}")),
    }
}

#[test]
fn golden_array_objects() {
    check(
        include_str!("../../tests/golden/public_generators.json"),
        |_| true,
        |_, inputs| {
            let Array { shape, values } = inputs.array("array")?;
            let mut found = json([
                ("shape", shape.iter().map(|&n| n as f64).collect()),
                ("sum", vec![values.iter().sum()]),
                ("sum_of_squares", vec![values.iter().map(|v| v * v).sum()]),
                ("first", values[..4.min(values.len())].to_vec()),
                ("last", values[values.len().saturating_sub(3)..].to_vec()),
            ]);
            found["shape"] = numbers(&shape.iter().map(|&n| n as f64).collect::<Vec<_>>());
            Ok(found)
        },
    );
}
